// server.h: answers requests (PROTOCOL.md, section 2).

#ifndef CSC_FIRMWARE_SERVER_H
#define CSC_FIRMWARE_SERVER_H

#include "frame.h"

// The counters at the begin of the op that runs.
typedef struct {
  uint64_t clocks;
  uint64_t engine_clocks;
  uint64_t blocks;
  uint64_t reads;
  uint64_t writes;
} csc_counters_t;

typedef struct {
  csc_board_t board;
  csc_frame_state_t state;
  csc_frame_source_t source;

  csc_model_t model;               // READY and later
  uint8_t *work;                   // memory for an arena
  csc_frame_op_clocks_t *records;  // [op_count]
  uint8_t *arena;                  // STARTED and later: the one in use
  size_t arena_bytes;
  uint32_t length;
  uint32_t entry;
  uint32_t position;
  csc_counters_t before;

  uint8_t *room;  // RECEIVING: where the blob goes
  uint32_t expected;
  uint32_t received;

  uint8_t wire[CSC_FRAME_WIRE_MAX];
  csc_frame_t request;
  csc_frame_t answer;
} csc_server_t;

// Answers requests on the board's line; returns when there is no line any more. `server->board`
// must be filled and all else zero.
void csc_serve(csc_server_t *server);

// Says that the processor met a fault.
void csc_server_fault(csc_server_t *server);

#endif
