#include "soc.h"

#include <string.h>

// --- memory --------------------------------------------------------------------------------------

typedef struct {
  size_t ram;       // where the parts of the model begin
  size_t slots;     //
  size_t pages;     //
  size_t chip;      // of a CS2
  size_t external;  //
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
  layout.chip = aligned(layout.pages + config->ram_bytes / CSC_RV32_PAGE + 1);
  layout.external = layout.end = layout.chip;
  if (config->chip == CSC_SIM_CHIP_CS2) {
    layout.external = aligned(layout.chip + csc_sim_cs2_sizeof(&config->cs2));
    layout.end = aligned(layout.external + config->external_bytes);
  }
  return layout;
}

static int is_valid(const csc_sim_soc_config_t *config) {
  const int is_cpu = config->cpu == CSC_SIM_CPU_RV32I || config->cpu == CSC_SIM_CPU_RV32IMC;
  const int is_chip =
      config->chip == CSC_SIM_CHIP_CS1 ||
      (config->chip == CSC_SIM_CHIP_CS2 && csc_sim_cs2_sizeof(&config->cs2) &&
       config->external_bytes <= CSC_SIM_EXTERNAL_MAX && config->external_bytes % 64 == 0);
  const uint32_t bytes = config->ram_bytes;
  const int is_ram = bytes >= 4 && bytes <= CSC_SIM_RAM_MAX && bytes % 4 == 0;
  return is_cpu && is_chip && is_ram && config->ram_wait < 2;
}

size_t csc_sim_soc_sizeof(const csc_sim_soc_config_t *config) {
  return is_valid(config) ? lay_out(config).end : 0;
}

static void init_chip(csc_sim_soc_t *soc, const csc_sim_soc_config_t *config, layout_t layout) {
  uint8_t *memory = (uint8_t *)soc;
  soc->devices = csc_sim_soc_devices(config->chip);
  soc->engine = &soc->own_engine;
  if (config->chip == CSC_SIM_CHIP_CS1) {
    csc_sim_cs1_init(soc->engine);
    return;
  }
  soc->cs2 = (void *)(memory + layout.chip);
  csc_sim_cs2_init(soc->cs2, &config->cs2, memory + layout.external, config->external_bytes);
  soc->engine = &soc->cs2->cs1;
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
  cpu->bus = csc_sim_soc_answer;
  cpu->bus_ctx = soc;
  csc_sim_rv32_init(cpu);
  init_chip(soc, config, layout);
  csc_sim_cs1_uart_init(&soc->uart, &soc->faults);
}

// Whether `count` bytes from `address` on are within a memory of `bytes` bytes at `first`.
static int is_within(uint32_t address, size_t count, uint32_t first, uint32_t bytes) {
  const uint32_t offset = address - first;
  return address >= first && offset <= bytes && count <= bytes - offset;
}

// The bytes of a CS2's memory at an address, or null where there is none.
static uint8_t *window(const csc_sim_soc_t *soc, uint32_t address, size_t count) {
  csc_sim_cs2_t *cs2 = soc->cs2;
  if (!cs2) return NULL;
  if (is_within(address, count, CSC_SIM_SRAM, cs2->config.sram_bytes)) {
    return csc_sim_cs2_sram(cs2) + (address - CSC_SIM_SRAM);
  }
  if (!is_within(address, count, CSC_SIM_EXTERNAL, cs2->external_bytes)) return NULL;
  return cs2->external + (address - CSC_SIM_EXTERNAL);
}

int csc_sim_soc_load(csc_sim_soc_t *soc, uint32_t address, const uint8_t *bytes, size_t count) {
  uint8_t *memory = window(soc, address, count);
  if (memory) memcpy(memory, bytes, count);
  if (memory) return 0;
  if (!is_within(address, count, 0, soc->cpu.ram_bytes)) return 1;
  for (size_t n = 0; n < count; n++) {
    const uint32_t place = address + (uint32_t)n;
    csc_sim_rv32_store(&soc->cpu, place & ~3u, 1u << (place & 3), bytes[n] * 0x01010101u);
  }
  return 0;
}

int csc_sim_soc_read(const csc_sim_soc_t *soc, uint32_t address, uint8_t *bytes, size_t count) {
  const uint8_t *memory = window(soc, address, count);
  if (memory) memcpy(bytes, memory, count);
  if (memory) return 0;
  if (!is_within(address, count, 0, soc->cpu.ram_bytes)) return 1;
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
  csc_sim_soc_advance(soc, csc_sim_soc_clock(soc));
  memset(totals, 0, sizeof *totals);
  totals->clocks = csc_sim_soc_clock(soc);
  totals->instructions = pace->instructions;
  totals->ram_wait_clocks = pace->wait_clocks;
  totals->bus_stall_clocks = soc->stall_clocks;
  totals->engine_runs = soc->engine->runs;
  totals->engine_busy_clocks = soc->engine->busy;
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
  csc_sim_soc_advance(soc, csc_sim_soc_clock(soc));
  take_uart_to_now(soc);
  const uint32_t engine =
      soc->cs2 ? csc_sim_cs2_irq(soc->cs2) : (uint32_t)csc_sim_cs1_irq(soc->engine);
  return engine << 16 | csc_sim_cs1_uart_irq(&soc->uart) << 18 | soc->faults.interrupts;
}

void csc_sim_soc_trace(csc_sim_soc_t *soc, csc_sim_transfer_t *transfers, size_t room) {
  soc->trace = transfers;
  soc->trace_room = room;
  soc->trace_count = 0;
  soc->cpu.fast_bytes = room ? 0 : soc->cpu.ram_bytes;
}

size_t csc_sim_soc_traced(const csc_sim_soc_t *soc) { return soc->trace_count; }

csc_sim_faults_t *csc_sim_soc_faults(csc_sim_soc_t *soc) { return &soc->faults; }

csc_sim_cs2_t *csc_sim_soc_cs2(csc_sim_soc_t *soc) {
  if (soc->cs2) csc_sim_soc_advance(soc, csc_sim_soc_clock(soc));
  return soc->cs2;
}
