"""The single source of the blob's records, enumerations and limits.

`generate_blob.py` turns this file into the C headers, the Python constants and the tables of
SPEC.md.
A field is (name, type, count, meaning); types are u8, u16, i16, u32, i32.
"""

MAGIC = bytes.fromhex("435343420d0a1a0a")
VERSION_MAJOR = 1
VERSION_MINOR = 2

CONSTANTS = {
    "ALIGN": (64, "alignment in bytes of the blob, of the arena, of sections and of tensors"),
    "BLOCK": (8, "edge of a GEMM block"),
    "NONE": (0xFFFFFFFF, "an operand that is not there"),
    "HEADER_BYTES": (192, "header and section table together, padded"),
    "TABLE_ENTRIES": (1024, "entries of an activation table"),
    "MAX_LENGTH": (8192, "largest planned sequence length"),
    "MAX_OPS": (2048, "largest number of ops"),
    "MAX_TENSORS": (16384, "largest number of tensors"),
    "MAX_K_S8": (65528, "largest K of a GEMM with int8 input"),
    "MAX_K_S16": (2048, "largest K of a GEMM with int16 input"),
    "MAX_N": (65528, "largest N of a GEMM"),
    "MAX_NORM": (4096, "largest width of a layernorm"),
    "MAX_HEAD_DIM": (1024, "largest head dimension"),
    "MAX_HEADS": (256, "largest number of heads"),
    "MAX_WIDTH": (65528, "largest dims[1] of an arena tensor"),
    "WIDE_MIN": (-4096, "smallest value an int16 GEMM input is clamped to"),
    "WIDE_MAX": (4095, "largest value an int16 GEMM input is clamped to"),
    "MAX_BIAS": ((1 << 30) - 1, "largest magnitude of a GEMM bias"),
    "MAX_BETA": (1 << 29, "largest magnitude of a layernorm offset"),
    "MAX_MULTIPLIER": (32767, "largest requantization multiplier"),
    "MAX_SHIFT": (46, "largest requantization shift; the smallest is 1"),
    "MAX_ADD_MULTIPLIER": (16384, "largest multiplier of an ADD"),
    "MAX_NORM_SHIFT": (29, "largest output shift of a layernorm"),
    "MAX_EPSILON_BITS": (54, "a layernorm epsilon is below 2 to this power"),
    "MAX_ZERO_POINT": (32768, "largest magnitude of a zero point"),
}

ENUMS = {
    "dtype": {
        "INT8": (1, "signed, 1 byte"),
        "UINT8": (2, "unsigned, 1 byte"),
        "INT16": (3, "signed, 2 bytes"),
        "INT32": (4, "signed, 4 bytes"),
    },
    "storage": {
        "ARENA": (0, "offset counts from the start of the arena"),
        "WEIGHTS": (1, "offset counts from the start of the WEIGHTS section"),
    },
    "flag": {
        "DYNAMIC": (1, "dims[0] is the sequence length of the run; the record holds max_length"),
        "INPUT": (2, "written by the caller before a run"),
        "OUTPUT": (4, "read by the caller after a run"),
        "OPTIONAL": (8, "an input that may be left out; it is then filled with default_value"),
        "STATE": (16, "keeps its content from run to run; a reset fills it with default_value"),
    },
    "section": {
        "OPS": (1, "op records, in the order of execution"),
        "TENSORS": (2, "tensor records"),
        "STRINGS": (3, "names, UTF-8, each ended by a zero byte; offset 0 is the empty name"),
        "METADATA": (4, "one JSON object, UTF-8, padded with zero bytes"),
        "WEIGHTS": (5, "constant tensors"),
        "PLAN": (6, "commands for one chip; may be absent"),
        "ENTRIES": (7, "entry records; may be absent"),
    },
    "op": {
        "EMBED": (1, "embedding sum"),
        "LAYERNORM": (2, "layernorm with one or two outputs"),
        "GEMM": (3, "8x8-block matrix product with bias, requantization, optional table"),
        "ATTENTION": (4, "multi-head attention with padding mask"),
        "ADD": (5, "residual add"),
        "POOL": (6, "first token or masked mean"),
        "APPEND": (7, "rows of this run into a state, at its position"),
    },
    "keys": {
        "ROWS": (0, "all rows of k"),
        "CONTEXT": (1, "the first P + T rows of k, a state"),
    },
    "pool": {
        "FIRST": (0, "row 0"),
        "MEAN": (1, "mean of the visible rows"),
        "LAST": (2, "row T - 1"),
    },
}

