#include "server.h"

static csc_server_t server;

void csc_main(void) {
  csc_board_start(&server.board);
  csc_serve(&server);
}

void csc_fault(void) {
  if (server.board.write) csc_server_fault(&server);
  server.board.restart(server.board.ctx);
}
