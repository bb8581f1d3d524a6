#include "cs1_soc.h"

#include <string.h>

// --- the bus -------------------------------------------------------------------------------------

static csc_sim_region_t region_of(const csc_sim_soc_t *soc, uint32_t address) {
  if (address < soc->cpu.ram_bytes) return CSC_SIM_REGION_RAM;
  if (address < CSC_SIM_RAM_RANGE) return CSC_SIM_REGION_NO_RAM;
  if (address - CSC_CS1_ENGINE_BASE < CSC_CS1_ENGINE_REGION) return CSC_SIM_REGION_ENGINE;
  if (address - CSC_CS1_UART_BASE < CSC_CS1_UART_REGION) return CSC_SIM_REGION_UART;
  if (address - CSC_CS1_LCD_BASE < CSC_CS1_LCD_REGION) return CSC_SIM_REGION_LCD;
  if (address - CSC_CS1_GPIO_BASE < CSC_CS1_GPIO_REGION) return CSC_SIM_REGION_GPIO;
  return CSC_SIM_REGION_OTHER;
}

static uint32_t faulty_engine_read(csc_sim_soc_t *soc, uint32_t offset, uint32_t value) {
  const csc_sim_faults_t *faults = &soc->faults;
  const int has_started = soc->engine.runs != 0;
  const uint64_t number = soc->reads[CSC_SIM_REGION_ENGINE] + 1;
  if (offset == CSC_CS1_CTRL && faults->done_after && soc->engine.perf >= faults->done_after) {
    value = 0;
  }
  if (offset == CSC_CS1_CTRL && faults->never_done && has_started) value |= 1;
  if (offset == CSC_CS1_STATUS && faults->never_done && has_started) {
    value = CSC_CS1_STATUS_RUNNING;
  }
  return number == faults->change_read_at ? value ^ faults->change_read : value;
}

// Bring the engine to the beginning of `clock`.
static void advance_engine(csc_sim_soc_t *soc, uint64_t clock) {
  if (clock > soc->engine.clock) csc_sim_cs1_step(&soc->engine, clock - soc->engine.clock);
}

static uint32_t read_device(csc_sim_soc_t *soc, csc_sim_region_t region, uint32_t address,
                            uint64_t clock) {
  switch (region) {
    case CSC_SIM_REGION_RAM: return soc->cpu.ram[address >> 2];
    case CSC_SIM_REGION_UART:
      return csc_sim_cs1_uart_read(&soc->uart, clock, address - CSC_CS1_UART_BASE);
    case CSC_SIM_REGION_LCD: return csc_sim_cs1_lcd_read(&soc->lcd, address - CSC_CS1_LCD_BASE);
    case CSC_SIM_REGION_GPIO: return soc->gpio_in;
    case CSC_SIM_REGION_ENGINE: break;
    default: return 0;
  }
  const uint32_t offset = address - CSC_CS1_ENGINE_BASE;
  advance_engine(soc, clock);
  return faulty_engine_read(soc, offset, csc_sim_cs1_read(&soc->engine, offset));
}

// Devices ignore the strobes: they take all 32 bits on the bus.
static void write_device(csc_sim_soc_t *soc, csc_sim_region_t region,
                         csc_sim_transfer_t *transfer) {
  const uint32_t address = transfer->address, data = transfer->data;
  switch (region) {
    case CSC_SIM_REGION_RAM: csc_sim_rv32_store(&soc->cpu, address, transfer->strobes, data); break;
    case CSC_SIM_REGION_ENGINE:
      advance_engine(soc, transfer->clock);
      csc_sim_cs1_write(&soc->engine, address - CSC_CS1_ENGINE_BASE, data);
      break;
    case CSC_SIM_REGION_UART:
      csc_sim_cs1_uart_write(&soc->uart, transfer->clock, address - CSC_CS1_UART_BASE, data);
      break;
    case CSC_SIM_REGION_LCD:
      csc_sim_cs1_lcd_write(&soc->lcd, transfer->clock, address - CSC_CS1_LCD_BASE, data);
      break;
    case CSC_SIM_REGION_GPIO: soc->gpio_out = data; break;
    default: break;
  }
}

static void record(csc_sim_soc_t *soc, const csc_sim_transfer_t *transfer) {
  if (soc->trace_count < soc->trace_room) soc->trace[soc->trace_count++] = *transfer;
}

static int has_to_drain(const csc_sim_soc_t *soc) {
  const int is_full = soc->trace_room != 0 && soc->trace_count == soc->trace_room;
  return is_full || soc->uart.output_count > CSC_SIM_UART_OUTPUT / 2;
}

