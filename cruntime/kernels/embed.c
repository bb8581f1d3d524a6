#include "kernels.h"

// |word * multiplier| < 2^22; with position and type below 2^23: int32 holds every step.
void csc_embed_row(const csc_embed_row_t *row, size_t columns, int16_t *out) {
  csc_factor_t factor;
  csc_set_factor(&factor, row->word_multiplier);
  for (size_t c = 0; c < columns; c++) {
    int32_t sum = csc_round_shift(csc_times(&factor, row->word[c]), row->shift);
    sum += row->position[c];
    if (row->type) sum += row->type[c];
    out[c] = (int16_t)csc_clamp(sum, INT16_MIN, INT16_MAX);
  }
}
