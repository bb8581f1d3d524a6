#include "cs2_driver.h"

#include "cs2_regs.h"

// Space WEIGHTS in a chip address (CHIP.md, commands).
#define SPACE_WEIGHTS (1u << 30)

typedef struct {
  uint32_t offset;
  uint32_t value;
} setting_t;

static csc_cs2_status_t read_register(const csc_cs2_t *cs2, uint32_t offset, uint32_t *value) {
  const csc_bus_t *bus = cs2->bus;
  return bus->read32(bus->ctx, cs2->base + offset, value) ? CSC_CS2_BUS_ERROR : CSC_CS2_OK;
}

static csc_cs2_status_t write_register(const csc_cs2_t *cs2, uint32_t offset, uint32_t value) {
  const csc_bus_t *bus = cs2->bus;
  return bus->write32(bus->ctx, cs2->base + offset, value) ? CSC_CS2_BUS_ERROR : CSC_CS2_OK;
}

csc_cs2_status_t csc_cs2_init(csc_cs2_t *cs2, const csc_bus_t *bus, uint32_t base) {
  cs2->bus = bus;
  cs2->base = base;
  cs2->poll_limit = CSC_CS2_POLL_LIMIT;
  cs2->watchdog = CSC_CS2_WATCHDOG_CLOCKS;
  csc_cs2_status_t status = read_register(cs2, CSC_CS2_ID, &cs2->id);
  if (!status) status = read_register(cs2, CSC_CS2_VERSION, &cs2->version);
  if (!status) status = read_register(cs2, CSC_CS2_SRAM_BYTES, &cs2->sram_bytes);
  if (status) return status;
  const uint32_t major = CSC_CS2_VERSION_MAJOR_MASK;
  const int is_known =
      cs2->id == CSC_CS2_ID_RESET && (cs2->version & major) == (CSC_CS2_VERSION_RESET & major);
  return is_known ? CSC_CS2_OK : CSC_CS2_NOT_CS2;
}

static csc_cs2_status_t soft_reset(const csc_cs2_t *cs2) {
  return write_register(cs2, CSC_CS2_QUEUE_CONTROL, CSC_CS2_QUEUE_CONTROL_SOFT_RESET_MASK);
}

// Writing QUEUE_TAIL, the last of the settings, is the doorbell.
static csc_cs2_status_t start(const csc_cs2_t *cs2, const csc_cs2_program_t *program) {
  const setting_t settings[] = {
      {CSC_CS2_QUEUE_CONTROL, CSC_CS2_QUEUE_CONTROL_SOFT_RESET_MASK},
      {CSC_CS2_IRQ_ENABLE, 0},
      {CSC_CS2_IRQ_STATUS, CSC_CS2_IRQ_STATUS_DONE_MASK | CSC_CS2_IRQ_STATUS_FAILED_MASK},
      {CSC_CS2_WEIGHTS_BASE, program->weights},
      {CSC_CS2_WEIGHTS_BYTES, program->weights_bytes},
      {CSC_CS2_STORE_BASE, program->store},
      {CSC_CS2_STORE_BYTES, program->store_bytes},
      {CSC_CS2_PARAM + 0, program->length},
      {CSC_CS2_PARAM + 4, 0},
      {CSC_CS2_PARAM + 8, 0},
      {CSC_CS2_PARAM + 12, 0},
      {CSC_CS2_WATCHDOG, cs2->watchdog},
      {CSC_CS2_QUEUE_BASE, SPACE_WEIGHTS | program->commands},
      {CSC_CS2_QUEUE_SIZE, program->command_count},
      {CSC_CS2_QUEUE_CONTROL, CSC_CS2_QUEUE_CONTROL_ENABLE_MASK},
      {CSC_CS2_QUEUE_TAIL, program->command_count},
  };
  csc_cs2_status_t status = CSC_CS2_OK;
  for (uint32_t i = 0; i < sizeof settings / sizeof *settings && !status; i++) {
    status = write_register(cs2, settings[i].offset, settings[i].value);
  }
  return status;
}

static csc_cs2_status_t read_failure(const csc_cs2_t *cs2, csc_cs2_failure_t *failure) {
  csc_cs2_status_t status = read_register(cs2, CSC_CS2_ERROR, &failure->cause);
  if (!status) status = read_register(cs2, CSC_CS2_ERROR_COMMAND, &failure->command);
  if (!status) status = read_register(cs2, CSC_CS2_ERROR_INFO, &failure->info);
  if (!status) status = read_register(cs2, CSC_CS2_ERROR_TAG, &failure->tag);
  failure->cause &= CSC_CS2_ERROR_CAUSE_MASK;
  return status ? status : CSC_CS2_FAILED;
}

// Idle is what a chip is too that has not heard the doorbell, so the commands are counted.
static csc_cs2_status_t check_end(const csc_cs2_t *cs2, const csc_cs2_program_t *program) {
  uint32_t head = 0;
  csc_cs2_status_t status = read_register(cs2, CSC_CS2_QUEUE_HEAD, &head);
  if (status) return status;
  return head == program->command_count ? CSC_CS2_OK : CSC_CS2_EARLY;
}

static csc_cs2_status_t wait(const csc_cs2_t *cs2, const csc_cs2_program_t *program,
                             csc_cs2_failure_t *failure) {
  for (uint32_t n = 0; n < cs2->poll_limit; n++) {
    uint32_t queue = 0;
    const csc_cs2_status_t status = read_register(cs2, CSC_CS2_QUEUE_STATUS, &queue);
    if (status) return status;
    if (queue & CSC_CS2_QUEUE_STATUS_FAILED_MASK) return read_failure(cs2, failure);
    if (queue & CSC_CS2_QUEUE_STATUS_IDLE_MASK) return check_end(cs2, program);
  }
  return CSC_CS2_TIMEOUT;
}

csc_cs2_status_t csc_cs2_run(const csc_cs2_t *cs2, const csc_cs2_program_t *program,
                             csc_cs2_failure_t *failure) {
  csc_cs2_status_t status = start(cs2, program);
  if (!status) status = wait(cs2, program, failure);
  const csc_cs2_status_t after = soft_reset(cs2);
  return status ? status : after;
}