static csc_sim_rv32_answer_t answer(void *ctx, csc_sim_transfer_t *transfer) {
  csc_sim_soc_t *soc = ctx;
  const csc_sim_region_t region = region_of(soc, transfer->address);
  if (region == CSC_SIM_REGION_LCD) {
    const uint64_t ready = csc_sim_cs1_lcd_ready(&soc->lcd, transfer->clock);
    soc->stall_clocks += ready - transfer->clock;
    transfer->clock = ready;
  }
  if (transfer->strobes) {
    write_device(soc, region, transfer);
  } else {
    transfer->data = read_device(soc, region, transfer->address, transfer->clock);
  }
  if (transfer->is_fetch) return CSC_RV32_GO_ON;
  (transfer->strobes ? soc->writes : soc->reads)[region]++;
  record(soc, transfer);
  if (transfer->strobes && transfer->address == CSC_SIM_EXIT) return CSC_RV32_EXIT;
  return has_to_drain(soc) ? CSC_RV32_DRAIN : CSC_RV32_GO_ON;
}

// --- memory --------------------------------------------------------------------------------------

typedef struct {
  size_t ram;    // where the parts of the model begin
  size_t slots;  //
  size_t pages;  //
  size_t end;
} layout_t;

static const csc_sim_rv32_config_t CPUS[] = {
    [CSC_SIM_CPU_RV32I] = {0, 0, 0, 3},
    [CSC_SIM_CPU_RV32IMC] = {1, 1, 1, 20},
};

