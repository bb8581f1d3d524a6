#include "cs1_lcd.h"

enum {
  BIT_CLOCKS = 10,      // the bit clock runs from reset on, whether or not a byte is being sent
  FIRST_BIT_CLOCK = 5,  // clock of its first edge
  BYTE_BITS = 8,
  START_CLOCKS = 2  // from the write to the first clock of shifting
};

uint64_t csc_sim_cs1_lcd_ready(const csc_sim_cs1_lcd_t *lcd, uint64_t clock) {
  const int is_busy = clock >= lcd->busy_from && clock < lcd->free_from;
  return is_busy ? lcd->free_from : clock;
}

uint32_t csc_sim_cs1_lcd_read(const csc_sim_cs1_lcd_t *lcd, uint32_t offset) {
  switch (offset % CSC_CS1_LCD_BYTES) {
    case CSC_CS1_LCD_STATUS: return CSC_CS1_LCD_STATUS_READY_MASK;
    case CSC_CS1_LCD_CONTROL: return lcd->control;
    default: return 0;
  }
}

static void send(csc_sim_cs1_lcd_t *lcd, uint64_t clock) {
  const uint64_t first = clock + START_CLOCKS;
  const uint64_t phase = (first + BIT_CLOCKS - FIRST_BIT_CLOCK) % BIT_CLOCKS;
  const uint64_t edge = phase == 0 ? first : first + BIT_CLOCKS - phase;
  lcd->busy_from = first;
  lcd->free_from = edge + (BYTE_BITS - 1) * BIT_CLOCKS + 1;
}

void csc_sim_cs1_lcd_write(csc_sim_cs1_lcd_t *lcd, uint64_t clock, uint32_t offset,
                           uint32_t value) {
  switch (offset % CSC_CS1_LCD_BYTES) {
    case CSC_CS1_LCD_COMMAND:
    case CSC_CS1_LCD_DATA: send(lcd, clock); break;
    case CSC_CS1_LCD_CONTROL: lcd->control = value; break;
    default: break;
  }
}
