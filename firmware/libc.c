// libc.c: memcpy and memset, which compilers call on their own. By words where both sides allow.

#include <stdint.h>

#include "csc_memory.h"

#if defined(__GNUC__)
typedef uint32_t __attribute__((may_alias)) word_t;
#else
typedef uint32_t word_t;
#endif

void *memcpy(void *restrict to, const void *restrict from, size_t count) {
  uint8_t *out = to;
  const uint8_t *in = from;
  if (((uintptr_t)out & 3u) == ((uintptr_t)in & 3u)) {
    for (; count && (uintptr_t)out & 3u; count--) *out++ = *in++;
    for (; count >= 4; count -= 4, out += 4, in += 4) *(word_t *)out = *(const word_t *)in;
  }
  for (; count; count--) *out++ = *in++;
  return to;
}

void *memset(void *to, int byte, size_t count) {
  uint8_t *out = to;
  uint32_t word = (uint8_t)byte;
  word |= word << 8;
  word |= word << 16;
  for (; count && (uintptr_t)out & 3u; count--) *out++ = (uint8_t)byte;
  for (; count >= 4; count -= 4, out += 4) *(word_t *)out = word;
  for (; count; count--) *out++ = (uint8_t)byte;
  return to;
}
