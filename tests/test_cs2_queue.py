"""The command queue of CS2: registers, clocks of fetch and dispatch, order, errors, soft reset."""

from __future__ import annotations

import numpy as np
import pytest

from cs2_words import encode
from csc.chip import Chip, ChipFaults
from csc.errors import ChipError
from csc_convert.cs2_format import COMMANDS, Cause, Code, Engine, GemmFlag

ID, VERSION, CAPS, SRAM_SIZE, CONTROL, STATUS = 0x600, 0x604, 0x608, 0x60C, 0x610, 0x614
IRQ_STATUS, IRQ_ENABLE, ERROR, ERROR_COMMAND, ERROR_INFO = 0x618, 0x61C, 0x620, 0x624, 0x628
ERROR_TAG, BASE, SIZE, HEAD, TAIL = 0x62C, 0x630, 0x634, 0x638, 0x63C
WEIGHTS_BASE, WEIGHTS_BYTES, STORE_BASE, STORE_BYTES = 0x640, 0x644, 0x648, 0x64C
PARAM, WATCHDOG, CLOCK_LOW, CLOCK_HIGH, COUNTERS = 0x650, 0x660, 0x668, 0x66C, 0x680
ENABLE, SOFT_RESET = 1, 2
IDLE, FAILED, DMA_BUSY = 1, 2, 4
DONE_IRQ, FAILED_IRQ = 1, 2
WEIGHTS, STORE = 1 << 30, 2 << 30
PROGRAM = 0x40000  # in SRAM
EXTERNAL = 1 << 16

LOCAL = encode("COPY", SOURCE=0x1000, TARGET=0x2000 + 64, ROWS=1, ROW_BYTES=64)
LOCAL_CLOCKS = 8  # a line: 4 of setup, then read, take, put, write
NOP, FENCE = encode("NOP"), encode("FENCE")


