// The CS1 UART model: registers, queues, transmitter and receiver, exact to the clock.
//
// The model is lazy: it is brought to a clock only when somebody looks at it.

#ifndef CSC_SIM_CS1_UART_H
#define CSC_SIM_CS1_UART_H

#include <stddef.h>
#include <stdint.h>

#include "cs1_regs.h"
#include "csc_sim.h"

enum {
  CSC_SIM_UART_QUEUE = 16,    // bytes each way
  CSC_SIM_UART_OUTPUT = 1024  // bytes kept for the host until it takes them
};

typedef struct csc_sim_cs1_queue {
  uint8_t bytes[CSC_SIM_UART_QUEUE];
  uint32_t first;  // place of the oldest byte
  uint32_t count;
} csc_sim_cs1_queue_t;

typedef struct csc_sim_cs1_transmitter {
  uint64_t clock;    // the state is that at the beginning of this clock
  uint32_t divider;  // counts up to the bit time minus 1, whether or not a byte is being sent
  uint32_t bits;     // bit times until the transmitter is idle; 0 = idle
  uint8_t byte;      // the byte being sent
  uint64_t sent;     // bytes shifted out since power-up
} csc_sim_cs1_transmitter_t;

typedef enum {
  CSC_SIM_RX_IDLE,   // waits for a low line
  CSC_SIM_RX_START,  // waits for half a bit time
  CSC_SIM_RX_DATA,
  CSC_SIM_RX_STOP
} csc_sim_cs1_rx_state_t;

typedef struct csc_sim_cs1_receiver {
  uint64_t clock;                // the state is that at the beginning of this clock
  csc_sim_cs1_rx_state_t state;  //
  uint32_t divider;              // runs from the falling edge of the start bit
  uint32_t bits;                 // data bits taken
  uint32_t shift;                //
  uint32_t late;                 // the line one clock ago (bit 0) and two clocks ago (bit 1)
} csc_sim_cs1_receiver_t;

// What stands at the other end of the receive pin.
typedef struct csc_sim_cs1_sender {
  const uint8_t *bytes;  // the host's, until all are sent
  size_t count;          // bytes still to be sent
  uint64_t bit_65536;    // clocks per bit times 65536; 0 = the UART's own bit time
  uint64_t start;        // clock in which the start bit of the current byte began
  uint64_t used_65536;   // bit time of the current byte
  uint32_t is_sending;   //
} csc_sim_cs1_sender_t;

typedef struct csc_sim_cs1_uart {
  uint32_t control;   // the registers
  uint32_t baud_div;  //
  csc_sim_cs1_queue_t tx;
  csc_sim_cs1_queue_t rx;
  csc_sim_cs1_transmitter_t out;
  csc_sim_cs1_receiver_t in;
  csc_sim_cs1_sender_t sender;
  const csc_sim_faults_t *faults;
  uint32_t output_count;  // bytes that left by the transmit pin and were not taken yet
  uint8_t output[CSC_SIM_UART_OUTPUT];
} csc_sim_cs1_uart_t;

// The state after reset, at the beginning of clock 0. *uart holds zeros before.
void csc_sim_cs1_uart_init(csc_sim_cs1_uart_t *uart, const csc_sim_faults_t *faults);

// Go to the beginning of `clock`; never back.
void csc_sim_cs1_uart_advance(csc_sim_cs1_uart_t *uart, uint64_t clock);

// The bus transfer of `clock`. `offset` counts from the base and is a multiple of 4.
uint32_t csc_sim_cs1_uart_read(csc_sim_cs1_uart_t *uart, uint64_t clock, uint32_t offset);
void csc_sim_cs1_uart_write(csc_sim_cs1_uart_t *uart, uint64_t clock, uint32_t offset,
                            uint32_t value);

// The interrupt outputs: bit 0 transmit, bit 1 receive.
uint32_t csc_sim_cs1_uart_irq(const csc_sim_cs1_uart_t *uart);

// Send `count` bytes to the receive pin from the current clock on, or after those being sent.
// The bytes stay the caller's, who keeps them until the sender's count is 0.
void csc_sim_cs1_uart_feed(csc_sim_cs1_uart_t *uart, const uint8_t *bytes, size_t count,
                           uint64_t bit_65536);

#endif  // CSC_SIM_CS1_UART_H
