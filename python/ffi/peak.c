// peak.c: int8 products as fast as this CPU makes them: operands in registers, nothing else done.

#include "avx512_inner.h"
#include "host.h"

#if CSC_HAS_AVX512

// Twelve sums hide each other's latency.
__attribute__((target("avx512f,avx512vnni"))) static uint64_t multiply_vnni(uint32_t rounds) {
  __m512i sum[12];
  __m512i left = _mm512_set1_epi8(1);
  __m512i right = _mm512_set1_epi8(2);
  UNROLL
  for (int i = 0; i < 12; i++) sum[i] = _mm512_set1_epi32(i);
  for (uint32_t n = 0; n < rounds; n++) {
    UNROLL
    for (int i = 0; i < 12; i++) {
      sum[i] = _mm512_dpbusd_epi32(sum[i], left, right);
      __asm__ volatile("" : "+v"(sum[i]));  // keeps the product in the loop
    }
  }
  return (uint64_t)rounds * 12 * 64;
}

// Tiles hold zeros; products take their time all the same.
__attribute__((target("amx-tile,amx-int8"))) static uint64_t multiply_amx(uint32_t rounds) {
  csc_amx_begin();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (uint32_t n = 0; n < rounds; n++) {
    _tile_dpbusd(0, 4, 5);
    _tile_dpbusd(1, 4, 5);
    _tile_dpbusd(2, 4, 5);
    _tile_dpbusd(3, 4, 5);
  }
  csc_amx_end();
  return (uint64_t)rounds * 4 * 16 * 16 * 64;
}

uint64_t csc_host_multiply_at_peak(csc_avx512_unit_t unit, uint32_t rounds) {
  return unit == CSC_AVX512_AMX ? multiply_amx(rounds) : multiply_vnni(rounds);
}

#else

uint64_t csc_host_multiply_at_peak(csc_avx512_unit_t unit, uint32_t rounds) {
  (void)unit;
  (void)rounds;
  return 0;
}

#endif
