"""The CS2 driver on a bus of Python functions: order of writes, every end, failing transfers."""

from __future__ import annotations

import ctypes
from typing import ClassVar

import pytest

from building import build
from test_cs1_driver import READ, WRITE, Bus

OK, BUS_ERROR, NOT_CS2, TIMEOUT, EARLY, FAILED = range(6)
BASE = 0x1000_0000
ID, VERSION, SRAM_BYTES, CONTROL, STATUS = 0x600, 0x604, 0x60C, 0x610, 0x614
ERROR, COMMAND, INFO, TAG = 0x620, 0x624, 0x628, 0x62C
QUEUE_BASE, QUEUE_SIZE, HEAD, TAIL = 0x630, 0x634, 0x638, 0x63C
PARAM, WATCHDOG = 0x650, 0x660
ENABLE, SOFT_RESET = 1, 2
IDLE, HAS_FAILED = 1, 2


class Driver(ctypes.Structure):
    _fields_: ClassVar = [
        ("bus", ctypes.POINTER(Bus)),
        *((name, ctypes.c_uint32) for name in ("base", "poll_limit", "watchdog")),
        *((name, ctypes.c_uint32) for name in ("id", "version", "sram_bytes")),
    ]


class Program(ctypes.Structure):
    _fields_: ClassVar = [
        (name, ctypes.c_uint32)
        for name in (
            *("weights", "weights_bytes", "store", "store_bytes"),
            *("commands", "command_count", "length"),
        )
    ]


class Failure(ctypes.Structure):
    _fields_: ClassVar = [(name, ctypes.c_uint32) for name in ("cause", "command", "info", "tag")]


PROGRAM = Program(640, 6400, 12800, 64, 6000, 7, 33)


class Chip:
    """Registers that answer as a script says; transfers are noted and may fail."""

    def __init__(self, fail_at: int | None = None, **script: object) -> None:
        self.values = {ID: 0x325343, VERSION: 0x10000, SRAM_BYTES: 524288, STATUS: 1, HEAD: 7}
        self.values |= {int(name.lstrip("r"), 16): value for name, value in script.items()}
        self.polls_until_end = 3
        self.end = IDLE
        self.written: list[tuple[int, int]] = []
        self.transfers = 0
        self.polls = 0
        self.fail_at = fail_at

    def passes(self) -> bool:
        self.transfers += 1
        return self.transfers != self.fail_at

    def read(self, ctx: object, address: int, value: object) -> int:
        offset = address - BASE
        shown = self.values.get(offset, 0)
        if offset == STATUS:
            self.polls += 1
            shown = self.end if self.polls > self.polls_until_end else 4
        value[0] = shown
        return int(not self.passes())

    def write(self, ctx: object, address: int, value: int) -> int:
        self.written.append((address - BASE, value))
        return int(not self.passes())


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = build("plain-tests", "cs2_bench", tmp_path_factory.mktemp("cs2"))
    return ctypes.CDLL(str(folder / "tests/c/libcs2_bench.so"))


class Bench:
    def __init__(self, library: ctypes.CDLL, chip: Chip) -> None:
        self.library, self.chip = library, chip
        self.bus = Bus(None, READ(chip.read), WRITE(chip.write))
        self.driver, self.failure = Driver(), Failure()

    def init(self) -> int:
        bus = ctypes.byref(self.bus)
        return self.library.csc_cs2_init(ctypes.byref(self.driver), bus, ctypes.c_uint32(BASE))

    def run(self, program: Program = PROGRAM) -> int:
        arguments = (self.driver, program, self.failure)
        return self.library.csc_cs2_run(*map(ctypes.byref, arguments))


def started(library: ctypes.CDLL, **options: object) -> Bench:
    bench = Bench(library, Chip(**options))
    assert bench.init() == OK
    return bench


def test_identification(library: ctypes.CDLL) -> None:
    driver = started(library).driver
    assert (driver.id, driver.version, driver.sram_bytes) == (0x325343, 0x10000, 524288)
    assert driver.poll_limit > 0 and driver.watchdog > 0


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ({"r604": 0x10005}, OK),  # a later minor version
        ({"r604": 0x20000}, NOT_CS2),
        ({"r604": 0}, NOT_CS2),
        ({"r600": 0x335343}, NOT_CS2),
        ({"r600": 0}, NOT_CS2),  # a CS1, or nothing
    ],
)
def test_other_chips(library: ctypes.CDLL, script: dict[str, int], status: int) -> None:
    assert Bench(library, Chip(**script)).init() == status


@pytest.mark.parametrize("fail_at", [1, 2, 3])
def test_init_on_a_bad_bus(library: ctypes.CDLL, fail_at: int) -> None:
    assert Bench(library, Chip(fail_at=fail_at)).init() == BUS_ERROR


def test_a_run(library: ctypes.CDLL) -> None:
    bench = started(library)
    bench.driver.watchdog = 999
    assert bench.run() == OK
    written = bench.chip.written
    assert written[0] == (CONTROL, SOFT_RESET)
    assert written[-3:] == [(CONTROL, ENABLE), (TAIL, 7), (CONTROL, SOFT_RESET)]
    assert dict(written[:-3]) == {
        CONTROL: SOFT_RESET,
        0x618: 3,
        0x61C: 0,
        0x640: 640,
        0x644: 6400,
        0x648: 12800,
        0x64C: 64,
        PARAM: 33,
        PARAM + 4: 0,
        PARAM + 8: 0,
        PARAM + 12: 0,
        WATCHDOG: 999,
        QUEUE_BASE: 1 << 30 | 6000,
        QUEUE_SIZE: 7,
    }


def test_a_failed_command(library: ctypes.CDLL) -> None:
    bench = started(library, r620=0x300209, r624=5, r628=1234, r62C=17)
    bench.chip.end = HAS_FAILED
    assert bench.run() == FAILED
    failure = bench.failure
    assert (failure.cause, failure.command, failure.info, failure.tag) == (9, 5, 1234, 17)
    assert bench.chip.written[-1] == (CONTROL, SOFT_RESET)


def test_failed_counts_more_than_idle(library: ctypes.CDLL) -> None:
    bench = started(library, r620=7)
    bench.chip.end = HAS_FAILED | IDLE
    assert bench.run() == FAILED


def test_a_silent_chip(library: ctypes.CDLL) -> None:
    bench = started(library)
    bench.chip.polls_until_end = 10**9
    bench.driver.poll_limit = 50
    assert bench.run() == TIMEOUT
    assert bench.chip.polls == 50
    assert bench.chip.written[-1] == (CONTROL, SOFT_RESET)


@pytest.mark.parametrize("head", [0, 6, 8])
def test_idle_without_all_commands(library: ctypes.CDLL, head: int) -> None:
    bench = started(library, r638=head)
    assert bench.run() == EARLY
    assert bench.chip.written[-1] == (CONTROL, SOFT_RESET)


@pytest.mark.parametrize("end", [IDLE, HAS_FAILED])
def test_every_transfer_may_fail(library: ctypes.CDLL, end: int) -> None:
    """Wherever the bus fails, the run says so, and the last transfer tried is a soft reset."""
    whole = started(library)
    whole.chip.end = end
    whole.run()
    for fail_at in range(4, whole.chip.transfers + 1):
        bench = started(library, fail_at=fail_at)
        bench.chip.end = end
        status = bench.run()
        is_last = fail_at == whole.chip.transfers
        assert status == (FAILED if is_last and end == HAS_FAILED else BUS_ERROR), fail_at
        assert bench.chip.written[-1] == (CONTROL, SOFT_RESET)
