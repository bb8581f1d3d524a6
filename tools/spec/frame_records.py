"""The single source of the frames between a host and the firmware, and of the firmware's image.

`generate_frames.py` turns this file into the C header, the Python constants and the tables of
PROTOCOL.md.
A field is (name, type, count, meaning); types are those of blob_records.py, u64, i64, and the
names of the records before it.
"""

VERSION_MAJOR = 1
VERSION_MINOR = 2
IMAGE_MAGIC = b"CSCIMAGE"
IMAGE_VERSION = 1

CONSTANTS = {
    "HEAD_BYTES": (4, "size of a frame's head"),
    "CRC_BYTES": (4, "size of a frame's CRC-32"),
    "BODY_MAX": (1024, "largest body of a frame"),
    "FRAME_MAX": (1032, "largest frame before framing: head, body and CRC"),
    "WIRE_MAX": (1037, "largest frame after COBS, without the zero byte at its end"),
    "ANSWER": (0x80, "added to the message of a request in its answer"),
    "NO_TOKEN": (0xFFFFFFFF, "in GENERATE: every token has been run"),
    "REGIONS": (4, "memory regions an image can name"),
}

ENUMS = {
    "message": {
        "NONE": (0, "in the answer to a frame that could not be read"),
        "IDENTIFY": (1, "who is there; also the way to get in step"),
        "DESCRIBE": (2, "the model in use"),
        "USE_EMBEDDED": (3, "check the model in the image and use it"),
        "LOAD_BEGIN": (4, "a blob of so many bytes will come; drops the model in use"),
        "LOAD_DATA": (5, "the next bytes of the blob, without gap and in order"),
        "LOAD_END": (6, "all of the blob has come: check it and use it"),
        "READ_MODEL": (7, "bytes of the blob in use"),
        "START": (8, "begin a run of an entry, a length and a position; fills optional inputs"),
        "SET_INPUT": (9, "bytes of an input"),
        "RUN": (10, "run all ops of the entry; answers when they are done"),
        "GET_OUTPUT": (11, "bytes of an output"),
        "GET_CLOCKS": (12, "what the ops of the last run cost"),
        "RESET": (13, "answers, then starts the firmware again"),
        "RESET_STATES": (14, "begin a sequence: fills the states of the model"),
        "GENERATE": (15, "choose tokens and run a step on each; one answer for each token"),
    },
    "status": {
        "OK": (0, "done"),
        "COBS": (1, "the frame is not valid COBS"),
        "CRC": (2, "the CRC-32 does not fit; need: computed, have: received"),
        "TOO_LONG": (3, "the frame is longer than WIRE_MAX; need: that limit"),
        "TOO_SHORT": (4, "the frame is shorter than head and CRC; need: their size, have: its"),
        "MESSAGE": (5, "no such message, or the status of a request is not 0; have: the message"),
        "BODY": (6, "the body has a wrong size; need: the right or least size, have: its"),
        "ORDER": (7, "not now; have: the state the device is in"),
        "RANGE": (8, "no such tensor, or not that many bytes; need: the limit, have: the value"),
        "ROOM": (9, "the memory is too small; need and have: bytes"),
        "EMBEDDED": (10, "the image holds no model"),
        "RUNTIME": (11, "the runtime refused the blob or a run failed; all fields say how"),
        "FAULT": (12, "the processor met a fault and starts again"),
    },
    "state": {
        "EMPTY": (0, "no model"),
        "RECEIVING": (1, "after LOAD_BEGIN"),
        "READY": (2, "a model is loaded"),
        "STARTED": (3, "after START; inputs may be set"),
        "DONE": (4, "after RUN; outputs may be read"),
    },
    "source": {
        "NONE": (0, "no model"),
        "EMBEDDED": (1, "from the image"),
        "WIRE": (2, "came in LOAD_DATA frames"),
    },
    "feature": {
        "CLOCKS": (1, "there is a cycle counter"),
        "ENGINE": (2, "products run on a block engine, whose work is counted"),
        "EMBEDDED": (4, "the image holds a model"),
        "PLANS": (8, "a chip runs the plans of blobs"),
    },
    "memory": {
        "NONE": (0, "unused entry"),
        "READ": (1, "holds constant data: flash, or memory only the loader writes"),
        "RAM": (2, "read and written"),
        "OPEN_END": (3, "RAM whose end depends on the machine"),
    },
}

