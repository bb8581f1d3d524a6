// What a descriptor must fulfil before anything of it starts: tables of commands, limits, operands.

#include "cs2_check.h"

#include "cs2_chip.h"

enum { WORDS = CSC_CS2_COMMAND_WORDS, TILE = 8, ALWAYS = 0, NEVER = 0 };

// A field as its macro gives it; no bits: there is none.
typedef struct {
  uint8_t word;
  uint8_t low;
  uint8_t bits;
  uint8_t is_signed;
} place_t;

static int64_t value_at(const uint32_t *words, place_t place) {
  if (place.is_signed) {
    return csc_cs2_signed_field(words, place.word, place.low, place.bits, place.is_signed);
  }
  return csc_cs2_field(words, place.word, place.low, place.bits, place.is_signed);
}

// --- commands ------------------------------------------------------------------------------------

typedef struct {
  uint8_t code;
  uint8_t engine;
  uint8_t has_batches;
  uint16_t flags;  // all that exist
  place_t rows;
  place_t row_first;
  place_t columns;
  place_t depth;
  uint32_t used[WORDS];
} command_t;

#define COMMAND(name, on, batches, all_flags)                                           \
  .code = CSC_CS2_CODE_##name, .engine = CSC_CS2_ENGINE_##on, .has_batches = (batches), \
  .flags = (all_flags), .used = CSC_CS2_##name##_USED
#define ROWS(name) .rows = {CSC_CS2_##name##_ROWS}
#define ROW_FIRST(name) .row_first = {CSC_CS2_##name##_ROW_FIRST}
#define COLUMNS(name) .columns = {CSC_CS2_##name##_COLUMNS}

