// restart.h: starting the firmware again, from a fault's handler too.

#ifndef CSC_CORTEXM_RESTART_H
#define CSC_CORTEXM_RESTART_H

// Does not return. The UART keeps what it has received.
void csc_cortexm_restart(void *ctx);

#endif
