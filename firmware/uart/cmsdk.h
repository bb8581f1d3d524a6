// cmsdk.h: the UART of Arm's MPS boards; `ctx` is its address.

#ifndef CSC_UART_CMSDK_H
#define CSC_UART_CMSDK_H

#include <stdint.h>

void csc_cmsdk_start(uint32_t base, uint32_t divisor);
int csc_cmsdk_read(void *ctx);
void csc_cmsdk_write(void *ctx, uint8_t byte);

#endif
