// cs1.h: the backend that gives every matrix product to a CS1 block engine.

#ifndef CSC_BACKEND_CS1_H
#define CSC_BACKEND_CS1_H

#include "cs1_driver.h"
#include "kernel_table.h"

// Fills *kernels: the engine's products, the portable rest. The backend keeps pointers to both
// arguments.
csc_backend_t csc_cs1_backend(csc_kernel_table_t *kernels, csc_cs1_t *driver);

#endif
