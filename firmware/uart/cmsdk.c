#include "cmsdk.h"

enum { DATA = 0, STATE = 1, CONTROL = 2, BAUD_DIVISOR = 4 };  // words

#define STATE_SENDER_FULL 1u
#define STATE_RECEIVER_FULL 2u
#define CONTROL_ON 3u  // sender and receiver

void csc_cmsdk_start(uint32_t base, uint32_t divisor) {
  volatile uint32_t *uart = (volatile uint32_t *)(uintptr_t)base;
  uart[BAUD_DIVISOR] = divisor;
  uart[CONTROL] = CONTROL_ON;
}

int csc_cmsdk_read(void *ctx) {
  volatile uint32_t *uart = ctx;
  while (!(uart[STATE] & STATE_RECEIVER_FULL)) {
  }
  return (int)(uart[DATA] & 0xFFu);
}

void csc_cmsdk_write(void *ctx, uint8_t byte) {
  volatile uint32_t *uart = ctx;
  while (uart[STATE] & STATE_SENDER_FULL) {
  }
  uart[DATA] = byte;
}
