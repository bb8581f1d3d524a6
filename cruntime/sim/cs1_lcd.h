// The CS1 display interface: the only device that makes the bus wait.

#ifndef CSC_SIM_CS1_LCD_H
#define CSC_SIM_CS1_LCD_H

#include <stdint.h>

#include "cs1_regs.h"

typedef struct csc_sim_cs1_lcd {
  uint32_t control;
  uint64_t busy_from;  // first clock in which the bus waits because of the last byte
  uint64_t free_from;  // first clock in which it no longer does
} csc_sim_cs1_lcd_t;

// A transfer that begins in `clock` completes in the returned clock.
uint64_t csc_sim_cs1_lcd_ready(const csc_sim_cs1_lcd_t *lcd, uint64_t clock);

// The transfer itself, in the clock in which it completes.
uint32_t csc_sim_cs1_lcd_read(const csc_sim_cs1_lcd_t *lcd, uint32_t offset);
void csc_sim_cs1_lcd_write(csc_sim_cs1_lcd_t *lcd, uint64_t clock, uint32_t offset, uint32_t value);

#endif  // CSC_SIM_CS1_LCD_H
