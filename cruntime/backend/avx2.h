// avx2.h: the backend for x86-64 CPUs with AVX2.

#ifndef CSC_BACKEND_AVX2_H
#define CSC_BACKEND_AVX2_H

#include "csc.h"

// Fills *backend and returns 1; returns 0 where this build has no such backend (another
// architecture or compiler). Needs no set-up. The caller makes sure that the CPU has AVX2.
CSC_MUST_CHECK int csc_avx2_backend(csc_backend_t *backend);

#endif
