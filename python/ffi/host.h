// host.h: what the Python binding wires together on the host: backends for its CPU, threads,
// engine model, bus, driver.

#ifndef CSC_HOST_H
#define CSC_HOST_H

#include "avx2.h"
#include "avx512.h"
#include "cs1.h"
#include "cs1_bus.h"
#include "cs1_regs.h"
#include "cs2.h"
#include "cs2_regs.h"
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

// A CS2 backend on a chip model. Holds pointers into itself: never copy it.
typedef struct {
  csc_sim_cs2_t *sim;
  csc_bus_t bus;
  csc_cs1_t engine;
  csc_cs2_t chip;
  csc_cs2_backend_t own;
  csc_backend_t backend;
} csc_host_cs2_t;

// Clocks between two looks at the queue: a processor has to execute instructions too.
#define CSC_HOST_CS2_PAUSE 15u

static inline int csc_host_cs2_read32(void *ctx, uint32_t address, uint32_t *value) {
  csc_host_cs2_t *host = (csc_host_cs2_t *)ctx;
  uint32_t offset = address - CSC_CS2_ENGINE2_BASE;
  if (offset >= CSC_CS2_ENGINE2_REGION) return 1;
  if (offset == CSC_CS2_QUEUE_STATUS) csc_sim_cs2_step(host->sim, CSC_HOST_CS2_PAUSE);
  *value = csc_sim_cs2_read(host->sim, offset);
  return 0;
}

static inline int csc_host_cs2_write32(void *ctx, uint32_t address, uint32_t value) {
  csc_host_cs2_t *host = (csc_host_cs2_t *)ctx;
  uint32_t offset = address - CSC_CS2_ENGINE2_BASE;
  if (offset >= CSC_CS2_ENGINE2_REGION) return 1;
  csc_sim_cs2_write(host->sim, offset, value);
  return 0;
}

// `blob` is what the model's external memory begins with, as the runtime has loaded it; behind
// `store`, an offset in that memory, all is free.
static inline void csc_host_cs2_init(csc_host_cs2_t *host, csc_sim_cs2_t *sim, const uint8_t *blob,
                                     uint32_t external_bytes, uint32_t store) {
  host->sim = sim;
  host->bus.ctx = host;
  host->bus.read32 = csc_host_cs2_read32;
  host->bus.write32 = csc_host_cs2_write32;
  csc_cs1_init(&host->engine, &host->bus, CSC_CS1_ENGINE_BASE, CSC_CS1_POLL_LIMIT);
  csc_cs2_status_t status = csc_cs2_init(&host->chip, &host->bus, CSC_CS2_ENGINE2_BASE);
  host->own.chip = status ? NULL : &host->chip;
  host->own.sram = csc_sim_cs2_sram(sim);
  host->own.external = blob;
  host->own.external_bytes = external_bytes;
  host->own.store = store;
  host->own.store_bytes = external_bytes - store;
  host->backend = csc_cs2_backend(&host->own, &host->engine);
}

#endif
