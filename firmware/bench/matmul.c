// One product with the firmware's own driver, on operands that a test has put into RAM: what
// tests/test_cs1_speed.py takes the clocks of.

#include "clocks.h"
#include "cs1_driver.h"
#include "cs1_regs.h"

#define EXIT 0x0F000004u

// At JOB; filled in by the test, all but the last two.
typedef struct {
  const int8_t *x;
  const int8_t *w;
  int32_t *acc;
  uint32_t rows;
  uint32_t k_blocks;
  uint32_t n_blocks;
  uint32_t clocks;
  uint32_t reads;
} job_t;

#define JOB 0x00100000u

static csc_cs1_t driver;

static volatile uint32_t *reg(uint32_t address) { return (volatile uint32_t *)(uintptr_t)address; }

static int bus_read(void *ctx, uint32_t address, uint32_t *value) {
  (void)ctx;
  *value = *reg(address);
  return 0;
}

static int bus_write(void *ctx, uint32_t address, uint32_t value) {
  (void)ctx;
  *reg(address) = value;
  return 0;
}

static const csc_bus_t bus = {0, bus_read, bus_write};

_Noreturn void csc_main(void);

void csc_main(void) {
  volatile job_t *job = (volatile job_t *)(uintptr_t)JOB;
  csc_cs1_init(&driver, &bus, CSC_CS1_ENGINE_BASE, CSC_CS1_POLL_LIMIT);
  driver.window = reg(CSC_CS1_ENGINE_BASE);
  const uint64_t start = csc_riscv_clocks(0);
  const csc_cs1_status_t status =
      csc_cs1_matmul_blocks_s8(&driver, job->x, 8 * job->k_blocks, job->rows, job->w, job->k_blocks,
                               job->n_blocks, job->acc);
  job->clocks = (uint32_t)(csc_riscv_clocks(0) - start);
  job->reads = (uint32_t)driver.reads;
  for (;;) *reg(EXIT) = (uint32_t)status;
}