HEAD = [
    ("message", "u8", 1, "what is asked; ANSWER is added in the answer"),
    ("status", "u8", 1, "0 in a request; how it went in an answer"),
    ("sequence", "u16", 1, "chosen by the host, repeated in the answer"),
]

ERROR = [
    ("code", "u32", 1, "csc_status_t for RUNTIME, else 0"),
    ("index", "u32", 1, "see csc_status_t"),
    ("item", "u32", 1, "see csc_status_t"),
    ("reserved", "u32", 1, "0"),
    ("need", "i64", 1, "what was needed"),
    ("have", "i64", 1, "what was there"),
]

IDENTITY = [
    ("version_major", "u16", 1, "protocol version; a host refuses any other"),
    ("version_minor", "u16", 1, "protocol version; larger ones only add"),
    ("body_max", "u32", 1, "largest body this device takes and sends"),
    ("board", "u8", 16, "name of the board, filled up with zero bytes"),
    ("features", "u32", 1, "sum of features"),
    ("blob_version", "u32", 1, "65536 * major + minor of the newest blob it reads"),
    ("counter_hz", "u32", 1, "rate of the cycle counter, 0 if unknown"),
    ("load_room", "u32", 1, "largest blob LOAD_BEGIN takes"),
    ("stack_bytes", "u32", 1, "size of the stack"),
    ("stack_peak", "u32", 1, "most bytes of stack used since the start"),
]

DESCRIPTION = [
    ("state", "u32", 1, "state"),
    ("source", "u32", 1, "source of the model"),
    ("blob_bytes", "u32", 1, "size of the blob; with the rest 0 if there is none"),
    ("head_bytes", "u32", 1, "bytes before the WEIGHTS section: all but the weights"),
    ("arena_bytes", "u32", 1, "size of the arena"),
    ("max_length", "u32", 1, "largest length"),
    ("op_count", "u32", 1, "number of ops"),
    ("tensor_count", "u32", 1, "number of tensors"),
]

LOAD_BEGIN = [("bytes", "u32", 1, "size of the blob that will come")]
LOAD_DATA = [("offset", "u32", 1, "place of the first byte: as many as have come before")]
READ = [
    ("offset", "u32", 1, "first byte"),
    ("count", "u32", 1, "1 .. body_max"),
]
START = [
    ("length", "u32", 1, "T of the run"),
    ("entry", "u32", 1, "number of the entry to run; 0 without entries"),
    ("position", "u32", 1, "P of the run; 0 without entries"),
]
SET_INPUT = [
    ("tensor", "u32", 1, "number of an input"),
    ("offset", "u32", 1, "first byte"),
]
GET_OUTPUT = [
    ("tensor", "u32", 1, "number of an output"),
    ("offset", "u32", 1, "first byte; rows lie row_stride elements apart"),
    ("count", "u32", 1, "1 .. body_max"),
]
GET_CLOCKS = [("first", "u32", 1, "number of the first op wanted")]
RAN = [
    ("clocks", "u64", 1, "clocks of the whole run, hooks included; 0 without a counter"),
    ("plan", "u32", 1, "csc_plan_state_t: whether the run followed the plan, or why not"),
    ("reserved", "u32", 1, "0"),
]
GENERATE = [
    ("count", "u32", 1, "tokens to choose, at least 1"),
    ("entry", "u32", 1, "number of the entry that takes one token"),
    ("position", "u32", 1, "tokens run before this request"),
    ("token", "u32", 1, "the last token chosen, to be run first; NO_TOKEN: it has been run"),
    ("input", "u32", 1, "number of the input for the token, int32 with a length"),
    ("output", "u32", 1, "number of the output with the logits, int16 [1][N]"),
    ("top_k", "u32", 1, "1: the largest logit; else draw from so many, at most N"),
    ("requant", "u32", 1, "32 * scale of the logits / temperature: multiplier + 65536 * shift"),
    ("random", "u32", 1, "state of the generator, not 0"),
]
GENERATED = [
    ("token", "u32", 1, "the token chosen"),
    ("position", "u32", 1, "tokens run, this one not among them"),
    ("random", "u32", 1, "state of the generator behind it"),
    ("left", "u32", 1, "answers that will follow at most; 0 in the last one"),
]
OP_CLOCKS = [
    ("clocks", "u64", 1, "from the op's begin to its end; 0 without a counter"),
    ("engine_clocks", "u64", 1, "clocks the block engine multiplied; the rest 0 without one"),
    ("blocks", "u32", 1, "8x8x8 block products"),
    ("bus_reads", "u32", 1, "32-bit reads of the engine"),
    ("bus_writes", "u32", 1, "32-bit writes of the engine"),
    ("reserved", "u32", 1, "0"),
]