def make_chip(**parameters: int) -> Chip:
    """Return a chip with spaces in its external memory and the queue switched on."""
    chip = Chip("cs2", external=EXTERNAL, **parameters)
    registers = {WEIGHTS_BASE: 0, WEIGHTS_BYTES: EXTERNAL // 2}
    registers |= {STORE_BASE: EXTERNAL // 2, STORE_BYTES: EXTERNAL // 2}
    for offset, value in (registers | {BASE: PROGRAM, SIZE: 64, CONTROL: ENABLE}).items():
        chip.write(offset, value)
    chip.trace()
    return chip


def give(chip: Chip, *commands: np.ndarray, first: int = 0) -> int:
    """Put commands into the ring in SRAM and ring the doorbell; return the clock of that write."""
    for number, words in enumerate(commands, first):
        chip.write_sram(PROGRAM + 64 * (number % 64), words.tobytes())
    chip.write(TAIL, first + len(commands))
    return chip.clock - 1


def finish(chip: Chip, clocks: int = 10000) -> None:
    chip.step(clocks)
    assert chip.read(STATUS) == IDLE


def error_of(chip: Chip) -> tuple:
    word = chip.read(ERROR)
    return Cause(word & 255).name, Engine(word >> 8 & 255).name, word >> 16, chip.read(ERROR_INFO)


# --- registers ------------------------------------------------------------------------------------


def test_constants():
    chip = Chip("cs2")
    assert chip.read(ID).to_bytes(4, "little") == b"CS2\0"
    assert (chip.read(VERSION), chip.read(CAPS)) == (0x10000, 512 | 16 << 16)
    assert chip.read(SRAM_SIZE) == 512 * 1024
    small = Chip("cs2", sram_bytes=65536, array=64, lanes=4)
    assert (small.read(CAPS), small.read(SRAM_SIZE)) == (64 | 4 << 16, 65536)


HELD = [BASE, SIZE, WEIGHTS_BYTES, STORE_BYTES, WATCHDOG, *range(PARAM, PARAM + 16, 4)]


@pytest.mark.parametrize("offset", [*HELD, WEIGHTS_BASE, STORE_BASE, TAIL])
def test_registers_that_are_kept(offset):
    chip = Chip("cs2")
    chip.write(offset, 0xDEADBEEF)
    is_base = offset in (WEIGHTS_BASE, STORE_BASE)
    assert chip.read(offset) == (0xDEADBEC0 if is_base else 0xDEADBEEF)
    chip.write(CONTROL, SOFT_RESET)
    assert (chip.read(offset) == 0) == (offset == TAIL)
    chip.reset()
    assert chip.read(offset) == 0


def test_words_that_do_not_exist():
    chip = Chip("cs2")
    listed = {ID, VERSION, CAPS, SRAM_SIZE, STATUS, CLOCK_LOW}
    for offset in range(0x600, 0x1000, 4):
        if offset not in listed:
            assert chip.read(offset) == 0, hex(offset)
    for offset in range(0x664, 0x1000, 4):
        chip.write(offset, 0xFFFFFFFF)
        assert offset in listed or chip.read(offset) == 0, hex(offset)
    assert chip.read(0x601) == 0


def test_every_access_takes_one_clock_and_cs1_runs_beside_it():
    chip = make_chip()
    chip.write(0x01C, 1)
    chip.write(0x100, 6)
    chip.write(0x300, 7)
    chip.write(0x000, 1)
    before = chip.clock
    chip.read(STATUS)
    chip.write(PARAM, 3)
    chip.access_sram(0)
    assert chip.clock - before == 3
    assert chip.read(0x500) == 42


def test_the_clock_in_two_words():
    chip = Chip("cs2")
    chip.step(2**32 + 2**31)
    clock = chip.clock
    low = chip.read(CLOCK_LOW)
    chip.step(2**33)
    assert (chip.read(CLOCK_HIGH) << 32) + low == clock
    chip.reset()
    assert chip.read(CLOCK_HIGH) == 0


def test_interrupts():
    chip = make_chip()
    give(chip, LOCAL)
    assert chip.read(STATUS) == 0
    finish(chip)
    assert (chip.read(IRQ_STATUS), chip.queue_irq) == (DONE_IRQ, False)
    chip.write(IRQ_ENABLE, 0xFFFFFFFF)
    assert chip.read(IRQ_ENABLE) == DONE_IRQ | FAILED_IRQ
    assert chip.queue_irq
    chip.write(IRQ_STATUS, FAILED_IRQ)
    assert chip.queue_irq
    chip.write(IRQ_STATUS, DONE_IRQ)
    assert not chip.queue_irq
    chip.step(1000)
    assert not chip.queue_irq


def test_an_interrupt_in_the_clock_of_its_clearing_stays():
    chip = make_chip()
    start = give(chip, LOCAL)
    chip.step(start + 7 + LOCAL_CLOCKS - 1 - chip.clock)
    chip.write(IRQ_STATUS, DONE_IRQ)  # in the last clock of the command
    assert chip.read(IRQ_STATUS) == DONE_IRQ


# --- clocks of fetch, decode, start ---------------------------------------------------------------


def test_from_doorbell_to_completion_in_sram():
    chip = make_chip()
    start = give(chip, LOCAL, LOCAL, LOCAL)
    finish(chip)
    events = chip.events
    assert [e.dispatched - start for e in events] == [5, 9, 13]
    assert [e.ready - start for e in events] == [6, 7 + LOCAL_CLOCKS, 8 + 2 * LOCAL_CLOCKS]
    for event in events:
        assert event.started == event.ready + 1
        assert event.completed == event.started + LOCAL_CLOCKS
        assert (event.waited_for, event.stall_bank, event.stall_bus) == (0, 0, 0)
    assert [e.number for e in events] == [0, 1, 2]


def test_from_doorbell_to_start_in_external_memory():
    chip = make_chip()
    chip.external[EXTERNAL // 2 : EXTERNAL // 2 + 128] = np.array([LOCAL, LOCAL]).tobytes()
    chip.write(BASE, STORE)
    chip.write(TAIL, 2)
    start = chip.clock - 1
    finish(chip)
    first, second = chip.events
    assert (first.dispatched - start, first.started - start) == (51, 53)
    assert (second.dispatched - start, second.started - start) == (67, 69)


@pytest.mark.parametrize("count", [1, 3, 8, 12, 20])
def test_clocks_of_the_fetch_from_external_memory(count):
    chip = make_chip()
    chip.external[EXTERNAL // 2 : EXTERNAL // 2 + 64 * count] = np.array(
        [encode("NOP", TAG=n) for n in range(count)]
    ).tobytes()
    chip.write(BASE, STORE)
    chip.write(TAIL, count)
    start, arrivals = chip.clock - 1, []
    while len(arrivals) < count:
        chip.step()
        arrivals += [chip.clock] * (chip.read(HEAD) - len(arrivals))
        # reading HEAD takes a clock too: descriptors are 16 clocks apart, so none is missed
    expected, clock = [], start + 1
    for first in range(0, count, 8):
        size = min(8, count - first)
        expected += [clock + 30 + 16 * (n + 1) for n in range(size)]
        clock = expected[-1] + 1  # of the next request
    assert all(1 <= at - due <= 2 for at, due in zip(arrivals, expected, strict=True))


def test_a_burst_of_descriptors_ends_with_the_ring():
    chip = make_chip()
    chip.write(BASE, STORE)
    chip.write(SIZE, 3)
    external = np.array([NOP, NOP, NOP]).tobytes()
    chip.external[EXTERNAL // 2 : EXTERNAL // 2 + 192] = external
    chip.write(TAIL, 2)
    finish(chip)
    chip.write(TAIL, 5)  # numbers 2, 3 and 4 are at places 2, 0 and 1
    finish(chip)
    assert chip.read(HEAD) == 5
    assert chip.totals.ext_bursts == 3
    assert chip.totals.ext_read == 64 * 5


def test_eight_commands_wait_in_front_of_an_engine():
    chip = make_chip()
    long = encode("COPY", SOURCE=WEIGHTS, TARGET=0, ROWS=1, ROW_BYTES=16384)
    gemm = encode("BLOCK_TABLE", A=0x8000)
    start = give(chip, long, *[LOCAL] * 9, gemm)
    finish(chip)
    block = next(e for e in chip.events if e.engine == Engine.BLOCK)
    long_event = next(e for e in chip.events if e.number == 0)
    ninth = next(e for e in chip.events if e.number == 9)
    assert [e.dispatched - start for e in chip.events if e.number == 8] == [37]
    assert ninth.dispatched == long_event.completed  # the clock in which a place becomes free
    assert block.dispatched == ninth.dispatched + 4


# --- order ----------------------------------------------------------------------------------------


def test_waits_hold_back_until_the_clock_after_completion():
    chip = make_chip()
    slow = encode("COPY", SOURCE=WEIGHTS, TARGET=0, ROWS=1, ROW_BYTES=400)
    table = encode("BLOCK_TABLE", A=0, WAIT_ON=1, WAIT_DMA=1)
    give(chip, slow, table)
    finish(chip)
    dma, block = chip.events
    assert block.waited_for == 1
    assert block.started == dma.completed + 1
    waited = dma.completed - block.ready
    assert chip.read(COUNTERS + 0x14) == chip.totals.wait["block"] == waited


@pytest.mark.parametrize(
    ("done", "wait", "holds"),
    [(1, 0, 1), (1, 1, 1), (1, 2, 0), (0, 1, 0), (0, 32768, 0), (0, 32769, 1), (0, 65535, 1)],
)
def test_waits_count_modulo_65536(done, wait, holds):
    chip = make_chip()
    give(chip, *[LOCAL] * done, encode("BLOCK_TABLE", A=0, WAIT_ON=1, WAIT_DMA=wait))
    chip.step(1000)
    assert (chip.read(STATUS) == IDLE) == bool(holds)


def test_a_fence_waits_for_all_engines():
    chip = make_chip()
    slow = encode("COPY", SOURCE=WEIGHTS, TARGET=0, ROWS=1, ROW_BYTES=400)
    give(chip, slow, FENCE, encode("BLOCK_TABLE", A=0))
    finish(chip)
    dma, block = chip.events
    assert block.dispatched == dma.completed + 4
    assert chip.totals.commands == 3


def test_commands_of_the_dispatcher_complete_too():
    chip = make_chip()
    give(chip, NOP, FENCE)
    finish(chip)
    assert chip.read(IRQ_STATUS) == DONE_IRQ
    assert chip.events == []


def test_switching_off_lets_commands_finish():
    chip = make_chip()
    give(chip, *[LOCAL] * 30)
    chip.step(6)
    chip.write(CONTROL, 0)
    chip.step(1000)
    head = chip.read(HEAD)
    assert 0 < head < 30
    assert chip.read(COUNTERS + 0xC) == head
    assert chip.read(STATUS) == 0
    chip.write(CONTROL, ENABLE)
    finish(chip)


def test_the_ring_turns():
    chip = make_chip()
    for first in range(0, 200, 40):
        give(chip, *[LOCAL] * 40, first=first)
        finish(chip)
    assert chip.read(COUNTERS + 0xC) == 200


def test_counters_and_totals():
    chip = make_chip()
    give(chip, LOCAL, LOCAL)
    finish(chip)
    busy, wait, stall, done = (chip.read(COUNTERS + 4 * n) for n in range(4))
    assert (busy, wait, stall, done) == (2 * LOCAL_CLOCKS, 0, 0, 2)
    totals = chip.totals
    assert totals.busy["dma"] == 2 * LOCAL_CLOCKS
    assert (totals.line_reads, totals.line_writes) == (4, 2)  # two of them descriptors
    chip.write(CONTROL, SOFT_RESET)
    assert [chip.read(COUNTERS + 4 * n) for n in range(4)] == [0, 0, 0, 0]
    assert chip.totals.busy["dma"] == 2 * LOCAL_CLOCKS


def test_a_trace_that_is_full():
    chip = make_chip()
    chip.trace(2)
    give(chip, *[LOCAL] * 5)
    finish(chip)
    assert (len(chip.events), chip.events_lost) == (2, 3)


# --- errors ---------------------------------------------------------------------------------------

COPY = {"SOURCE": 0x1000, "TARGET": 0x2000, "ROWS": 1, "ROW_BYTES": 64}
TILES = 2  # COPY, TARGET_TILES
GEMM = {"A": 0, "B": 0x1000, "C": 0x2000, "REQUANT": 0x3000, "ROWS": 8, "COLUMNS": 8, "DEPTH": 8}
ROWS8 = {"ROWS": 8, "COLUMNS": 8, "X": 0, "OUT": 0x1000}
SOFTMAX = ROWS8 | {"RECIP": 0x2000, "REQUANT": 0x3000}
NORM = {"X": 0, "AFFINE_A": 0x1000, "OUT_A": 0x2000, "ROWS": 8, "COLUMNS": 8, "SHIFT_A": 9}
NORM |= {"EPSILON_LOW": 1}
WINDOW = {"IN_WIDTH": 8, "IN_HEIGHT": 8, "OUT_WIDTH": 8, "OUT_HEIGHT": 8, "KERNEL_WIDTH": 3}
WINDOW |= {"KERNEL_HEIGHT": 3, "STRIDE_X": 1, "STRIDE_Y": 1}
TOP = 1 << 19

BAD = [
    ("COPY", COPY, {"BATCH": 2}, "SHAPE", 0),
    ("COPY", COPY, {"BATCH": 0}, "SHAPE", 0),
    ("COPY", COPY, {"ROWS": 0}, "SHAPE", 9),
    ("COPY", COPY, {"ROW_BYTES": 0}, "SHAPE", 10),
    ("COPY", COPY, {"FLAGS": 16}, "VALUE", 3),
    ("COPY", COPY, {"ROWS_PARAM": 5}, "VALUE", 2),
    ("COPY", COPY, {"COLUMNS_PARAM": 1}, "VALUE", 2),
    ("COPY", COPY, {"SOURCE": 3 << 30}, "RANGE", 5),
    ("COPY", COPY, {"SOURCE": TOP - 63}, "RANGE", 5),
    ("COPY", COPY, {"TARGET": TOP - 63}, "RANGE", 6),
    ("COPY", COPY, {"TARGET": WEIGHTS}, "RANGE", 6),
    ("COPY", COPY, {"TARGET": STORE + EXTERNAL // 2 - 63}, "RANGE", 6),
    ("COPY", COPY, {"ROWS": 65535, "SOURCE_STRIDE": 2**32 - 1}, "RANGE", 5),
    ("COPY", COPY, {"FLAGS": TILES, "TARGET": 0x2004}, "ALIGNMENT", 6),
    ("COPY", COPY, {"FLAGS": TILES, "TARGET": STORE}, "RANGE", 6),
    ("COPY", COPY, {"FLAGS": TILES, "TARGET_STRIDE": 12}, "ALIGNMENT", 8),
    ("COPY", COPY, {"FLAGS": TILES, "TARGET": TOP - 448}, "RANGE", 6),
    ("COPY", COPY, {"FLAGS": 8}, "SHAPE", 12),
    ("COPY", COPY, {"FLAGS": 9, "INDEX_LIMIT": 1}, "VALUE", 3),
    ("COPY", COPY, {"FLAGS": 8, "INDEX_LIMIT": 1, "INDEX": 2}, "ALIGNMENT", 11),
    ("COPY", COPY, {"FLAGS": 8, "INDEX_LIMIT": 1, "INDEX": TOP}, "RANGE", 11),
    ("GEMM", GEMM, {"ROWS": 0}, "SHAPE", 11),
    ("GEMM", GEMM, {"COLUMNS": 0}, "SHAPE", 11),
    ("GEMM", GEMM, {"DEPTH": 0}, "SHAPE", 12),
    ("GEMM", GEMM, {"A": 4}, "ALIGNMENT", 5),
    ("GEMM", GEMM, {"A": WEIGHTS}, "RANGE", 5),
    ("GEMM", GEMM, {"B": TOP}, "RANGE", 6),
    ("GEMM", GEMM, {"C": TOP - 128, "FLAGS": 16}, "RANGE", 7),
    ("GEMM", GEMM, {"C": TOP - 64, "BATCH": 2, "C_BATCH": 1}, "RANGE", 7),
    ("GEMM", GEMM, {"REQUANT": 32}, "ALIGNMENT", 8),
    ("GEMM", GEMM, {"REQUANT": 4, "FLAGS": 64}, "ALIGNMENT", 8),
    ("GEMM", GEMM, {"RECIP": TOP, "FLAGS": 64}, "RANGE", 15),
    ("GEMM", GEMM, {"DEPTH": 2049, "FLAGS": 1}, "BOUND", 12),
    ("GEMM", GEMM, {"DEPTH": 65529}, "BOUND", 12),
    ("GEMM", GEMM, {"DEPTH": 8193, "FLAGS": 64}, "BOUND", 12),
    ("GEMM", GEMM, {"FLAGS": 3}, "VALUE", 3),
    ("GEMM", GEMM, {"FLAGS": 24}, "VALUE", 3),
    ("GEMM", GEMM, {"FLAGS": 512}, "VALUE", 3),
    ("GEMM", GEMM, {"FLAGS": 32}, "VALUE", 3),  # no table
    ("GEMM", GEMM, {"FLAGS": 128, "ROWS": 0}, "VALUE", 3),  # no window
    ("GEMM", GEMM, {"CLAMP_LOW": 5, "CLAMP_HIGH": 4}, "VALUE", 4),
    ("GEMM", GEMM, {"CLAMP_HIGH": 128}, "VALUE", 4),
    ("GEOMETRY", WINDOW, {"OUT_WIDTH": 0}, "SHAPE", 4),
    ("GEOMETRY", WINDOW, {"KERNEL_WIDTH": 16}, "VALUE", 5),
    ("GEOMETRY", WINDOW, {"STRIDE_Y": 3}, "VALUE", 5),
    ("GEOMETRY", WINDOW, {"PAD_LEFT": 3}, "VALUE", 6),
    ("BLOCK_TABLE", {}, {"FLAGS": 2}, "VALUE", 3),
    ("BLOCK_TABLE", {}, {"FLAGS": 1, "A": TOP - 1024}, "RANGE", 5),
    ("NORM", NORM, {"COLUMNS": 4097}, "SHAPE", 12),
    ("NORM", NORM, {"SHIFT_A": 0}, "VALUE", 12),
    ("NORM", NORM, {"FLAGS": 2}, "VALUE", 12),
    ("NORM", NORM, {"EPSILON_LOW": 0}, "VALUE", 10),
    ("NORM", NORM, {"EPSILON_HIGH": 1 << 22}, "VALUE", 11),
    ("NORM", NORM, {"ZERO_A": 32769}, "VALUE", 13),
    ("ADD", ROWS8 | {"SHIFT": 1}, {"MULTIPLIER_Y": 16385}, "VALUE", 8),
    ("ADD", ROWS8 | {"SHIFT": 1}, {"SHIFT": 30}, "VALUE", 9),
    ("ADD", ROWS8 | {"SHIFT": 1}, {"Y": TOP - 64}, "RANGE", 6),
    ("MUL", ROWS8 | {"SHIFT": 1}, {"MULTIPLIER": 32768}, "VALUE", 8),
    ("MUL", ROWS8 | {"SHIFT": 1}, {"ZERO_Y": -32769}, "VALUE", 13),
    ("SOFTMAX", SOFTMAX, {"COLUMNS": 8193}, "SHAPE", 10),
    ("SOFTMAX", SOFTMAX, {"X": TOP - 192}, "RANGE", 5),
    ("SOFTMAX", SOFTMAX, {"REQUANT": 4}, "ALIGNMENT", 9),
    ("SOFTMAX", SOFTMAX, {"FLAGS": 1, "MASK": 8}, "ALIGNMENT", 6),
    ("LOOKUP", ROWS8 | {"SHIFT": 1}, {}, "VALUE", 3),  # no table
    ("LOOKUP", ROWS8 | {"SHIFT": 1}, {"FLAGS": 2}, "VALUE", 3),
    ("POOL", ROWS8 | {"SHIFT": 1}, {"SHIFT": 47}, "VALUE", 9),
    ("EMBED", ROWS8 | {"SHIFT": 1}, {"SHIFT": 0}, "VALUE", 3),
    ("EMBED", ROWS8 | {"SHIFT": 1}, {"FLAGS": 1}, "SHAPE", 10),
    ("VECTOR_TABLE", {}, {"X": 1}, "ALIGNMENT", 5),
    ("TRANSPOSE", ROWS8, {"COLUMNS": 0}, "SHAPE", 10),
    ("TRANSPOSE", ROWS8 | {"COLUMNS": 9}, {"OUT": TOP - 64, "OUT_ROW": 1}, "RANGE", 7),
]


@pytest.mark.parametrize(("name", "good", "change", "cause", "info"), BAD)
def test_a_bad_descriptor_is_refused(name, good, change, cause, info):
    chip = make_chip()
    before = chip.read_sram(0, PROGRAM)
    give(chip, NOP, encode(name, TAG=9, **good | change), LOCAL)
    chip.step(2000)
    assert chip.read(STATUS) == FAILED
    code, engine, _ = COMMANDS[name]
    assert error_of(chip) == (cause, engine, code, info)
    assert (chip.read(ERROR_COMMAND), chip.read(ERROR_TAG)) == (1, 9)
    assert chip.read_sram(0, PROGRAM) == before
    assert chip.totals.commands == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (np.full(16, 0x55, np.uint32), 0x55),
        (encode("COPY", **COPY) | np.eye(16, dtype=np.uint32)[15], 0x10),
        (encode("NOP") | np.eye(16, dtype=np.uint32)[3], 2),
    ],
)
def test_an_unknown_code_or_a_reserved_bit(words, code):
    chip = make_chip()
    give(chip, words)
    chip.step(100)
    engine = {0x10: "DMA"}.get(code, "CONTROL")
    assert error_of(chip) == ("CODE", engine, code, code)


def test_the_window_is_part_of_the_check():
    chip = make_chip()
    conv = GEMM | {"ROWS": 0, "FLAGS": int(GemmFlag.CONV)}
    give(chip, encode("GEOMETRY", **WINDOW), encode("GEMM", **conv | {"A": TOP - 64, "A_ROW": 1}))
    chip.step(500)
    assert error_of(chip) == ("RANGE", "BLOCK", Code.GEMM, 5)
    chip.write(CONTROL, ENABLE | SOFT_RESET)
    deep = conv | {"DEPTH": 65528}
    give(chip, encode("GEOMETRY", **WINDOW), encode("GEMM", **deep))
    chip.step(500)
    assert error_of(chip) == ("BOUND", "BLOCK", Code.GEMM, 12)


@pytest.mark.parametrize(
    ("register", "value", "cause", "info"),
    [
        (TAIL, 65, "OVERRUN", 65),
        (TAIL, 2**32 - 1, "OVERRUN", 2**32 - 1),
        (BASE, PROGRAM + 32, "QUEUE", PROGRAM + 32),
        (BASE, TOP - 64 * 63, "QUEUE", TOP - 64 * 63),
        (BASE, 3 << 30, "QUEUE", 3 << 30),
        (SIZE, 0, "QUEUE", PROGRAM),
    ],
)
def test_a_queue_that_is_unusable(register, value, cause, info):
    chip = make_chip()
    chip.write(register, value)
    if register != TAIL:
        chip.write(TAIL, 1)
    chip.step(10)
    assert chip.read(STATUS) == FAILED
    assert error_of(chip) == (cause, "CONTROL", 0, info)


def test_an_error_stops_everything_and_a_soft_reset_starts_anew():
    chip = make_chip()
    chip.write(IRQ_ENABLE, FAILED_IRQ)
    slow = encode("COPY", SOURCE=WEIGHTS, TARGET=0, ROWS=1, ROW_BYTES=4096)
    give(chip, slow, np.zeros(16, np.uint32), LOCAL)
    chip.step(200)
    assert chip.queue_irq
    assert chip.read(STATUS) == FAILED  # the copy does not go on
    busy = chip.totals.busy["dma"], chip.totals.ext_busy
    chip.write(TAIL, 4)
    chip.step(5000)
    assert (chip.totals.busy["dma"], chip.totals.ext_busy) == busy
    assert chip.read(COUNTERS + 0xC) == 0
    chip.write(CONTROL, ENABLE | SOFT_RESET)
    assert not chip.queue_irq
    assert [chip.read(each) for each in (STATUS, ERROR, HEAD, TAIL)] == [IDLE, 0, 0, 0]
    start = give(chip, LOCAL)
    finish(chip)
    assert chip.events[-1].completed == start + 7 + LOCAL_CLOCKS
    assert chip.read_sram(0x1000, 64) == chip.read_sram(0x2040, 64)


@pytest.mark.parametrize("clocks", [*range(0, 60, 3), 300])
def test_a_soft_reset_at_any_time(clocks):
    chip = make_chip()
    chip.write_sram(0x1000, bytes(range(64)))
    both = encode("COPY", SOURCE=WEIGHTS, TARGET=0, ROWS=1, ROW_BYTES=4096)
    give(chip, encode("BLOCK_TABLE", A=0x8000), both, LOCAL, encode("VECTOR_TABLE", X=0x8000))
    chip.step(clocks)
    chip.write(CONTROL, ENABLE | SOFT_RESET)
    assert chip.read(STATUS) == IDLE
    start = give(chip, LOCAL)
    finish(chip, 40)
    assert chip.events[-1].completed == start + 7 + LOCAL_CLOCKS
    assert chip.read_sram(0x2040, 64) == bytes(range(64))


# --- faults and the watchdog ----------------------------------------------------------------------


def test_a_command_that_hangs():
    chip = make_chip()
    chip.faults = ChipFaults(hang_command=2)
    give(chip, LOCAL, LOCAL, LOCAL)
    chip.step(100_000)
    assert chip.read(STATUS) == DMA_BUSY
    chip.write(CONTROL, ENABLE | SOFT_RESET)
    give(chip, LOCAL)
    finish(chip)


def test_the_watchdog_finds_it():
    chip = make_chip()
    chip.faults = ChipFaults(hang_command=2)
    chip.write(WATCHDOG, 500)
    give(chip, LOCAL, LOCAL)
    chip.step(1000)
    assert error_of(chip) == ("WATCHDOG", "DMA", Code.COPY, 500)
    assert chip.read(ERROR_COMMAND) == 1


@pytest.mark.parametrize("limit", [LOCAL_CLOCKS - 1, LOCAL_CLOCKS])
def test_a_command_may_take_as_long_as_the_watchdog_says(limit):
    chip = make_chip()
    chip.write(WATCHDOG, limit)
    give(chip, LOCAL)
    chip.step(100)
    assert chip.read(STATUS) == (IDLE if limit == LOCAL_CLOCKS else FAILED)


def test_the_watchdog_finds_a_wait_that_never_ends():
    chip = make_chip()
    chip.write(WATCHDOG, 300)
    give(chip, LOCAL, encode("VECTOR_TABLE", X=0, WAIT_ON=1, WAIT_DMA=2))
    chip.step(1000)
    assert error_of(chip) == ("WATCHDOG", "VECTOR", Code.VECTOR_TABLE, 300)


def test_a_burst_that_ends_with_an_error():
    chip = make_chip()
    chip.faults = ChipFaults(external_error=2)
    give(chip, encode("COPY", SOURCE=WEIGHTS + 64, TARGET=0, ROWS=1, ROW_BYTES=8192))
    chip.step(5000)
    assert error_of(chip) == ("EXTERNAL", "DMA", Code.COPY, 64 + 4096)


def test_a_fetch_that_ends_with_an_error():
    chip = make_chip()
    chip.faults = ChipFaults(external_error=1)
    chip.write(BASE, STORE + 128)
    chip.write(SIZE, 1)
    chip.write(TAIL, 1)
    chip.step(100)
    assert error_of(chip) == ("EXTERNAL", "CONTROL", 0, EXTERNAL // 2 + 128)


def test_a_descriptor_that_arrives_changed():
    chip = make_chip()
    chip.faults = ChipFaults(change_command=2, change_word=10, change_mask=64)
    give(chip, LOCAL, LOCAL)
    chip.step(100)
    assert error_of(chip) == ("SHAPE", "DMA", Code.COPY, 10)
    assert chip.read(ERROR_COMMAND) == 1


def test_a_doorbell_that_is_lost():
    chip = make_chip()
    chip.faults = ChipFaults(lose_doorbell_at=1)
    give(chip, LOCAL)
    finish(chip)
    assert (chip.read(HEAD), chip.read(TAIL)) == (0, 0)
    give(chip, LOCAL)
    finish(chip)
    assert chip.read(HEAD) == 1


def test_run_tells_the_error():
    chip = make_chip()
    with pytest.raises(ChipError, match="word 10"):
        chip.run(encode("COPY", SOURCE=0, TARGET=64, ROWS=1))
