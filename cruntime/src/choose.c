// choose.c: choosing a token from logits (SPEC.md, section 3.8).
//
// The k largest logits are never put in order. Which value stands at a place of that order is found
// by bisection over the values, so no memory is needed and the cost hardly depends on k.

#include "csc.h"
#include "fixed.h"

typedef struct {
  const int16_t *logits;
  uint32_t count;
  int32_t top;  // the largest logit
  csc_scale_t scale;
} logits_t;

uint32_t csc_argmax(const int16_t *logits, uint32_t count) {
  uint32_t best = 0;
  for (uint32_t i = 1; i < count; i++) {
    if (logits[i] > logits[best]) best = i;
  }
  return best;
}

static uint32_t count_above(const logits_t *l, int32_t value) {
  uint32_t above = 0;
  for (uint32_t i = 0; i < l->count; i++) above += l->logits[i] > value ? 1 : 0;
  return above;
}

static uint32_t weight(const logits_t *l, int32_t value) {
  return csc_exp_table[csc_requant(l->top - value, l->scale, 0, 255)];
}

// The weights of all logits above a value, together.
static uint32_t weight_above(const logits_t *l, int32_t value) {
  uint32_t sum = 0;
  for (uint32_t i = 0; i < l->count; i++) {
    if (l->logits[i] > value) sum += weight(l, l->logits[i]);
  }
  return sum;
}

// The k-th largest logit: the smallest value with less than k logits above it.
static int32_t value_at(const logits_t *l, uint32_t k) {
  int32_t low = INT16_MIN;
  int32_t high = l->top;
  while (low < high) {
    int32_t middle = low + ((high - low) >> 1);
    if (count_above(l, middle) < k) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// The value where the running sum of weights first exceeds u: the smallest one from `low` on with
// no more than u above it.
static int32_t value_of_sum(const logits_t *l, int32_t low, uint32_t u) {
  int32_t high = l->top;
  while (low < high) {
    int32_t middle = low + ((high - low) >> 1);
    if (weight_above(l, middle) <= u) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

static uint32_t nth_equal(const logits_t *l, int32_t value, uint32_t n) {
  uint32_t i = 0;
  for (; i < l->count; i++) {
    if (l->logits[i] == value && n-- == 0) break;
  }
  return i;
}

static uint32_t next_random(uint32_t x) {
  x ^= x << 13;
  x ^= x >> 17;
  return x ^ x << 5;
}

// All weights together are below 2^24, and with the generator's 32 bits below 2^56.
uint32_t csc_sample(const int16_t *logits, uint32_t count, csc_choice_t *choice) {
  logits_t l = {logits, count, logits[csc_argmax(logits, count)],
                csc_unpack_scale(choice->requant)};
  int32_t last = value_at(&l, choice->top_k);
  uint32_t equals = choice->top_k - count_above(&l, last);  // how many of the last value take part
  uint64_t sum = weight_above(&l, last) + equals * weight(&l, last);
  choice->random = next_random(choice->random);
  uint32_t u = (uint32_t)(choice->random * sum >> 32);
  int32_t value = value_of_sum(&l, last, u);
  // The value has a weight above 0, since the sum grows past u there.
  return nth_equal(&l, value, (u - weight_above(&l, value)) / weight(&l, value));
}
