#include "cs1_uart.h"

enum { BYTE_BITS = 10 };  // start, 8 data bits, stop

void csc_sim_cs1_uart_init(csc_sim_cs1_uart_t *uart, const csc_sim_faults_t *faults) {
  uart->faults = faults;
  uart->control = CSC_CS1_UART_CONTROL_RESET;
  uart->baud_div = CSC_CS1_UART_BAUD_DIV_RESET;
  uart->in.late = 3;  // the line is high
}

static int is_full(const csc_sim_cs1_queue_t *queue) { return queue->count == CSC_SIM_UART_QUEUE; }

static void put(csc_sim_cs1_queue_t *queue, uint8_t byte) {
  queue->bytes[(queue->first + queue->count++) % CSC_SIM_UART_QUEUE] = byte;
}

// What the queue shows: its oldest byte, or what is left of an old one if it is empty.
static uint8_t show(const csc_sim_cs1_queue_t *queue) { return queue->bytes[queue->first]; }

static void drop(csc_sim_cs1_queue_t *queue) {
  queue->first = (queue->first + 1) % CSC_SIM_UART_QUEUE;
  queue->count--;
}

// --- transmitter ---------------------------------------------------------------------------------

static void emit(csc_sim_cs1_uart_t *uart) {
  const csc_sim_faults_t *faults = uart->faults;
  const uint64_t number = ++uart->out.sent;
  if (number == faults->lose_byte_at || uart->output_count == CSC_SIM_UART_OUTPUT) return;
  const uint32_t change = number == faults->change_byte_at ? faults->change_byte : 0;
  uart->output[uart->output_count++] = (uint8_t)(uart->out.byte ^ change);
}

static int has_byte_to_send(const csc_sim_cs1_uart_t *uart) {
  return (uart->control & CSC_CS1_UART_CONTROL_TX_ENABLE_MASK) && uart->tx.count != 0;
}

// What the transmitter does when the divider ticks.
static void tick_transmitter(csc_sim_cs1_uart_t *uart) {
  csc_sim_cs1_transmitter_t *out = &uart->out;
  if (out->bits != 0) {
    if (--out->bits == 0) emit(uart);
    return;
  }
  if (!has_byte_to_send(uart)) return;
  out->byte = show(&uart->tx);
  drop(&uart->tx);
  out->bits = BYTE_BITS;
}

// From tick to tick; without work, over any number of ticks at once.
static void advance_transmitter(csc_sim_cs1_uart_t *uart, uint64_t clock) {
  csc_sim_cs1_transmitter_t *out = &uart->out;
  const uint32_t last = uart->baud_div - 1;  // 0 gives the longest bit time
  while (out->clock < clock) {
    const uint64_t distance = out->divider < last ? last - out->divider : 0;
    if (out->clock + distance >= clock) {
      out->divider += (uint32_t)(clock - out->clock);
      out->clock = clock;
      return;
    }
    out->clock += distance + 1;
    out->divider = 0;
    tick_transmitter(uart);
    if (out->bits != 0 || has_byte_to_send(uart)) continue;
    const uint64_t period = (uint64_t)last + 1;
    out->clock += (clock - out->clock) / period * period;
  }
}

// --- the line into the receiver ------------------------------------------------------------------

// The clock in which bit `bit` of the current byte begins, on the sender's clock rounded to ours.
static uint64_t edge(const csc_sim_cs1_sender_t *sender, uint64_t bit) {
  return sender->start + ((bit * sender->used_65536 + 0x8000) >> 16);
}

static void start_byte(csc_sim_cs1_uart_t *uart, uint64_t clock) {
  csc_sim_cs1_sender_t *sender = &uart->sender;
  sender->is_sending = 1;
  sender->start = clock;
  sender->used_65536 = sender->bit_65536 ? sender->bit_65536 : (uint64_t)uart->baud_div << 16;
}

// The level of the receive pin in `clock`, which follows the one asked for before.
static uint32_t line(csc_sim_cs1_uart_t *uart, uint64_t clock) {
  csc_sim_cs1_sender_t *sender = &uart->sender;
  if (sender->is_sending && clock >= edge(sender, BYTE_BITS)) {
    sender->is_sending = 0;
    sender->bytes++;
    sender->count--;
  }
  if (sender->count == 0) return 1;
  if (!sender->is_sending) start_byte(uart, clock);
  uint64_t bit = 0;
  while (bit + 1 < BYTE_BITS && clock >= edge(sender, bit + 1)) bit++;
  if (bit == 0) return 0;
  return bit + 1 == BYTE_BITS ? 1 : (uint32_t)(*sender->bytes >> (bit - 1)) & 1u;
}

// --- receiver ------------------------------------------------------------------------------------

static void take_bit(csc_sim_cs1_uart_t *uart, uint32_t level) {
  csc_sim_cs1_receiver_t *in = &uart->in;
  if (in->state == CSC_SIM_RX_DATA) {
    in->shift = in->shift >> 1 | level << 7;
    if (++in->bits == 8) in->state = CSC_SIM_RX_STOP;
  } else if (in->state == CSC_SIM_RX_STOP) {
    if (level && !is_full(&uart->rx)) put(&uart->rx, (uint8_t)in->shift);
    in->state = CSC_SIM_RX_IDLE;
  }
}