static size_t aligned(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

static layout_t lay_out(const csc_sim_soc_config_t *config) {
  layout_t layout;
  layout.ram = aligned(sizeof(csc_sim_soc_t));
  layout.slots = aligned(layout.ram + config->ram_bytes);
  layout.pages = layout.slots + csc_sim_rv32_slot_bytes(&CPUS[config->cpu], config->ram_bytes);
  layout.end = aligned(layout.pages + config->ram_bytes / CSC_RV32_PAGE + 1);
  return layout;
}

static int is_valid(const csc_sim_soc_config_t *config) {
  const int is_cpu = config->cpu == CSC_SIM_CPU_RV32I || config->cpu == CSC_SIM_CPU_RV32IMC;
  const uint32_t bytes = config->ram_bytes;
  return is_cpu && config->ram_wait < 2 && bytes >= 4 && bytes <= CSC_SIM_RAM_MAX && bytes % 4 == 0;
}

size_t csc_sim_soc_sizeof(const csc_sim_soc_config_t *config) {
  return is_valid(config) ? lay_out(config).end : 0;
}

void csc_sim_soc_init(csc_sim_soc_t *soc, const csc_sim_soc_config_t *config) {
  const layout_t layout = lay_out(config);
  uint8_t *memory = (uint8_t *)soc;
  csc_sim_rv32_t *cpu = &soc->cpu;
  cpu->ram = (void *)(memory + layout.ram);
  cpu->slots = (void *)(memory + layout.slots);
  cpu->has_code = memory + layout.pages;
  cpu->ram_bytes = config->ram_bytes;
  cpu->ram_wait = config->ram_wait;
  cpu->config = CPUS[config->cpu];
  cpu->bus = answer;
  cpu->bus_ctx = soc;
  csc_sim_rv32_init(cpu);
  csc_sim_cs1_init(&soc->engine);
  csc_sim_cs1_uart_init(&soc->uart, &soc->faults);
}

static int is_ram(const csc_sim_soc_t *soc, uint32_t address, size_t count) {
  return address <= soc->cpu.ram_bytes && count <= soc->cpu.ram_bytes - address;
}

int csc_sim_soc_load(csc_sim_soc_t *soc, uint32_t address, const uint8_t *bytes, size_t count) {
  if (!is_ram(soc, address, count)) return 1;
  for (size_t n = 0; n < count; n++) {
    const uint32_t place = address + (uint32_t)n;
    csc_sim_rv32_store(&soc->cpu, place & ~3u, 1u << (place & 3), bytes[n] * 0x01010101u);
  }
  return 0;
}

int csc_sim_soc_read(const csc_sim_soc_t *soc, uint32_t address, uint8_t *bytes, size_t count) {
  if (!is_ram(soc, address, count)) return 1;
  for (size_t n = 0; n < count; n++) {
    const uint32_t place = address + (uint32_t)n;
    bytes[n] = (uint8_t)(soc->cpu.ram[place >> 2] >> 8 * (place & 3));
  }
  return 0;
}

// --- the face ------------------------------------------------------------------------------------

csc_sim_stop_t csc_sim_soc_run(csc_sim_soc_t *soc, uint64_t end_clock) {
  csc_sim_rv32_run(&soc->cpu, end_clock);
  return soc->cpu.stop;
}

// After an exit the processor itself is a clock further.
uint64_t csc_sim_soc_clock(const csc_sim_soc_t *soc) { return soc->cpu.stop.clock; }

uint32_t csc_sim_soc_pc(const csc_sim_soc_t *soc) { return soc->cpu.stop.pc; }

uint32_t csc_sim_soc_register(const csc_sim_soc_t *soc, uint32_t number) {
  return soc->cpu.x[number % 32];
}

void csc_sim_soc_totals(csc_sim_soc_t *soc, csc_sim_totals_t *totals) {
  const csc_sim_rv32_pace_t *pace = &soc->cpu.pace;
  advance_engine(soc, csc_sim_soc_clock(soc));
  memset(totals, 0, sizeof *totals);
  totals->clocks = csc_sim_soc_clock(soc);
  totals->instructions = pace->instructions;
  totals->ram_wait_clocks = pace->wait_clocks;
  totals->bus_stall_clocks = soc->stall_clocks;
  totals->engine_runs = soc->engine.runs;
  totals->engine_busy_clocks = soc->engine.busy;
  memcpy(totals->reads, soc->reads, sizeof soc->reads);
  memcpy(totals->writes, soc->writes, sizeof soc->writes);
  totals->reads[CSC_SIM_REGION_RAM] += pace->ram_reads;
  totals->writes[CSC_SIM_REGION_RAM] += pace->ram_writes;
}

static void take_uart_to_now(csc_sim_soc_t *soc) {
  csc_sim_cs1_uart_advance(&soc->uart, csc_sim_soc_clock(soc));
}

size_t csc_sim_soc_uart_output(csc_sim_soc_t *soc, uint8_t *bytes, size_t room) {
  csc_sim_cs1_uart_t *uart = &soc->uart;
  take_uart_to_now(soc);
  const size_t count = room < uart->output_count ? room : uart->output_count;
  memcpy(bytes, uart->output, count);
  memmove(uart->output, uart->output + count, uart->output_count - count);
  uart->output_count -= (uint32_t)count;
  return count;
}

size_t csc_sim_soc_uart_pending(csc_sim_soc_t *soc, uint8_t *bytes, size_t room) {
  const csc_sim_cs1_uart_t *uart = &soc->uart;
  size_t count = 0;
  take_uart_to_now(soc);
  if (uart->out.bits && count < room) bytes[count++] = uart->out.byte;
  for (uint32_t n = 0; n < uart->tx.count && count < room; n++) {
    bytes[count++] = uart->tx.bytes[(uart->tx.first + n) % CSC_SIM_UART_QUEUE];
  }
  return count;
}

void csc_sim_soc_uart_input(csc_sim_soc_t *soc, const uint8_t *bytes, size_t count,
                            uint64_t bit_65536) {
  take_uart_to_now(soc);
  csc_sim_cs1_uart_feed(&soc->uart, bytes, count, bit_65536);
}

size_t csc_sim_soc_uart_unsent(csc_sim_soc_t *soc) {
  take_uart_to_now(soc);
  return soc->uart.sender.count;
}

uint32_t csc_sim_soc_gpio_out(const csc_sim_soc_t *soc) { return soc->gpio_out; }

void csc_sim_soc_gpio_in(csc_sim_soc_t *soc, uint32_t pins) { soc->gpio_in = pins; }

uint32_t csc_sim_soc_interrupts(csc_sim_soc_t *soc) {
  advance_engine(soc, csc_sim_soc_clock(soc));
  take_uart_to_now(soc);
  const uint32_t engine = csc_sim_cs1_irq(&soc->engine) ? 1u << 16 : 0;
  return engine | csc_sim_cs1_uart_irq(&soc->uart) << 18 | soc->faults.interrupts;
}

void csc_sim_soc_trace(csc_sim_soc_t *soc, csc_sim_transfer_t *transfers, size_t room) {
  soc->trace = transfers;
  soc->trace_room = room;
  soc->trace_count = 0;
  soc->cpu.fast_bytes = room ? 0 : soc->cpu.ram_bytes;
}

size_t csc_sim_soc_traced(const csc_sim_soc_t *soc) { return soc->trace_count; }

csc_sim_faults_t *csc_sim_soc_faults(csc_sim_soc_t *soc) { return &soc->faults; }
