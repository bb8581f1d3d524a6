// host.h: what the Python binding wires together on the host: backends for its CPU, threads,
// engine model, bus, driver.

#ifndef CSC_HOST_H
#define CSC_HOST_H

#include "avx2.h"
#include "avx512.h"
#include "cs1.h"
#include "cs1_bus.h"
#include "cs1_regs.h"
#include "csc.h"
#include "csc_sim.h"

// What this CPU has, and this build and the system let us use.
int csc_host_has_avx2(void);
int csc_host_has_avx512vnni(void);
int csc_host_has_avx512vbmi(void);
int csc_host_has_amx(void);

// Fills *backend and returns 1 if this build and this CPU have AVX2, else returns 0.
static inline int csc_host_avx2_backend(csc_backend_t *backend) {
  return csc_host_has_avx2() && csc_avx2_backend(backend);
}

// Up to `size` threads, the caller's among them, that share every op of a run; one run at a time.
// The CPU must have `unit`. `rooms` holds `size` times `room_bytes`; all pointers are kept.
// Returns null where there is no memory, or no such backend in this build.
typedef struct csc_host_team csc_host_team_t;
csc_host_team_t *csc_host_team_new(csc_avx512_unit_t unit, const csc_model_t *model,
                                   const void *packed, uint8_t *rooms, size_t room_bytes,
                                   uint32_t size);
const csc_backend_t *csc_host_team_backend(const csc_host_team_t *team);
void csc_host_team_free(csc_host_team_t *team);

// Multiplies bytes with nothing in the way; returns how many products it added up, for
// measurements of what the CPU can do at most. The CPU must have `unit`.
uint64_t csc_host_multiply_at_peak(csc_avx512_unit_t unit, uint32_t rounds);

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
