// The processor's bus: which device answers, what it does, and in which clock.
//
// Devices are lazy: each is brought to the clock of a transfer when there is one.

#include "soc.h"

// What stands behind an address range. The functions get the transfer with its offset in the range;
// they may let the clock of completion grow. Without them reads give 0 and writes do nothing.
struct csc_sim_device {
  uint32_t first;
  uint32_t bytes;
  uint32_t (*read)(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer);
  void (*write)(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer);
};

static uint32_t faulty_engine_read(csc_sim_soc_t *soc, uint32_t offset, uint32_t value) {
  const csc_sim_faults_t *faults = &soc->faults;
  const int has_started = soc->engine->runs != 0;
  const uint64_t number = soc->reads[CSC_SIM_REGION_ENGINE] + 1;
  if (offset == CSC_CS1_CTRL && faults->done_after && soc->engine->perf >= faults->done_after) {
    value = 0;
  }
  if (offset == CSC_CS1_CTRL && faults->never_done && has_started) value |= 1;
  if (offset == CSC_CS1_STATUS && faults->never_done && has_started) {
    value = CSC_CS1_STATUS_RUNNING;
  }
  return number == faults->change_read_at ? value ^ faults->change_read : value;
}

void csc_sim_soc_advance(csc_sim_soc_t *soc, uint64_t clock) {
  if (soc->cs2) {
    const uint64_t now = csc_sim_cs2_clock(soc->cs2);
    if (clock > now) csc_sim_cs2_step(soc->cs2, clock - now);
  } else if (clock > soc->engine->clock) {
    csc_sim_cs1_step(soc->engine, clock - soc->engine->clock);
  }
}

// --- devices of both chips -----------------------------------------------------------------------

static uint32_t read_ram(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer) {
  (void)transfer;
  return soc->cpu.ram[offset >> 2];
}

static void write_ram(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer) {
  csc_sim_rv32_store(&soc->cpu, offset, transfer->strobes, transfer->data);
}

static uint32_t read_uart(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer) {
  return csc_sim_cs1_uart_read(&soc->uart, transfer->clock, offset);
}

static void write_uart(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer) {
  csc_sim_cs1_uart_write(&soc->uart, transfer->clock, offset, transfer->data);
}

static void wait_until(csc_sim_soc_t *soc, uint64_t ready, csc_sim_transfer_t *transfer) {
  soc->stall_clocks += ready - transfer->clock;
  transfer->clock = ready;
}

static uint32_t read_lcd(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer) {
  wait_until(soc, csc_sim_cs1_lcd_ready(&soc->lcd, transfer->clock), transfer);
  return csc_sim_cs1_lcd_read(&soc->lcd, offset);
}

static void write_lcd(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer) {
  wait_until(soc, csc_sim_cs1_lcd_ready(&soc->lcd, transfer->clock), transfer);
  csc_sim_cs1_lcd_write(&soc->lcd, transfer->clock, offset, transfer->data);
}

static uint32_t read_gpio(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer) {
  (void)offset;
  (void)transfer;
  return soc->gpio_in;
}

static void write_gpio(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer) {
  (void)offset;
  soc->gpio_out = transfer->data;
}

// --- CS1 -----------------------------------------------------------------------------------------

static uint32_t read_cs1(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer) {
  csc_sim_soc_advance(soc, transfer->clock);
  return faulty_engine_read(soc, offset, csc_sim_cs1_read(soc->engine, offset));
}

// Devices ignore the strobes: they take all 32 bits on the bus.
static void write_cs1(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer) {
  csc_sim_soc_advance(soc, transfer->clock);
  csc_sim_cs1_write(soc->engine, offset, transfer->data);
}

// --- CS2 -----------------------------------------------------------------------------------------

static uint32_t read_cs2(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer) {
  csc_sim_soc_advance(soc, transfer->clock);
  return faulty_engine_read(soc, offset, csc_sim_cs2_read(soc->cs2, offset));
}

static void write_cs2(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer) {
  csc_sim_soc_advance(soc, transfer->clock);
  csc_sim_cs2_write(soc->cs2, offset, transfer->data);
}

// The windows answer loads and stores; a fetch of an instruction finds 0 there, at once.
static uint32_t access_sram(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer) {
  if (transfer->is_fetch) return 0;
  csc_sim_soc_advance(soc, transfer->clock);
  return csc_sim_cs2_sram_access(soc->cs2, offset, transfer->strobes, transfer->data);
}

static void write_sram(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer) {
  (void)access_sram(soc, offset, transfer);
}

