// avx512.h: the backends for x86-64 CPUs with AVX-512 VNNI and with AMX.
//
// Both keep a packed copy of the GEMM weights, made once per model and shared by all threads, and
// need room for what one op works on. The caller gives the memory for both.

#ifndef CSC_BACKEND_AVX512_H
#define CSC_BACKEND_AVX512_H

#include "csc.h"
#include "kernel_table.h"

// What of a CPU is used. Each has what the ones before it have.
typedef enum {
  CSC_AVX512_VNNI,  // AVX-512 F, BW, DQ, VL and VNNI
  CSC_AVX512_VBMI,  // VBMI: tables are looked up in registers
  CSC_AVX512_AMX,   // AMX-INT8, with the system's permission to use it: products in tiles
} csc_avx512_unit_t;

// One thread's backend. Holds pointers into itself: never copy it.
typedef struct {
  csc_kernel_table_t kernels;
  const csc_model_t *model;
  const uint8_t *packed;
  uint8_t *room;
  csc_avx512_unit_t unit;
} csc_avx512_t;

// Bytes of the packed copy; 0 where this build has no such backend (another architecture or
// compiler).
size_t csc_avx512_packed_bytes(const csc_model_t *model);
// Fills the packed copy; `packed` is aligned to CSC_ALIGN.
void csc_avx512_pack(const csc_model_t *model, void *packed);
// Bytes of room one backend needs.
size_t csc_avx512_room_bytes(const csc_model_t *model);

// Fills *self with the `part`-th of `parts` backends that share the work of each op, and *backend
// with how to call it. All pointers are kept; `room` is aligned to CSC_ALIGN and this backend's
// alone. Returns 0 where this build has no such backend. The caller makes sure that the CPU has
// what `unit` needs.
CSC_MUST_CHECK int csc_avx512_backend(csc_avx512_t *self, csc_backend_t *backend,
                                      csc_avx512_unit_t unit, const csc_model_t *model,
                                      const void *packed, void *room);

#endif