HEADER = [
    ("magic", "u8", 8, "43 53 43 42 0D 0A 1A 0A"),
    ("version_major", "u16", 1, "1; a reader refuses any other"),
    ("version_minor", "u16", 1, "0; 1 with a plan; 2 with entries; a reader refuses a larger one"),
    ("file_bytes", "u32", 1, "size of the whole blob"),
    ("header_crc", "u32", 1, "CRC-32 of the first 192 bytes with this field taken as 0"),
    ("section_count", "u32", 1, "5 to 7"),
    ("arena_bytes", "u32", 1, "size of the arena"),
    ("max_length", "u32", 1, "planned maximum sequence length T_max"),
    ("op_count", "u32", 1, "number of op records"),
    ("tensor_count", "u32", 1, "number of tensor records"),
    ("context", "u32", 1, "largest number of positions of a sequence; 0 without entries"),
    ("entry_count", "u32", 1, "number of entry records; 0 without entries"),
    ("reserved", "u32", 4, "0"),
]

SECTION = [
    ("kind", "u32", 1, "section kind; the five kinds stand in the order of their numbers"),
    ("offset", "u32", 1, "from the start of the blob, a multiple of 64"),
    ("bytes", "u32", 1, "size, a multiple of 64, padding included"),
    ("crc", "u32", 1, "CRC-32 of these bytes"),
]

TENSOR = [
    ("name", "u32", 1, "offset in STRINGS"),
    ("dtype", "u8", 1, "element type"),
    ("storage", "u8", 1, "where the elements are"),
    ("rank", "u8", 1, "1 to 4"),
    ("flags", "u8", 1, "sum of flags"),
    ("dims", "u32", 4, "shape; unused dims are 1"),
    ("row_stride", "u32", 1, "elements from one row (dims[0]) to the next"),
    ("offset", "u32", 1, "in bytes, a multiple of 64"),
    ("bytes", "u32", 1, "size in bytes: dims[0] * row_stride * element size"),
    ("scale", "u32", 1, "bits of a float32: real = (q - zero_point) * scale; 0 = no such scale"),
    ("zero_point", "i32", 1, "see scale"),
    ("default_value", "i32", 1, "of an optional input that is left out, of a state after a reset"),
    ("reserved", "u32", 4, "0"),
]

OP = [
    ("kind", "u16", 1, "op kind"),
    ("reserved", "u16", 1, "0"),
    ("name", "u32", 1, "offset in STRINGS"),
    ("operand", "u32", 10, "tensor numbers; NONE where absent or unused"),
    ("param", "i32", 12, "parameters; 0 where unused"),
]

ENTRY = [
    ("name", "u32", 1, "offset in STRINGS; names of entries differ"),
    ("first_op", "u32", 1, "number of its first op"),
    ("op_count", "u32", 1, "number of its ops, at least 1"),
    ("max_length", "u32", 1, "largest T of a run, 1 to max_length of the blob"),
    ("reserved", "u32", 12, "0"),
]

PLAN = [
    ("chip", "u32", 1, "register ID of the chip the commands are for"),
    ("version", "u32", 1, "register VERSION of that chip"),
    ("command_count", "u32", 1, "number of descriptors, which follow this record"),
    ("max_length", "u32", 1, "longest sequence the commands serve, 1 to max_length of the blob"),
    ("sram_bytes", "u32", 1, "bytes of SRAM the commands use, from the start"),
    ("store_bytes", "u32", 1, "bytes of space STORE the commands use"),
    ("reserved", "u32", 10, "0"),
]

RECORDS = {"header": HEADER, "section": SECTION, "tensor": TENSOR, "op": OP, "plan": PLAN}
RECORDS["entry"] = ENTRY