// One clock. The receiver sees the line through two flip-flops.
static void step_receiver(csc_sim_cs1_uart_t *uart) {
  csc_sim_cs1_receiver_t *in = &uart->in;
  const uint32_t level = in->late >> 1;
  const uint32_t last = uart->baud_div - 1;
  const int is_end = in->divider >= last;
  const int is_half = !is_end && in->divider == uart->baud_div >> 1;
  in->late = (in->late << 1 & 2) | line(uart, in->clock);
  in->clock++;
  in->divider = is_end ? 0 : in->divider + 1;
  if (in->state == CSC_SIM_RX_IDLE) {
    if (level || !(uart->control & CSC_CS1_UART_CONTROL_RX_ENABLE_MASK)) return;
    in->state = CSC_SIM_RX_START;
    in->divider = 0;
  } else if (in->state == CSC_SIM_RX_START) {
    if (!is_half) return;
    in->state = level ? CSC_SIM_RX_IDLE : CSC_SIM_RX_DATA;
    in->bits = 0;
    in->shift = 0;
  } else if (is_end) {
    take_bit(uart, level);
  }
}

// A quiet line changes nothing: the divider starts anew with each byte.
static void advance_receiver(csc_sim_cs1_uart_t *uart, uint64_t clock) {
  csc_sim_cs1_receiver_t *in = &uart->in;
  while (in->clock < clock) {
    if (in->state == CSC_SIM_RX_IDLE && uart->sender.count == 0 && in->late == 3) {
      in->clock = clock;
    } else {
      step_receiver(uart);
    }
  }
}

// --- registers -----------------------------------------------------------------------------------

void csc_sim_cs1_uart_advance(csc_sim_cs1_uart_t *uart, uint64_t clock) {
  advance_transmitter(uart, clock);
  advance_receiver(uart, clock);
}

static uint32_t status(const csc_sim_cs1_uart_t *uart) {
  return (uart->out.bits ? CSC_CS1_UART_STATUS_TX_BUSY_MASK : 0) |
         (uart->rx.count ? CSC_CS1_UART_STATUS_RX_READY_MASK : CSC_CS1_UART_STATUS_RX_EMPTY_MASK) |
         (is_full(&uart->tx) ? CSC_CS1_UART_STATUS_TX_FULL_MASK : 0);
}

// The machines of a clock see the state from before its transfer, and a transfer sees the queues
// from before the machines: so a queue that is full at the beginning of a clock takes nothing in
// it.
uint32_t csc_sim_cs1_uart_read(csc_sim_cs1_uart_t *uart, uint64_t clock, uint32_t offset) {
  csc_sim_cs1_uart_advance(uart, clock);
  switch (offset % CSC_CS1_UART_BYTES) {
    case CSC_CS1_UART_DATA: break;
    case CSC_CS1_UART_STATUS: return status(uart);
    case CSC_CS1_UART_CONTROL: return uart->control;
    case CSC_CS1_UART_BAUD_DIV: return uart->baud_div;
    default: return 0;
  }
  const uint8_t byte = show(&uart->rx);
  const int has_byte = uart->rx.count != 0;
  csc_sim_cs1_uart_advance(uart, clock + 1);
  if (has_byte) drop(&uart->rx);
  return byte;
}

void csc_sim_cs1_uart_write(csc_sim_cs1_uart_t *uart, uint64_t clock, uint32_t offset,
                            uint32_t value) {
  csc_sim_cs1_uart_advance(uart, clock);
  const int has_room = !is_full(&uart->tx);
  csc_sim_cs1_uart_advance(uart, clock + 1);
  switch (offset % CSC_CS1_UART_BYTES) {
    case CSC_CS1_UART_DATA:
      if (has_room) put(&uart->tx, (uint8_t)value);
      break;
    case CSC_CS1_UART_CONTROL: uart->control = value; break;
    case CSC_CS1_UART_BAUD_DIV: uart->baud_div = value; break;
    default: break;
  }
}

uint32_t csc_sim_cs1_uart_irq(const csc_sim_cs1_uart_t *uart) {
  const int transmit = (uart->control & CSC_CS1_UART_CONTROL_TX_IRQ_MASK) && !is_full(&uart->tx);
  const int receive = (uart->control & CSC_CS1_UART_CONTROL_RX_IRQ_MASK) && uart->rx.count != 0;
  return (transmit ? 1u : 0u) | (receive ? 2u : 0u);
}

void csc_sim_cs1_uart_feed(csc_sim_cs1_uart_t *uart, const uint8_t *bytes, size_t count,
                           uint64_t bit_65536) {
  uart->sender.bytes = bytes;
  uart->sender.count = count;
  uart->sender.bit_65536 = bit_65536;
}
