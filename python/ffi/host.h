// host.h: what the Python binding wires together on the host: backends for its CPU,
// engine model, bus, driver.

#ifndef CSC_HOST_H
#define CSC_HOST_H

#include "avx2.h"
#include "cs1.h"
#include "cs1_bus.h"
#include "cs1_regs.h"
#include "cs2_regs.h"
#include "csc.h"
#include "csc_sim.h"

// Fills *backend and returns 1 if this build and this CPU have AVX2, else returns 0.
static inline int csc_host_avx2_backend(csc_backend_t *backend) {
#if defined(__GNUC__) && defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && csc_avx2_backend(backend);
#else
  return csc_avx2_backend(backend);
#endif
}

// A CS1 backend on an engine model. Holds pointers into itself: never copy it.
typedef struct {
  csc_sim_cs1_bus_t wires;
  csc_bus_t bus;
  csc_cs1_t driver;
  csc_kernel_table_t kernels;
  csc_backend_t backend;
} csc_host_cs1_t;

static inline void csc_host_cs1_init(csc_host_cs1_t *host, csc_sim_cs1_t *engine) {
  host->wires.engine = engine;
  host->bus.ctx = &host->wires;
  host->bus.read32 = csc_sim_cs1_bus_read32;
  host->bus.write32 = csc_sim_cs1_bus_write32;
  csc_cs1_init(&host->driver, &host->bus, CSC_CS1_ENGINE_BASE, CSC_CS1_POLL_LIMIT);
  host->backend = csc_cs1_backend(&host->kernels, &host->driver);
}

#endif