# Per op: operands (name, meaning) and parameters (name, meaning), in the order of the record.
OPS = {
    "EMBED": (
        [
            ("ids", "int32 [T]: row of `word` per token"),
            ("types", "int32 [T] or NONE: row of `type` per token"),
            ("word", "int8 [V][C] weights"),
            ("word_multiplier", "int16 [V] weights, 0..32767"),
            ("position", "int16 [>= T_max, or >= context with positions 1][C] weights"),
            ("type", "int16 [Y][C] weights; NONE exactly when `types` is"),
            ("out", "int16 [T][C]"),
        ],
        [
            ("shift", "1..31"),
            ("positions", "0: token t has position t; 1: position P + t"),
        ],
    ),
    "LAYERNORM": (
        [
            ("x", "int16 [R][C]"),
            ("affine_a", "int32 [C][2] weights: (offset, gain)"),
            ("out_a", "int8 or int16 [R][C]"),
            ("affine_b", "int32 [C][2] weights or NONE"),
            ("out_b", "int8 or int16 [R][C]; NONE exactly when `affine_b` is"),
        ],
        [
            ("epsilon_low", "low 32 bits of E"),
            ("epsilon_high", "high 32 bits of E; 1 <= E < 2^54"),
            ("shift_a", "1..29"),
            ("zero_point_a", "added to output a"),
            ("shift_b", "1..29; 0 without output b"),
            ("zero_point_b", "added to output b; 0 without output b"),
        ],
    ),
    "GEMM": (
        [
            ("x", "int8 or int16 [R][K]"),
            ("weights", "int8 [N/8][K/8][8][8] weights, quotients rounded up"),
            ("requant", "int32 [N rounded up to 8][2] weights: (bias, multiplier + 65536 * shift)"),
            ("table", "int8 or int16 [1024] weights, or NONE"),
            ("out", "int8 or int16 [R][N]; the dtype of `table` where there is one"),
            ("scratch", "int32 [8][N rounded up to 8]"),
        ],
        [
            ("zero_point", "added after requantization (to the index where there is a table)"),
            ("clamp_low", "smallest result; 0 with a table"),
            ("clamp_high", "largest result; 1023 with a table"),
        ],
    ),
    "ATTENTION": (
        [
            ("q", "int8 [T][>= q_column + H*D]"),
            ("k", "int8 [S][>= k_column + H*D]"),
            ("v", "int8 [S][>= v_column + H*D]"),
            (
                "mask",
                "uint8 [S] or NONE: key j is visible where mask[j] is not 0; NONE unless S is T",
            ),
            (
                "head_requant",
                "int32 [H][2] weights: (score, context), each multiplier + 65536 * shift",
            ),
            ("out", "int8 or int16 [T][H*D]"),
            ("scratch", "uint8 [40*L + 32*E], L = up8(most rows of k), E = up8(D)"),
        ],
        [
            ("heads", "H, 1..256"),
            ("head_dim", "D, 1..1024"),
            ("q_column", "first column of q"),
            ("k_column", "first column of k"),
            ("v_column", "first column of v"),
            ("zero_point", "added to the output"),
            ("keys", "which rows of k and v are keys"),
            ("causal", "0, or 1: row i sees no key behind its own position"),
        ],
    ),
    "ADD": (
        [
            ("a", "int16 [R][C]"),
            ("b", "int16 [R][C]"),
            ("out", "int16 [R][C]"),
        ],
        [
            ("multiplier_a", "0..16384"),
            ("multiplier_b", "0..16384"),
            ("shift", "1..29"),
        ],
    ),
    "POOL": (
        [
            ("x", "int8 or int16 [T][C]"),
            (
                "mask",
                "uint8 [T] or NONE: row t counts where mask[t] is not 0; NONE for FIRST and LAST",
            ),
            ("out", "int8 or int16 [1][C]"),
        ],
        [
            ("mode", "pool kind"),
            ("multiplier", "0..32767"),
            ("shift", "1..46"),
            ("zero_point_in", "subtracted from x"),
            ("zero_point", "added to the output"),
        ],
    ),
    "APPEND": (
        [
            ("x", "int8 [T][>= column + C]"),
            ("state", "int8 [context][C], a state"),
        ],
        [("column", "first column of x")],
    ),
}
