// frame.h: frames over a line of bytes (PROTOCOL.md, section 1).

#ifndef CSC_FIRMWARE_FRAME_H
#define CSC_FIRMWARE_FRAME_H

#include "board.h"

// A frame as it came or as it will go: head, body, room for the CRC.
typedef struct {
  csc_frame_head_t head;
  uint8_t body[CSC_FRAME_BODY_MAX + CSC_FRAME_CRC_BYTES];
} csc_frame_t;

// What came instead of a frame.
typedef struct {
  csc_frame_status_t status;  // CSC_FRAME_STATUS_OK: the frame is good
  uint32_t need;
  uint32_t have;
} csc_frame_fault_t;

// Waits for the next frame that is not empty. Decodes and checks it; *body_bytes is its body's
// size. `wire` is the memory it comes into. Returns 0 when there is no line any more.
int csc_frame_receive(const csc_board_t *board, uint8_t wire[CSC_FRAME_WIRE_MAX],
                      csc_frame_t *frame, uint32_t *body_bytes, csc_frame_fault_t *fault);

// Adds the CRC and sends.
void csc_frame_send(const csc_board_t *board, csc_frame_t *frame, uint32_t body_bytes);

#endif