static const command_t commands[] = {
    {COMMAND(FENCE, CONTROL, 0, 0)},
    {COMMAND(NOP, CONTROL, 0, 0)},
    {COMMAND(COPY, DMA, 0, 0xF), ROWS(COPY), ROW_FIRST(COPY)},
    {COMMAND(GEMM, BLOCK, 1, 0x1FF), ROWS(GEMM), ROW_FIRST(GEMM), COLUMNS(GEMM),
     .depth = {CSC_CS2_GEMM_DEPTH}},
    {COMMAND(BLOCK_TABLE, BLOCK, 0, 1)},
    {COMMAND(GEOMETRY, BLOCK, 0, 0)},
    {COMMAND(NORM, VECTOR, 0, 7), ROWS(NORM), ROW_FIRST(NORM), COLUMNS(NORM)},
    {COMMAND(ADD, VECTOR, 0, 0), ROWS(ADD), ROW_FIRST(ADD), COLUMNS(ADD)},
    {COMMAND(MUL, VECTOR, 0, 7), ROWS(MUL), ROW_FIRST(MUL), COLUMNS(MUL)},
    {COMMAND(SOFTMAX, VECTOR, 1, 3), ROWS(SOFTMAX), ROW_FIRST(SOFTMAX), COLUMNS(SOFTMAX)},
    {COMMAND(LOOKUP, VECTOR, 0, 5), ROWS(LOOKUP), ROW_FIRST(LOOKUP), COLUMNS(LOOKUP)},
    {COMMAND(POOL, VECTOR, 0, 0xF), ROWS(POOL), COLUMNS(POOL)},
    {COMMAND(EMBED, VECTOR, 0, 1), ROWS(EMBED), ROW_FIRST(EMBED), COLUMNS(EMBED)},
    {COMMAND(VECTOR_TABLE, VECTOR, 0, 1)},
    {COMMAND(TRANSPOSE, VECTOR, 0, 0), ROWS(TRANSPOSE), ROW_FIRST(TRANSPOSE), COLUMNS(TRANSPOSE)},
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static const command_t *find_command(uint32_t code) {
  for (uint32_t n = 0; n < COMMANDS; n++) {
    if (commands[n].code == code) return &commands[n];
  }
  return NULL;
}

static uint32_t code_of(const uint32_t *words) { return csc_cs2_field(words, CSC_CS2_HEADER_CODE); }

// Every command with flags has them in the same bits; GEMM's are followed by its zero point.
static uint32_t flags_of(const command_t *command, const uint32_t *words) {
  if (command->flags == 0) return 0;
  return words[3] & (command->code == CSC_CS2_CODE_GEMM ? 0xFFFu : 0xFFFFu);
}

csc_cs2_engine_t csc_cs2_engine_of(uint32_t code) {
  const command_t *command = find_command(code);
  return command ? (csc_cs2_engine_t)command->engine : CSC_CS2_ENGINE_CONTROL;
}

// --- shapes --------------------------------------------------------------------------------------

// min(value, P - first), or the value itself where no parameter is named.
static uint32_t bounded(uint32_t value, uint32_t number, uint32_t first, const uint32_t *param) {
  if (number == 0) return value;
  const uint32_t bound = param[number - 1] > first ? param[number - 1] - first : 0;
  return value < bound ? value : bound;
}

static uint32_t shape_at(const uint32_t *words, place_t place) {
  return place.bits ? (uint32_t)value_at(words, place) : 1;
}

csc_cs2_shape_t csc_cs2_shape_of(const uint32_t *words, const uint32_t *param) {
  const command_t *command = find_command(code_of(words));
  const uint32_t rows = csc_cs2_field(words, CSC_CS2_HEADER_ROWS_PARAM);
  const uint32_t columns = csc_cs2_field(words, CSC_CS2_HEADER_COLUMNS_PARAM);
  const uint32_t depth = csc_cs2_field(words, CSC_CS2_HEADER_DEPTH_PARAM);
  const uint32_t first = command->row_first.bits ? shape_at(words, command->row_first) : 0;
  csc_cs2_shape_t shape = {
      bounded(shape_at(words, command->rows), rows, first, param),
      bounded(shape_at(words, command->columns), columns, 0, param),
      bounded(shape_at(words, command->depth), depth, 0, param),
  };
  return shape;
}

// --- limits of single fields ---------------------------------------------------------------------

typedef struct {
  uint8_t code;
  uint8_t cause;
  uint16_t needs;   // holds only with one of these flags, if any are named
  uint16_t unless;  // and with none of these
  place_t place;
  int32_t low;
  int32_t high;
} limit_t;

#define LIMIT(name, field, kind, with, without, least, most) \
  {CSC_CS2_CODE_##name,                                      \
   CSC_CS2_CAUSE_##kind,                                     \
   with,                                                     \
   without,                                                  \
   {CSC_CS2_##name##_##field},                               \
   least,                                                    \
   most}
#define SHAPE(name, field, most) LIMIT(name, field, SHAPE, ALWAYS, NEVER, 1, most)
#define VALUE(name, field, least, most) LIMIT(name, field, VALUE, ALWAYS, NEVER, least, most)
#define ZERO(name, field) VALUE(name, field, -32768, 32768)

enum {
  MOST = 65535,
  WINDOW = CSC_CS2_GEMM_FLAG_CONV | CSC_CS2_GEMM_FLAG_DEPTHWISE,
  WIDE = CSC_CS2_GEMM_FLAG_A_WIDE,
  CONTEXT = CSC_CS2_GEMM_FLAG_CONTEXT,
  NO_REQUANT = CSC_CS2_GEMM_FLAG_OUT_INT32,
  TABLE = CSC_CS2_GEMM_FLAG_TABLE,
  IS_INT16 = CSC_CS2_GEMM_FLAG_OUT_INT16,
};

static const limit_t limits[] = {
    SHAPE(COPY, ROWS, MOST),
    SHAPE(COPY, ROW_BYTES, INT32_MAX),
    LIMIT(COPY, INDEX_LIMIT, SHAPE, CSC_CS2_DMA_FLAG_GATHER, NEVER, 1, INT32_MAX),
    LIMIT(GEMM, ROWS, SHAPE, ALWAYS, WINDOW, 1, MOST),
    LIMIT(GEMM, ROWS, SHAPE, WINDOW, NEVER, 0, 0),
    SHAPE(GEMM, COLUMNS, MOST),
    SHAPE(GEMM, DEPTH, MOST),
    LIMIT(GEMM, DEPTH, BOUND, ALWAYS, NEVER, 0, CSC_CS2_MAX_DEPTH_S8),
    LIMIT(GEMM, DEPTH, BOUND, WIDE, NEVER, 0, CSC_CS2_MAX_DEPTH_WIDE),
    LIMIT(GEMM, DEPTH, BOUND, CONTEXT, NEVER, 0, CSC_CS2_MAX_KEYS),
    LIMIT(GEMM, CLAMP_LOW, VALUE, ALWAYS, NO_REQUANT | IS_INT16 | TABLE, -128, 127),
    LIMIT(GEMM, CLAMP_HIGH, VALUE, ALWAYS, NO_REQUANT | IS_INT16 | TABLE, -128, 127),
    LIMIT(GEMM, CLAMP_LOW, VALUE, TABLE, NEVER, 0, CSC_CS2_TABLE_ENTRIES - 1),
    LIMIT(GEMM, CLAMP_HIGH, VALUE, TABLE, NEVER, 0, CSC_CS2_TABLE_ENTRIES - 1),
    SHAPE(GEOMETRY, IN_WIDTH, MOST),
    SHAPE(GEOMETRY, IN_HEIGHT, MOST),
    SHAPE(GEOMETRY, OUT_WIDTH, MOST),
    SHAPE(GEOMETRY, OUT_HEIGHT, MOST),
    VALUE(GEOMETRY, KERNEL_WIDTH, 1, 15),
    VALUE(GEOMETRY, KERNEL_HEIGHT, 1, 15),
    VALUE(GEOMETRY, STRIDE_X, 1, 2),
    VALUE(GEOMETRY, STRIDE_Y, 1, 2),
    SHAPE(NORM, ROWS, MOST),
    SHAPE(NORM, COLUMNS, CSC_CS2_MAX_NORM),
    VALUE(NORM, SHIFT_A, 1, 29),
    LIMIT(NORM, SHIFT_B, VALUE, CSC_CS2_NORM_FLAG_HAS_B, NEVER, 1, 29),
    ZERO(NORM, ZERO_A),
    LIMIT(NORM, ZERO_B, VALUE, CSC_CS2_NORM_FLAG_HAS_B, NEVER, -32768, 32768),
    SHAPE(ADD, ROWS, MOST),
    SHAPE(ADD, COLUMNS, MOST),
    VALUE(ADD, MULTIPLIER_X, 0, 16384),
    VALUE(ADD, MULTIPLIER_Y, 0, 16384),
    VALUE(ADD, SHIFT, 1, 29),
    SHAPE(MUL, ROWS, MOST),
    SHAPE(MUL, COLUMNS, MOST),
    VALUE(MUL, MULTIPLIER, 0, 32767),
    VALUE(MUL, SHIFT, 1, 46),
    ZERO(MUL, ZERO_X),
    ZERO(MUL, ZERO_Y),
    ZERO(MUL, ZERO_POINT),
    SHAPE(SOFTMAX, ROWS, MOST),
    SHAPE(SOFTMAX, COLUMNS, CSC_CS2_MAX_KEYS),
    SHAPE(LOOKUP, ROWS, MOST),
    SHAPE(LOOKUP, COLUMNS, MOST),
    VALUE(LOOKUP, MULTIPLIER, 0, 32767),
    VALUE(LOOKUP, SHIFT, 1, 46),
    ZERO(LOOKUP, ZERO_POINT),
    SHAPE(POOL, ROWS, MOST),
    SHAPE(POOL, COLUMNS, MOST),
    VALUE(POOL, MULTIPLIER, 0, 32767),
    VALUE(POOL, SHIFT, 1, 46),
    ZERO(POOL, ZERO_X),
    ZERO(POOL, ZERO_POINT),
    VALUE(EMBED, SHIFT, 1, 31),
    SHAPE(EMBED, ROWS, MOST),
    LIMIT(EMBED, INDEX_LIMIT, SHAPE, CSC_CS2_EMBED_FLAG_TYPES, NEVER, 1, MOST),
    SHAPE(EMBED, COLUMNS, MOST),
    SHAPE(TRANSPOSE, ROWS, MOST),
    SHAPE(TRANSPOSE, COLUMNS, MOST),
};

enum { LIMITS = sizeof limits / sizeof limits[0] };

// --- operands in SRAM ----------------------------------------------------------------------------

// Numbers that sizes of operands are made of.
typedef enum {
  ONE,
  ROW_COUNT,
  COLUMN_COUNT,
  BATCHES,
  ROW_TILES,
  COLUMN_TILES,
  DEPTH_TILES,
  A_ROWS,   // rows of tiles of A: those of the image with a window
  C_ROWS,   // of C
  B_LINES,  // blocks of B for 8 columns
  ENTRIES,  // of a table, in bytes
  TYPES,    // rows of the table of types, times blocks of 32 columns
  NUMBERS
} number_t;

// rows * columns units of `bytes`, with the distances that fields give in lines; a unit is twice or
// four times as large with a flag.
typedef struct {
  uint8_t code;
  uint8_t word;  // of the address
  uint16_t needs;
  uint16_t unless;
  uint8_t align;
  uint16_t bytes;
  uint16_t twice;
  uint16_t four_times;
  uint8_t rows;
  uint8_t columns;
  place_t row;     // distance of rows; none: they follow each other
  place_t column;  // distance of units
  place_t batch;   // distance of batches
} operand_t;

#define LIST(name, at, with, without, boundary, size, count) \
  {CSC_CS2_CODE_##name, at, with, without, boundary, size, 0, 0, ONE, count, {0}, {0}, {0}}
#define TILES(name, at, with, size, wide, high, across, distance)                    \
  {CSC_CS2_CODE_##name,           at,  with, NEVER, 64, size, wide, 0, high, across, \
   {CSC_CS2_##name##_##distance}, {0}, {0}}

static const operand_t operands[] = {
    {CSC_CS2_CODE_GEMM,
     5,
     ALWAYS,
     NEVER,
     64,
     64,
     WIDE,
     0,
     A_ROWS,
     DEPTH_TILES,
     {CSC_CS2_GEMM_A_ROW},
     {0},
     {CSC_CS2_GEMM_A_BATCH}},
    {CSC_CS2_CODE_GEMM,
     6,
     ALWAYS,
     CSC_CS2_GEMM_FLAG_DEPTHWISE,
     64,
     64,
     0,
     0,
     COLUMN_TILES,
     B_LINES,
     {CSC_CS2_GEMM_B_COLUMN},
     {CSC_CS2_GEMM_B_DEPTH},
     {CSC_CS2_GEMM_B_BATCH}},
    TILES(GEMM, 6, CSC_CS2_GEMM_FLAG_DEPTHWISE, 64, 0, COLUMN_TILES, B_LINES, B_COLUMN),
    {CSC_CS2_CODE_GEMM,
     7,
     ALWAYS,
     NEVER,
     64,
     64,
     IS_INT16,
     NO_REQUANT,
     C_ROWS,
     COLUMN_TILES,
     {CSC_CS2_GEMM_C_ROW},
     {0},
     {CSC_CS2_GEMM_C_BATCH}},
    LIST(GEMM, 8, ALWAYS, NO_REQUANT | CONTEXT, 64, 64, COLUMN_TILES),
    LIST(GEMM, 8, CONTEXT, NEVER, 8, 8, BATCHES),
    {CSC_CS2_CODE_GEMM,
     15,
     CONTEXT,
     NEVER,
     64,
     64,
     0,
     0,
     ONE,
     ROW_TILES,
     {0},
     {0},
     {CSC_CS2_GEMM_RECIP_BATCH}},
    LIST(BLOCK_TABLE, 5, ALWAYS, NEVER, 64, 1, ENTRIES),
    TILES(NORM, 5, ALWAYS, 128, 0, ROW_TILES, COLUMN_TILES, X_ROW),
    LIST(NORM, 6, ALWAYS, NEVER, 64, 64, COLUMN_TILES),
    TILES(NORM, 7, ALWAYS, 64, CSC_CS2_NORM_FLAG_A_INT16, ROW_TILES, COLUMN_TILES, OUT_A_ROW),
    LIST(NORM, 8, CSC_CS2_NORM_FLAG_HAS_B, NEVER, 64, 64, COLUMN_TILES),
    TILES(NORM, 9, CSC_CS2_NORM_FLAG_HAS_B, 64, CSC_CS2_NORM_FLAG_B_INT16, ROW_TILES, COLUMN_TILES,
          OUT_B_ROW),
    TILES(ADD, 5, ALWAYS, 128, 0, ROW_TILES, COLUMN_TILES, X_ROW),
    TILES(ADD, 6, ALWAYS, 128, 0, ROW_TILES, COLUMN_TILES, Y_ROW),
    TILES(ADD, 7, ALWAYS, 128, 0, ROW_TILES, COLUMN_TILES, OUT_ROW),
    TILES(MUL, 5, ALWAYS, 64, CSC_CS2_ELEMENT_FLAG_X_INT16, ROW_TILES, COLUMN_TILES, X_ROW),
    TILES(MUL, 6, ALWAYS, 64, CSC_CS2_ELEMENT_FLAG_Y_INT16, ROW_TILES, COLUMN_TILES, Y_ROW),
    TILES(MUL, 7, ALWAYS, 64, CSC_CS2_ELEMENT_FLAG_OUT_INT16, ROW_TILES, COLUMN_TILES, OUT_ROW),
    {CSC_CS2_CODE_SOFTMAX,
     5,
     ALWAYS,
     NEVER,
     64,
     256,
     0,
     0,
     ROW_TILES,
     COLUMN_TILES,
     {CSC_CS2_SOFTMAX_X_ROW},
     {0},
     {CSC_CS2_SOFTMAX_X_BATCH}},
    LIST(SOFTMAX, 6, CSC_CS2_SOFTMAX_FLAG_MASK, NEVER, 64, 1, COLUMN_COUNT),
    {CSC_CS2_CODE_SOFTMAX,
     7,
     ALWAYS,
     NEVER,
     64,
     64,
     0,
     0,
     ROW_TILES,
     COLUMN_TILES,
     {CSC_CS2_SOFTMAX_OUT_ROW},
     {0},
     {CSC_CS2_SOFTMAX_OUT_BATCH}},
    {CSC_CS2_CODE_SOFTMAX,
     8,
     ALWAYS,
     NEVER,
     64,
     64,
     0,
     0,
     ONE,
     ROW_TILES,
     {0},
     {0},
     {CSC_CS2_SOFTMAX_RECIP_BATCH}},
    LIST(SOFTMAX, 9, ALWAYS, NEVER, 8, 8, BATCHES),
    TILES(LOOKUP, 5, ALWAYS, 64, CSC_CS2_ELEMENT_FLAG_X_INT16, ROW_TILES, COLUMN_TILES, X_ROW),
    TILES(LOOKUP, 7, ALWAYS, 64, CSC_CS2_ELEMENT_FLAG_OUT_INT16, ROW_TILES, COLUMN_TILES, OUT_ROW),
    TILES(POOL, 5, ALWAYS, 64, CSC_CS2_POOL_FLAG_X_INT16, ROW_TILES, COLUMN_TILES, X_ROW),
    LIST(POOL, 6, CSC_CS2_POOL_FLAG_MASK, NEVER, 64, 1, ROW_COUNT),
    {CSC_CS2_CODE_POOL,
     7,
     ALWAYS,
     NEVER,
     64,
     64,
     CSC_CS2_POOL_FLAG_OUT_INT16,
     0,
     ONE,
     COLUMN_TILES,
     {0},
     {0},
     {0}},
    TILES(EMBED, 5, ALWAYS, 64, 0, ROW_TILES, COLUMN_TILES, X_ROW),
    LIST(EMBED, 6, ALWAYS, NEVER, 64, 2, ROW_COUNT),
    TILES(EMBED, 7, ALWAYS, 128, 0, ROW_TILES, COLUMN_TILES, Y_ROW),
    LIST(EMBED, 8, CSC_CS2_EMBED_FLAG_TYPES, NEVER, 64, 64, TYPES),
    LIST(EMBED, 9, CSC_CS2_EMBED_FLAG_TYPES, NEVER, 64, 4, ROW_COUNT),
    TILES(EMBED, 11, ALWAYS, 128, 0, ROW_TILES, COLUMN_TILES, OUT_ROW),
    LIST(VECTOR_TABLE, 5, ALWAYS, NEVER, 64, 1, ENTRIES),
    TILES(TRANSPOSE, 5, ALWAYS, 64, 0, ROW_TILES, COLUMN_TILES, X_ROW),
    TILES(TRANSPOSE, 7, ALWAYS, 64, 0, COLUMN_TILES, ROW_TILES, OUT_ROW),
};

enum { OPERANDS = sizeof operands / sizeof operands[0] };

static uint64_t up(uint64_t count, uint64_t unit) { return (count + unit - 1) / unit; }

static void set_gemm_numbers(const csc_cs2_checked_t *checked, uint32_t flags, uint64_t *numbers) {
  numbers[A_ROWS] = numbers[ROW_TILES];
  numbers[C_ROWS] = numbers[ROW_TILES];
  numbers[B_LINES] = numbers[DEPTH_TILES];
  if ((flags & WINDOW) == 0) return;
  numbers[A_ROWS] = checked->in_rows;
  numbers[C_ROWS] = checked->out_rows;
  numbers[B_LINES] = flags & CSC_CS2_GEMM_FLAG_CONV ? numbers[DEPTH_TILES] * checked->taps
                                                    : up(checked->taps, TILE);
}

static void set_numbers(const csc_cs2_checked_t *checked, const command_t *command,
                        const uint32_t *words, uint64_t *numbers) {
  const uint32_t flags = flags_of(command, words);
  numbers[ONE] = 1;
  numbers[ROW_COUNT] = shape_at(words, command->rows);
  numbers[COLUMN_COUNT] = shape_at(words, command->columns);
  numbers[BATCHES] = csc_cs2_field(words, CSC_CS2_HEADER_BATCH);
  numbers[ROW_TILES] = up(numbers[ROW_COUNT], TILE);
  numbers[COLUMN_TILES] = up(numbers[COLUMN_COUNT], TILE);
  numbers[DEPTH_TILES] = up(shape_at(words, command->depth), TILE);
  numbers[ENTRIES] = (uint64_t)CSC_CS2_TABLE_ENTRIES << (flags & 1);
  numbers[TYPES] = up(numbers[COLUMN_COUNT], 32) * csc_cs2_field(words, CSC_CS2_EMBED_INDEX_LIMIT);
  set_gemm_numbers(checked, flags, numbers);
}

static uint64_t distance(const uint32_t *words, place_t place, uint64_t otherwise) {
  return place.bits ? (uint64_t)value_at(words, place) * CSC_CS2_LINE : otherwise;
}

// Bytes from the first to the last one of an operand.
static uint64_t reach(const operand_t *operand, const uint32_t *words, uint32_t flags,
                      const uint64_t *numbers) {
  uint64_t unit = operand->bytes;
  if (flags & operand->twice) unit *= 2;
  if (flags & operand->four_times) unit *= 4;
  const uint64_t columns = numbers[operand->columns];
  const uint64_t row = distance(words, operand->row, 0);
  const uint64_t column = distance(words, operand->column, unit);
  const uint64_t batch = distance(words, operand->batch, 0);
  return (numbers[BATCHES] - 1) * batch + (numbers[operand->rows] - 1) * row +
         (columns - 1) * column + unit;
}

static int applies(uint32_t flags, uint32_t needs, uint32_t unless) {
  return (needs == ALWAYS || (flags & needs) != 0) && (flags & unless) == 0;
}

static csc_cs2_cause_t check_operand(const operand_t *operand, const csc_cs2_spaces_t *spaces,
                                     const uint32_t *words, uint32_t flags,
                                     const uint64_t *numbers) {
  const uint32_t address = words[operand->word];
  if (address % operand->align != 0) return CSC_CS2_CAUSE_ALIGNMENT;
  const uint64_t end = address + reach(operand, words, flags, numbers);
  return end > spaces->bytes[CSC_CS2_SPACE_SRAM] ? CSC_CS2_CAUSE_RANGE : CSC_CS2_CAUSE_NONE;
}

static csc_cs2_cause_t check_operands(const csc_cs2_checked_t *checked,
                                      const csc_cs2_spaces_t *spaces, const command_t *command,
                                      const uint32_t *words, uint32_t *info) {
  const uint32_t flags = flags_of(command, words);
  uint64_t numbers[NUMBERS] = {0};
  set_numbers(checked, command, words, numbers);
  for (uint32_t n = 0; n < OPERANDS; n++) {
    const operand_t *operand = &operands[n];
    if (operand->code != command->code) continue;
    if (!applies(flags, operand->needs, operand->unless)) continue;
    *info = operand->word;
    const csc_cs2_cause_t cause = check_operand(operand, spaces, words, flags, numbers);
    if (cause != CSC_CS2_CAUSE_NONE) return cause;
  }
  return CSC_CS2_CAUSE_NONE;
}

static csc_cs2_cause_t check_limits(const command_t *command, const uint32_t *words,
                                    uint32_t *info) {
  const uint32_t flags = flags_of(command, words);
  for (uint32_t n = 0; n < LIMITS; n++) {
    const limit_t *limit = &limits[n];
    if (limit->code != command->code) continue;
    if (!applies(flags, limit->needs, limit->unless)) continue;
    const int64_t value = value_at(words, limit->place);
    *info = limit->place.word;
    if (value < limit->low || value > limit->high) return (csc_cs2_cause_t)limit->cause;
  }
  return CSC_CS2_CAUSE_NONE;
}

// --- what the tables do not say ------------------------------------------------------------------

static csc_cs2_cause_t fault_if(int is_bad, csc_cs2_cause_t cause, uint32_t word, uint32_t *info) {
  if (!is_bad) return CSC_CS2_CAUSE_NONE;
  *info = word;
  return cause;
}

// A shape may only be bounded where there is one, and by a register that exists.
static int is_bad_param(const uint32_t *words, place_t param, place_t shape) {
  const int64_t number = value_at(words, param);
  return number > CSC_CS2_PARAMS || (number != 0 && shape.bits == 0);
}

static csc_cs2_cause_t check_header(const command_t *command, const uint32_t *words,
                                    uint32_t *info) {
  const uint32_t batch = csc_cs2_field(words, CSC_CS2_HEADER_BATCH);
  const uint32_t moved = csc_cs2_field(words, CSC_CS2_HEADER_SOURCE_PARAM) |
                         csc_cs2_field(words, CSC_CS2_HEADER_TARGET_PARAM);
  const place_t rows = {CSC_CS2_HEADER_ROWS_PARAM};
  const place_t columns = {CSC_CS2_HEADER_COLUMNS_PARAM};
  const place_t depth = {CSC_CS2_HEADER_DEPTH_PARAM};
  *info = 0;
  if (batch == 0 || (batch != 1 && !command->has_batches)) return CSC_CS2_CAUSE_SHAPE;
  *info = 2;
  if (is_bad_param(words, rows, command->rows)) return CSC_CS2_CAUSE_VALUE;
  if (is_bad_param(words, columns, command->columns)) return CSC_CS2_CAUSE_VALUE;
  if (is_bad_param(words, depth, command->depth)) return CSC_CS2_CAUSE_VALUE;
  if (moved != 0 && command->code != CSC_CS2_CODE_COPY) return CSC_CS2_CAUSE_VALUE;
  *info = 3;
  return flags_of(command, words) & ~(uint32_t)command->flags ? CSC_CS2_CAUSE_VALUE
                                                              : CSC_CS2_CAUSE_NONE;
}

static int has_all(uint32_t flags, uint32_t some) { return (flags & some) == some; }

// Flags of GEMM that exclude each other.
static int is_bad_gemm(uint32_t flags) {
  const uint32_t simple = CSC_CS2_GEMM_FLAG_A_UNSIGNED | CSC_CS2_GEMM_FLAG_B_TRANSPOSED | WIDE;
  if (has_all(flags, WIDE | CSC_CS2_GEMM_FLAG_A_UNSIGNED)) return 1;
  if (has_all(flags, IS_INT16 | NO_REQUANT) || has_all(flags, TABLE | NO_REQUANT)) return 1;
  if ((flags & CONTEXT) != 0 && (flags & (NO_REQUANT | TABLE | WINDOW)) != 0) return 1;
  if (has_all(flags, WINDOW)) return 1;
  return (flags & CSC_CS2_GEMM_FLAG_DEPTHWISE) != 0 && (flags & simple) != 0;
}

// The table of an engine must have been loaded, with entries of the type of the result.
static int is_bad_table(uint32_t loaded, uint32_t is_int16) { return loaded != 1 + is_int16; }

// With a window the sum runs over its taps too.
static csc_cs2_cause_t check_window(const csc_cs2_checked_t *checked, const uint32_t *words,
                                    uint32_t flags, uint32_t *info) {
  const uint32_t header = csc_cs2_field(words, CSC_CS2_HEADER_ROWS_PARAM) |
                          csc_cs2_field(words, CSC_CS2_HEADER_COLUMNS_PARAM) |
                          csc_cs2_field(words, CSC_CS2_HEADER_DEPTH_PARAM);
  const uint32_t depth = csc_cs2_field(words, CSC_CS2_GEMM_DEPTH);
  const uint32_t sum = (uint32_t)up(depth, TILE) * TILE * checked->taps;
  const uint32_t most = flags & WIDE ? CSC_CS2_MAX_DEPTH_WIDE : CSC_CS2_MAX_DEPTH_S8;
  *info = 0;
  if (csc_cs2_field(words, CSC_CS2_HEADER_BATCH) != 1) return CSC_CS2_CAUSE_SHAPE;
  *info = 2;
  if (header != 0) return CSC_CS2_CAUSE_VALUE;
  *info = 3;
  if (checked->in_rows == 0) return CSC_CS2_CAUSE_VALUE;
  if (flags & CSC_CS2_GEMM_FLAG_DEPTHWISE) {
    return fault_if(csc_cs2_field(words, CSC_CS2_GEMM_COLUMNS) != depth, CSC_CS2_CAUSE_SHAPE, 11,
                    info);
  }
  return fault_if(sum > most, CSC_CS2_CAUSE_BOUND, 12, info);
}

static csc_cs2_cause_t check_gemm(const csc_cs2_checked_t *checked, const uint32_t *words,
                                  uint32_t *info) {
  const uint32_t flags = csc_cs2_field(words, CSC_CS2_GEMM_FLAGS);
  const int32_t low = csc_cs2_signed_field(words, CSC_CS2_GEMM_CLAMP_LOW);
  const int32_t high = csc_cs2_signed_field(words, CSC_CS2_GEMM_CLAMP_HIGH);
  *info = 3;
  if (is_bad_gemm(flags)) return CSC_CS2_CAUSE_VALUE;
  if ((flags & TABLE) && is_bad_table(checked->block_table, (flags & IS_INT16) != 0)) {
    return CSC_CS2_CAUSE_VALUE;
  }
  *info = 4;
  if (low > high && (flags & NO_REQUANT) == 0) return CSC_CS2_CAUSE_VALUE;
  return flags & WINDOW ? check_window(checked, words, flags, info) : CSC_CS2_CAUSE_NONE;
}

static csc_cs2_cause_t check_norm(const uint32_t *words, uint32_t *info) {
  const uint32_t low = csc_cs2_field(words, CSC_CS2_NORM_EPSILON_LOW);
  const uint32_t high = csc_cs2_field(words, CSC_CS2_NORM_EPSILON_HIGH);
  *info = 10;
  if (low == 0 && high == 0) return CSC_CS2_CAUSE_VALUE;
  return fault_if(high >> 22 != 0, CSC_CS2_CAUSE_VALUE, 11, info);
}

static csc_cs2_cause_t check_geometry(csc_cs2_checked_t *checked, const uint32_t *words,
                                      uint32_t *info) {
  const uint32_t width = csc_cs2_field(words, CSC_CS2_GEOMETRY_KERNEL_WIDTH);
  const uint32_t height = csc_cs2_field(words, CSC_CS2_GEOMETRY_KERNEL_HEIGHT);
  *info = 6;
  if (csc_cs2_field(words, CSC_CS2_GEOMETRY_PAD_LEFT) >= width) return CSC_CS2_CAUSE_VALUE;
  if (csc_cs2_field(words, CSC_CS2_GEOMETRY_PAD_TOP) >= height) return CSC_CS2_CAUSE_VALUE;
  checked->taps = width * height;
  checked->in_rows = csc_cs2_field(words, CSC_CS2_GEOMETRY_IN_HEIGHT) *
                     (uint32_t)up(csc_cs2_field(words, CSC_CS2_GEOMETRY_IN_WIDTH), TILE);
  checked->out_rows = csc_cs2_field(words, CSC_CS2_GEOMETRY_OUT_HEIGHT) *
                      (uint32_t)up(csc_cs2_field(words, CSC_CS2_GEOMETRY_OUT_WIDTH), TILE);
  return CSC_CS2_CAUSE_NONE;
}

static csc_cs2_cause_t check_lookup(const csc_cs2_checked_t *checked, const uint32_t *words,
                                    uint32_t *info) {
  const uint32_t flags = csc_cs2_field(words, CSC_CS2_LOOKUP_FLAGS);
  const uint32_t is_int16 = (flags & CSC_CS2_ELEMENT_FLAG_OUT_INT16) != 0;
  return fault_if(is_bad_table(checked->vector_table, is_int16), CSC_CS2_CAUSE_VALUE, 3, info);
}

// --- copies --------------------------------------------------------------------------------------

static csc_cs2_cause_t check_side(const csc_cs2_copy_side_t *side, const csc_cs2_spaces_t *spaces,
                                  uint32_t word, uint32_t *info) {
  const uint64_t end = csc_cs2_offset_of(side->address) + side->reach;
  const uint32_t space = csc_cs2_space_of(side->address);
  *info = word;
  if (side->address % side->align != 0) return CSC_CS2_CAUSE_ALIGNMENT;
  if (side->align > 1 && space != CSC_CS2_SPACE_SRAM) return CSC_CS2_CAUSE_RANGE;
  if (end > spaces->bytes[space]) return CSC_CS2_CAUSE_RANGE;
  return fault_if(side->stride % side->align != 0, CSC_CS2_CAUSE_ALIGNMENT, word + 2, info);
}

// Where the last byte of a side in tiles is, which may be in the row before the last one.
static uint64_t tiles_reach(uint64_t rows, uint64_t stride, uint64_t bytes, uint64_t piece) {
  const uint64_t last = (rows - 1) / TILE * stride + (rows - 1) % TILE * piece;
  const uint64_t before = rows > TILE ? ((rows - 1) / TILE - 1) * stride + (TILE - 1) * piece : 0;
  const uint64_t across = (bytes - 1) / piece * TILE * piece + (bytes - 1) % piece + 1;
  return (last > before ? last : before) + across;
}

static csc_cs2_copy_side_t side_of(uint32_t address, uint32_t stride, int is_tiles, uint64_t rows,
                                   const uint32_t *words) {
  const uint32_t flags = csc_cs2_field(words, CSC_CS2_COPY_FLAGS);
  const uint64_t bytes = csc_cs2_field(words, CSC_CS2_COPY_ROW_BYTES);
  const uint32_t piece = flags & CSC_CS2_DMA_FLAG_WIDE ? 2 * TILE : TILE;
  csc_cs2_copy_side_t side = {address, stride, is_tiles ? piece : 1, 0};
  side.reach = is_tiles ? tiles_reach(rows, stride, bytes, piece) : (rows - 1) * stride + bytes;
  return side;
}

csc_cs2_copy_side_t csc_cs2_copy_source(const uint32_t *words, uint32_t rows) {
  const uint32_t flags = csc_cs2_field(words, CSC_CS2_COPY_FLAGS);
  const int is_gather = (flags & CSC_CS2_DMA_FLAG_GATHER) != 0;
  return side_of(csc_cs2_field(words, CSC_CS2_COPY_SOURCE),
                 csc_cs2_field(words, CSC_CS2_COPY_SOURCE_STRIDE),
                 (flags & CSC_CS2_DMA_FLAG_SOURCE_TILES) != 0,
                 is_gather ? csc_cs2_field(words, CSC_CS2_COPY_INDEX_LIMIT) : rows, words);
}

csc_cs2_copy_side_t csc_cs2_copy_target(const uint32_t *words, uint32_t rows) {
  const uint32_t flags = csc_cs2_field(words, CSC_CS2_COPY_FLAGS);
  return side_of(csc_cs2_field(words, CSC_CS2_COPY_TARGET),
                 csc_cs2_field(words, CSC_CS2_COPY_TARGET_STRIDE),
                 (flags & CSC_CS2_DMA_FLAG_TARGET_TILES) != 0, rows, words);
}

static csc_cs2_cause_t check_indices(const csc_cs2_spaces_t *spaces, const uint32_t *words,
                                     uint32_t *info) {
  const uint32_t flags = csc_cs2_field(words, CSC_CS2_COPY_FLAGS);
  const uint32_t index = csc_cs2_field(words, CSC_CS2_COPY_INDEX);
  const uint64_t end = index + 4ull * csc_cs2_field(words, CSC_CS2_COPY_ROWS);
  if ((flags & CSC_CS2_DMA_FLAG_GATHER) == 0) return CSC_CS2_CAUSE_NONE;
  *info = 3;
  if (flags & CSC_CS2_DMA_FLAG_SOURCE_TILES) return CSC_CS2_CAUSE_VALUE;
  *info = 11;
  if (index % 4 != 0) return CSC_CS2_CAUSE_ALIGNMENT;
  return end > spaces->bytes[CSC_CS2_SPACE_SRAM] ? CSC_CS2_CAUSE_RANGE : CSC_CS2_CAUSE_NONE;
}

static csc_cs2_cause_t check_copy(const csc_cs2_spaces_t *spaces, const uint32_t *words,
                                  uint32_t *info) {
  const uint32_t rows = csc_cs2_field(words, CSC_CS2_COPY_ROWS);
  const csc_cs2_copy_side_t source = csc_cs2_copy_source(words, rows);
  const csc_cs2_copy_side_t target = csc_cs2_copy_target(words, rows);
  csc_cs2_cause_t cause = check_indices(spaces, words, info);
  if (cause == CSC_CS2_CAUSE_NONE) cause = check_side(&source, spaces, 5, info);
  if (cause == CSC_CS2_CAUSE_NONE) cause = check_side(&target, spaces, 6, info);
  if (cause != CSC_CS2_CAUSE_NONE) return cause;
  return fault_if(csc_cs2_space_of(target.address) == CSC_CS2_SPACE_WEIGHTS, CSC_CS2_CAUSE_RANGE, 6,
                  info);
}

// --- all of it -----------------------------------------------------------------------------------

static csc_cs2_cause_t check_special(csc_cs2_checked_t *checked, const csc_cs2_spaces_t *spaces,
                                     const uint32_t *words, uint32_t *info) {
  switch (code_of(words)) {
    case CSC_CS2_CODE_COPY: return check_copy(spaces, words, info);
    case CSC_CS2_CODE_GEMM: return check_gemm(checked, words, info);
    case CSC_CS2_CODE_GEOMETRY: return check_geometry(checked, words, info);
    case CSC_CS2_CODE_NORM: return check_norm(words, info);
    case CSC_CS2_CODE_LOOKUP: return check_lookup(checked, words, info);
    default: return CSC_CS2_CAUSE_NONE;
  }
}

static void keep_table(csc_cs2_checked_t *checked, const uint32_t *words) {
  const uint32_t loaded = 1 + (words[3] & 1);
  if (code_of(words) == CSC_CS2_CODE_BLOCK_TABLE) checked->block_table = loaded;
  if (code_of(words) == CSC_CS2_CODE_VECTOR_TABLE) checked->vector_table = loaded;
}

static int has_unused_bits(const command_t *command, const uint32_t *words) {
  uint32_t bits = 0;
  for (uint32_t n = 0; n < WORDS; n++) bits |= words[n] & ~command->used[n];
  return bits != 0;
}

csc_cs2_cause_t csc_cs2_check(csc_cs2_checked_t *checked, const csc_cs2_spaces_t *spaces,
                              const uint32_t *words, uint32_t *info) {
  const command_t *command = find_command(code_of(words));
  *info = code_of(words);
  if (command == NULL || has_unused_bits(command, words)) return CSC_CS2_CAUSE_CODE;
  csc_cs2_cause_t cause = check_header(command, words, info);
  if (cause == CSC_CS2_CAUSE_NONE) cause = check_limits(command, words, info);
  if (cause == CSC_CS2_CAUSE_NONE) cause = check_special(checked, spaces, words, info);
  if (cause == CSC_CS2_CAUSE_NONE) cause = check_operands(checked, spaces, command, words, info);
  if (cause == CSC_CS2_CAUSE_NONE) keep_table(checked, words);
  return cause;
}
