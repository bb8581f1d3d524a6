// compactscale.h: what boards with a CompactScale chip share: bus, UART, marks, the CS1 engine.

#ifndef CSC_FIRMWARE_COMPACTSCALE_H
#define CSC_FIRMWARE_COMPACTSCALE_H

#include "board.h"

// The registers and memories of the chip, by plain loads and stores.
extern const csc_bus_t csc_compactscale_bus;

// Switches on the UART, finds the CS1 engine, and fills in all of *board but image and backend.
void csc_compactscale_start(csc_board_t *board, csc_cs1_t *engine, uint32_t uart_divisor);

#endif