static uint32_t access_external(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer) {
  if (transfer->is_fetch) return 0;
  csc_sim_soc_advance(soc, transfer->clock);
  const uint32_t data =
      csc_sim_cs2_external_access(soc->cs2, offset, transfer->strobes, transfer->data);
  wait_until(soc, csc_sim_cs2_clock(soc->cs2) - 1, transfer);
  return data;
}

static void write_external(csc_sim_soc_t *soc, uint32_t offset, csc_sim_transfer_t *transfer) {
  (void)access_external(soc, offset, transfer);
}

// --- the tables ----------------------------------------------------------------------------------

#define UART {CSC_CS1_UART_BASE, CSC_CS1_UART_REGION, read_uart, write_uart}
#define LCD {CSC_CS1_LCD_BASE, CSC_CS1_LCD_REGION, read_lcd, write_lcd}
#define GPIO {CSC_CS1_GPIO_BASE, CSC_CS1_GPIO_REGION, read_gpio, write_gpio}

static const csc_sim_device_t CS1[CSC_SIM_REGIONS] = {
    [CSC_SIM_REGION_RAM] = {0, 0, read_ram, write_ram},
    [CSC_SIM_REGION_ENGINE] = {CSC_SIM_REGISTERS, CSC_CS1_ENGINE_REGION, read_cs1, write_cs1},
    [CSC_SIM_REGION_UART] = UART,
    [CSC_SIM_REGION_LCD] = LCD,
    [CSC_SIM_REGION_GPIO] = GPIO,
};

static const csc_sim_device_t CS2[CSC_SIM_REGIONS] = {
    [CSC_SIM_REGION_RAM] = {0, 0, read_ram, write_ram},
    [CSC_SIM_REGION_ENGINE] = {CSC_SIM_REGISTERS, CSC_CS2_ENGINE2_REGION, read_cs2, write_cs2},
    [CSC_SIM_REGION_UART] = UART,
    [CSC_SIM_REGION_LCD] = LCD,
    [CSC_SIM_REGION_GPIO] = GPIO,
    [CSC_SIM_REGION_SRAM] = {CSC_SIM_SRAM, CSC_SIM_WINDOW, access_sram, write_sram},
    [CSC_SIM_REGION_EXTERNAL] = {CSC_SIM_EXTERNAL, CSC_SIM_WINDOW, access_external, write_external},
};

const csc_sim_device_t *csc_sim_soc_devices(csc_sim_chip_t chip) {
  return chip == CSC_SIM_CHIP_CS2 ? CS2 : CS1;
}

static csc_sim_region_t region_of(const csc_sim_soc_t *soc, uint32_t address) {
  if (address < soc->cpu.ram_bytes) return CSC_SIM_REGION_RAM;
  if (address < CSC_SIM_RAM_RANGE) return CSC_SIM_REGION_NO_RAM;
  for (uint32_t n = CSC_SIM_REGION_ENGINE; n < CSC_SIM_REGION_OTHER; n++) {
    if (address - soc->devices[n].first < soc->devices[n].bytes) return (csc_sim_region_t)n;
  }
  return CSC_SIM_REGION_OTHER;
}

static void record(csc_sim_soc_t *soc, const csc_sim_transfer_t *transfer) {
  if (soc->trace_count < soc->trace_room) soc->trace[soc->trace_count++] = *transfer;
}

static int has_to_drain(const csc_sim_soc_t *soc) {
  const int is_full = soc->trace_room != 0 && soc->trace_count == soc->trace_room;
  return is_full || soc->uart.output_count > CSC_SIM_UART_OUTPUT / 2;
}

csc_sim_rv32_answer_t csc_sim_soc_answer(void *ctx, csc_sim_transfer_t *transfer) {
  csc_sim_soc_t *soc = ctx;
  const csc_sim_region_t region = region_of(soc, transfer->address);
  const csc_sim_device_t *device = &soc->devices[region];
  const uint32_t offset = transfer->address - device->first;
  if (transfer->strobes) {
    if (device->write) device->write(soc, offset, transfer);
  } else {
    transfer->data = device->read ? device->read(soc, offset, transfer) : 0;
  }
  if (transfer->is_fetch) return CSC_RV32_GO_ON;
  (transfer->strobes ? soc->writes : soc->reads)[region]++;
  record(soc, transfer);
  if (transfer->strobes && transfer->address == CSC_SIM_EXIT) return CSC_RV32_EXIT;
  return has_to_drain(soc) ? CSC_RV32_DRAIN : CSC_RV32_GO_ON;
}