REGION = [
    ("first", "u32", 1, "address of the first free byte"),
    ("end", "u32", 1, "address behind the last"),
    ("kind", "u32", 1, "kind of memory"),
    ("reserved", "u32", 1, "0"),
]
IMAGE = [
    ("magic", "u8", 8, "the text CSCIMAGE"),
    ("version", "u32", 1, "1; a tool refuses any other"),
    ("uart_divisor", "u32", 1, "clocks per bit of the UART, 0 where the board does not use it"),
    ("board", "u8", 16, "name of the board, filled up with zero bytes"),
    ("model_address", "u32", 1, "where the blob lies, a multiple of 64"),
    ("model_bytes", "u32", 1, "its size; 0: no model"),
    ("work_address", "u32", 1, "where arena and op records lie, a multiple of 64"),
    ("work_bytes", "u32", 1, "their size"),
    ("regions", "region", 4, "free memory, best place first"),
]

RECORDS = {
    "head": HEAD,
    "error": ERROR,
    "identity": IDENTITY,
    "description": DESCRIPTION,
    "load_begin": LOAD_BEGIN,
    "load_data": LOAD_DATA,
    "read": READ,
    "start": START,
    "set_input": SET_INPUT,
    "get_output": GET_OUTPUT,
    "get_clocks": GET_CLOCKS,
    "ran": RAN,
    "generate": GENERATE,
    "generated": GENERATED,
    "op_clocks": OP_CLOCKS,
    "region": REGION,
    "image": IMAGE,
}

# Per message: record of the request, whether data follow it, record of the answer, data, states.
MESSAGES = {
    "IDENTIFY": ("", "", "identity", "", "any"),
    "DESCRIBE": ("", "", "description", "", "any"),
    "USE_EMBEDDED": ("", "", "description", "", "any"),
    "LOAD_BEGIN": ("load_begin", "", "", "", "any"),
    "LOAD_DATA": ("load_data", "bytes of the blob", "", "", "RECEIVING"),
    "LOAD_END": ("", "", "description", "", "RECEIVING, all bytes there"),
    "READ_MODEL": ("read", "", "", "bytes of the blob", "READY, STARTED, DONE"),
    "START": ("start", "", "", "", "READY, STARTED, DONE"),
    "SET_INPUT": ("set_input", "bytes of the input", "", "", "STARTED"),
    "RUN": ("", "", "ran", "", "STARTED"),
    "GET_OUTPUT": ("get_output", "", "", "bytes of the output", "DONE"),
    "GET_CLOCKS": ("get_clocks", "", "", "op_clocks records", "DONE"),
    "RESET": ("", "", "", "", "any"),
    "RESET_STATES": ("", "", "", "", "READY, STARTED, DONE"),
    "GENERATE": ("generate", "ids to stop behind", "generated", "", "DONE"),
}
