// The DMA engine, the external bus and the processor's window of CS2.

#ifndef CSC_SIM_CS2_DMA_H
#define CSC_SIM_CS2_DMA_H

#include <stdint.h>

#include "cs2_memory.h"
#include "csc_sim.h"

enum {
  CSC_CS2_DMA_BUFFER = 256,  // bytes on their way from source to target; a power of two
  CSC_CS2_DMA_INDICES = 16   // of a line
};

typedef enum {
  CSC_CS2_BUS_FREE,
  CSC_CS2_BUS_CPU,
  CSC_CS2_BUS_FETCH,
  CSC_CS2_BUS_DMA
} csc_cs2_user_t;

// The external bus carries one burst at a time.
typedef struct {
  csc_cs2_user_t user;
  uint32_t latency;    // clocks before the next word
  uint32_t address;    // of the next byte, an offset in external memory
  uint32_t bytes;      // still to come
  uint32_t first;      // address of the first byte
  uint32_t is_write;   //
  uint32_t is_bad;     // the burst ends with an error
  uint32_t is_paused;  // no word in this clock
  uint32_t cpu_bytes;  // the processor asks for a burst; 0 = no
  uint32_t cpu_address;
  uint32_t cpu_is_write;
} csc_cs2_bus_t;

// The line buffer of the processor's window on external memory.
typedef struct {
  uint32_t is_valid;
  uint32_t line;
  uint8_t bytes[CSC_CS2_LINE];
} csc_cs2_window_t;

// Source or target of a copy, and how far it has come.
typedef struct {
  uint32_t is_sram;
  uint32_t element;    // bytes of an element in tiles, 0 = no tiles
  uint32_t base;       // offset in SRAM or in external memory
  uint32_t stride;     //
  uint32_t rows;       // of a side without gaps all rows are one
  uint32_t row_bytes;  //
  uint32_t row;        // next byte
  uint32_t offset;     //
} csc_cs2_side_t;

// What a line that was asked for is for.
typedef struct {
  uint32_t start;  // of the part that is needed
  uint32_t bytes;  // 0: the line holds indices
} csc_cs2_part_t;

typedef struct {
  csc_cs2_side_t source;
  csc_cs2_side_t target;
  csc_cs2_part_t parts[CSC_CS2_STREAM];  // of the stream of reads
  uint32_t asked;                        // bytes asked for in SRAM and not arrived
  uint32_t first;                        // place of the oldest byte of the buffer
  uint32_t held;                         // bytes in the buffer
  uint32_t is_gather;                    //
  uint32_t index_address;                //
  uint32_t index_limit;                  //
  uint32_t index_line;                   // line in `indices`
  uint32_t has_indices;                  //
  uint32_t index_is_asked;               //
  uint32_t indices[CSC_CS2_DMA_INDICES];
  uint32_t wanted;   // bytes of a burst that is asked for, 0 = none
  uint32_t address;  // of that burst
  uint32_t wants_write;
  uint8_t buffer[CSC_CS2_DMA_BUFFER];
} csc_cs2_dma_t;

#endif  // CSC_SIM_CS2_DMA_H
