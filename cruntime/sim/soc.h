// A CompactScale system on chip, complete type. The functions stand in csc_sim.h.
//
// What lies at which address, and what a transfer there does, is a table per chip (soc_bus.c).

#ifndef CSC_SIM_SOC_H
#define CSC_SIM_SOC_H

#include "cs1_engine.h"
#include "cs1_lcd.h"
#include "cs1_uart.h"
#include "cs2_chip.h"
#include "rv32.h"

#define CSC_SIM_REGISTERS 0x10000000u  // of the engine of either chip
#define CSC_SIM_SRAM 0x30000000u       // the windows of CS2
#define CSC_SIM_EXTERNAL 0x40000000u   //

typedef struct csc_sim_device csc_sim_device_t;

struct csc_sim_soc {
  csc_sim_rv32_t cpu;
  const csc_sim_device_t *devices;  // of the chip, by region
  csc_sim_cs1_t own_engine;         // of a CS1
  csc_sim_cs1_t *engine;            // the block engine of CS1, which CS2 has too
  csc_sim_cs2_t *cs2;               // null for a CS1
  csc_sim_cs1_uart_t uart;
  csc_sim_cs1_lcd_t lcd;
  uint32_t gpio_out;
  uint32_t gpio_in;
  uint64_t reads[CSC_SIM_REGIONS];
  uint64_t writes[CSC_SIM_REGIONS];
  uint64_t stall_clocks;
  csc_sim_transfer_t *trace;  // the host's; where the next transfer is recorded
  size_t trace_room;
  size_t trace_count;
  csc_sim_faults_t faults;
};

// soc_bus.c: the devices of a chip.
const csc_sim_device_t *csc_sim_soc_devices(csc_sim_chip_t chip);

// soc_bus.c: a transfer of the processor; `ctx` is the system.
csc_sim_rv32_answer_t csc_sim_soc_answer(void *ctx, csc_sim_transfer_t *transfer);

// soc_bus.c: bring the engine, or the whole CS2, to the beginning of `clock`.
void csc_sim_soc_advance(csc_sim_soc_t *soc, uint64_t clock);

#endif  // CSC_SIM_SOC_H
