// cs2.h: the backend of a CS2 chip: whole plans through its command queue; op by op, where there is
// no plan for a run, on the CS1 block engine that is part of it.

#ifndef CSC_BACKEND_CS2_H
#define CSC_BACKEND_CS2_H

#include "cs1_driver.h"
#include "cs2_driver.h"
#include "kernel_table.h"

typedef struct {
  csc_kernel_table_t kernels;  // first: the context of single ops
  const csc_cs2_t *chip;       // null: no chip that runs plans was found
  const uint8_t *sram;         // where the CPU reaches the SRAM and the external memory
  const uint8_t *external;     //
  uint32_t external_bytes;     //
  uint32_t store;              // offset in the external memory of what is free for space STORE,
  uint32_t store_bytes;        //   a multiple of 64; the caller may change both between runs
} csc_cs2_backend_t;

// The caller has filled in all of *own but the kernels. The backend keeps pointers to both.
csc_backend_t csc_cs2_backend(csc_cs2_backend_t *own, csc_cs1_t *engine);

#endif
