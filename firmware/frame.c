#include "frame.h"

#include "csc_crc.h"
#include "csc_memory.h"

enum {
  EXTRA = CSC_FRAME_HEAD_BYTES + CSC_FRAME_CRC_BYTES,
  RUN_MAX = 255,  // COBS: length byte of a run of 254 bytes with no zero behind it
};

_Static_assert(sizeof(csc_frame_t) == CSC_FRAME_FRAME_MAX, "no gap between head and body");

// Collects bytes up to the zero byte, fast: a chip's queue is short. Returns their number, which
// is more than CSC_FRAME_WIRE_MAX when some were dropped, or a negative number without a line.
static int32_t collect(const csc_board_t *board, uint8_t *wire) {
  int32_t count = 0;
  for (;;) {
    int byte = board->read(board->ctx);
    if (byte <= 0) return byte < 0 ? -1 : count;
    if (count < CSC_FRAME_WIRE_MAX) wire[count] = (uint8_t)byte;
    if (count <= CSC_FRAME_WIRE_MAX) count += 1;
  }
}

// Decodes `count` bytes; returns the size of the frame, or a negative number if it is not COBS.
static int32_t decode(const uint8_t *wire, int32_t count, uint8_t *to) {
  int32_t made = 0;
  for (int32_t at = 0; at < count;) {
    int32_t run = wire[at];
    if (at + run > count) return -1;
    for (int32_t i = 1; i < run; i++) {
      if (made == CSC_FRAME_FRAME_MAX) return -1;
      to[made++] = wire[at + i];
    }
    at += run;
    if (run == RUN_MAX || at == count) continue;
    if (made == CSC_FRAME_FRAME_MAX) return -1;
    to[made++] = 0;
  }
  return made;
}

static uint32_t read_u32(const uint8_t *bytes) {
  return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static csc_frame_fault_t fault_of(csc_frame_status_t status, uint32_t need, uint32_t have) {
  csc_frame_fault_t fault = {status, need, have};
  return fault;
}

static csc_frame_fault_t check(const uint8_t *wire, int32_t count, csc_frame_t *frame,
                               uint32_t *body_bytes) {
  if (count > CSC_FRAME_WIRE_MAX) {
    return fault_of(CSC_FRAME_STATUS_TOO_LONG, CSC_FRAME_WIRE_MAX, 0);
  }
  uint8_t *bytes = (uint8_t *)frame;
  int32_t made = decode(wire, count, bytes);
  if (made < 0) return fault_of(CSC_FRAME_STATUS_COBS, 0, 0);
  if (made < EXTRA) return fault_of(CSC_FRAME_STATUS_TOO_SHORT, EXTRA, (uint32_t)made);
  uint32_t covered = (uint32_t)made - CSC_FRAME_CRC_BYTES;
  uint32_t computed = csc_crc32(0, bytes, covered);
  uint32_t received = read_u32(bytes + covered);
  if (computed != received) return fault_of(CSC_FRAME_STATUS_CRC, computed, received);
  *body_bytes = covered - CSC_FRAME_HEAD_BYTES;
  return fault_of(CSC_FRAME_STATUS_OK, 0, 0);
}

int csc_frame_receive(const csc_board_t *board, uint8_t wire[CSC_FRAME_WIRE_MAX],
                      csc_frame_t *frame, uint32_t *body_bytes, csc_frame_fault_t *fault) {
  int32_t count = 0;
  while (count == 0) count = collect(board, wire);
  if (count < 0) return 0;
  *fault = check(wire, count, frame, body_bytes);
  return 1;
}

// Sends bytes[0 .. count) as COBS.
static void encode(const csc_board_t *board, const uint8_t *bytes, uint32_t count) {
  uint32_t at = 0;
  int open = 1;  // a run, maybe an empty one, is still to be sent
  while (open) {
    uint32_t run = 0;
    while (at + run < count && run < RUN_MAX - 1 && bytes[at + run]) run += 1;
    board->write(board->ctx, (uint8_t)(run + 1));
    for (uint32_t i = 0; i < run; i++) board->write(board->ctx, bytes[at + i]);
    at += run;
    open = at < count;
    if (open && run < RUN_MAX - 1) at += 1;  // the zero byte the run stands for
  }
}

void csc_frame_send(const csc_board_t *board, csc_frame_t *frame, uint32_t body_bytes) {
  uint32_t covered = CSC_FRAME_HEAD_BYTES + body_bytes;
  uint32_t crc = csc_crc32(0, (const uint8_t *)frame, covered);
  uint8_t *end = frame->body + body_bytes;
  for (uint32_t i = 0; i < CSC_FRAME_CRC_BYTES; i++) end[i] = (uint8_t)(crc >> 8 * i);
  encode(board, (const uint8_t *)frame, covered + CSC_FRAME_CRC_BYTES);
  board->write(board->ctx, 0);
}
