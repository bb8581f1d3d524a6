// The CS1 system on chip, complete type. The functions stand in csc_sim.h.

#ifndef CSC_SIM_CS1_SOC_H
#define CSC_SIM_CS1_SOC_H

#include "cs1_engine.h"
#include "cs1_lcd.h"
#include "cs1_uart.h"
#include "rv32.h"

struct csc_sim_soc {
  csc_sim_rv32_t cpu;
  csc_sim_cs1_t engine;
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

#endif  // CSC_SIM_CS1_SOC_H
