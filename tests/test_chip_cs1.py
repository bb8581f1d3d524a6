"""The CS1 block engine against the recorded hardware, its description and an independent model."""

from __future__ import annotations

import csv
import doctest
import json
import random
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

import csc.chip
from cs1_reference import ReferenceEngine
from csc.chip import Chip

CHIPS = ("cs1", "cs2")  # CS2 has all registers of CS1
VECTORS = Path(__file__).parent / "vectors" / "cs1"
CTRL, STATUS, SIZE, PERF = 0x000, 0x004, 0x01C, 0x028
A, B, C = 0x100, 0x300, 0x500
WORD = 2**32
START_CLOCK = 2 * 64 + 1  # number of the clock in which `start` writes CTRL
NEVER_FINISHING = (0, 17, 18, 32, 255, 2**31, WORD - 1)


@pytest.fixture(autouse=True, params=CHIPS)
def chip_name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test here runs on every chip."""
    monkeypatch.setattr(sys.modules[__name__], "current_chip", request.param)
    return request.param


current_chip = "cs1"


def new_chip() -> Chip:
    return Chip(current_chip)


def own_offsets() -> range:
    """The offsets that mean the same on every chip."""
    return range(0x1000 if current_chip == "cs1" else 0x600)


def load_csv(name: str) -> list[dict[str, str]]:
    with (VECTORS / name).open(newline="") as file:
        return list(csv.DictReader(file))


def group_rows(rows: list[dict[str, str]], *keys: str) -> dict[tuple[int, ...], list[dict]]:
    groups = defaultdict(list)
    for row in rows:
        groups[tuple(int(row[key]) for key in keys)].append(row)
    return dict(groups)


TIMELINE = group_rows(load_csv("accel_timeline.csv"), "matrix_size")
COMMITS = group_rows(load_csv("accel_c_commit.csv"), "matrix_size")
SEQUENCES = json.loads((VECTORS / "accel_vectors.json").read_text())["sequences"]


def fill(chip: Chip, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Write random 32-bit operands into all of A and B and return them."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(1, WORD, (2, 8, 8), dtype=np.uint64)
    for place in range(64):
        chip.write(A + 4 * place, int(a.flat[place]))
        chip.write(B + 4 * place, int(b.flat[place]))
    return a, b


def read_window(chip: Chip, base: int = C) -> np.ndarray:
    return np.array([chip.read(base + 4 * n) for n in range(64)], np.uint64).reshape(8, 8)


def start(size: int, seed: int = 1) -> tuple[Chip, np.ndarray, np.ndarray]:
    """Return a chip whose current clock is clock 1 of a run of the given size."""
    chip = new_chip()
    a, b = fill(chip, seed)
    chip.write(SIZE, size)
    assert chip.clock == START_CLOCK
    chip.write(CTRL, 1)
    return chip, a, b


def go_to(chip: Chip, clock: int, origin: int) -> None:
    """Pass idle clocks until `clock`, counted from the clock numbered `origin`."""
    assert chip.clock - origin <= clock
    chip.step(clock - (chip.clock - origin))


# --- the recorded hardware ------------------------------------------------------------------------


class SteppedChip:
    """Runs recorded ops one clock at a time and notes the clocks with the interrupt high."""

    def __init__(self) -> None:
        self.chip, self.irq = new_chip(), []

    def note(self) -> None:
        if self.chip.irq:
            self.irq.append(self.chip.clock)

    def run(self, kind: str, argument: int, value: int | None = None) -> int | None:
        if kind in "rw":
            self.note()
            if kind == "r":
                return self.chip.read(argument)
            self.chip.write(argument, value)
        for _ in range(argument if kind in "xs" else 0):
            if kind == "s" or self.chip.clock:
                self.note()
            self.chip.step() if kind == "s" else self.chip.reset()
        return None


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: f"{s['id']}-{s['cat']}")
def test_recorded_sequence_clock_by_clock(sequence: dict) -> None:
    stepped = SteppedChip()
    for position, (kind, *arguments) in enumerate(sequence["ops"]):
        if kind == "x" and position == 0:
            stepped.chip.reset(*arguments)
            continue
        got = stepped.run(kind, *arguments)
        if kind == "r" and arguments[1] is not None:
            assert got == arguments[1], (position, kind, arguments)
    assert stepped.irq == sequence["irq"]


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: f"{s['id']}-{s['cat']}")
def test_recorded_sequence_in_whole_steps(sequence: dict) -> None:
    chip = new_chip()
    act = {"x": chip.reset, "w": chip.write, "s": chip.step}
    clock = 0
    for position, (kind, *arguments) in enumerate(sequence["ops"]):
        assert (chip.clock in sequence["irq"]) == chip.irq
        if kind == "r":
            got = chip.read(arguments[0])
            assert arguments[1] in (None, got), (position, arguments, got)
        else:
            act[kind](*arguments)
        clock += arguments[0] if kind in "xs" and position else position and 1
        assert chip.clock == clock


@pytest.mark.parametrize("size", [key[0] for key in TIMELINE])
@pytest.mark.parametrize("register", [(CTRL, "ctrl"), (STATUS, "status"), (PERF, "perf_cycles")])
def test_timeline_row(size: int, register: tuple[int, str]) -> None:
    offset, column = register
    rows = TIMELINE[size,]
    chip = new_chip()
    chip.write(SIZE, size)
    origin = 0
    for row in rows:
        clock = int(row["clock"])
        if clock == 0:  # a run starts in this clock, so another chip has to read
            origin = chip.clock
            check_before_start(size, rows, row, register)
            assert chip.irq == int(row["irq"])
            chip.write(CTRL, 1)
            continue
        go_to(chip, clock, origin)
        assert chip.irq == int(row["irq"]), row
        assert chip.read(offset) == int(row[column]), row


def check_before_start(size: int, rows: list, row: dict, register: tuple[int, str]) -> None:
    chip = new_chip()
    chip.write(SIZE, size)
    if row["run"] == "2":
        chip.write(CTRL, 1)
        chip.step(max(int(each["clock"]) for each in rows if each["run"] == "1"))
    assert chip.read(register[0]) == int(row[register[1]])


@pytest.mark.parametrize("size", [key[0] for key in COMMITS])
def test_c_commit_row(size: int) -> None:
    for row in COMMITS[size,]:
        offset, first = int(row["c_offset"], 16), int(row["first_clock_readable"])
        assert first == 2 + size * (int(row["element_order"]) + 1)
        for clock, is_readable in ((first - 1, False), (first, True)):
            chip, a, b = start(size)
            chip.step(clock - 1)
            i, j = int(row["row"]), int(row["col"])
            product = int((a[i, :size] * b[:size, j] % WORD).sum()) % WORD
            assert chip.read(offset) == (product if is_readable else 0), row


def test_the_recorded_data_is_complete() -> None:
    rows = sum(len(group) for group in TIMELINE.values())
    commits = sum(len(group) for group in COMMITS.values())
    assert (len(SEQUENCES), rows, commits) == (122, 3013, 204)


# --- section 2.1: registers -----------------------------------------------------------------------


def test_reset_values() -> None:
    chip = new_chip()
    assert [chip.read(each) for each in (CTRL, STATUS, SIZE, PERF)] == [0, 0, 8, 0]
    chip, _, _ = start(9)
    chip.step(100)
    chip.reset()
    assert [chip.read(each) for each in (CTRL, STATUS, SIZE, PERF)] == [0, 0, 8, 0]


def test_ctrl_and_size_store_all_bits() -> None:
    chip = new_chip()
    for value in (0xFFFF_FFFE, 0xA5A5_5A5A, 2, 0):
        chip.write(CTRL, value)
        assert chip.read(CTRL) == value
        chip.write(SIZE, value)
        assert chip.read(SIZE) == value


def test_every_offset_reads_what_the_table_says() -> None:
    chip, a, b = start(8)
    chip.step(600)
    result = a @ b % WORD
    for offset in own_offsets():
        if 0x500 <= offset < 0x600:
            expected = int(result.flat[(offset - 0x500) // 4])  # the low two bits are ignored
        else:
            expected = {SIZE: 8, PERF: 512}.get(offset, 0)
        assert chip.read(offset) == expected, hex(offset)


def test_writes_that_do_nothing() -> None:
    chip, a, b = start(8)
    chip.step(600)
    writable = {CTRL, SIZE, *range(0x100, 0x200), *range(0x300, 0x400)}
    for offset in set(own_offsets()) - writable:
        chip.write(offset, 0x5A5A_5A5B)
    assert [chip.read(each) for each in (CTRL, STATUS, SIZE, PERF)] == [0, 0, 8, 512]
    np.testing.assert_array_equal(read_window(chip), a @ b % WORD)
    chip.write(CTRL, 1)  # A and B are still the same
    chip.step(600)
    np.testing.assert_array_equal(read_window(chip), a @ b % WORD)


@pytest.mark.parametrize("upper", [0x1000, 0x1000_0000, 0xFFFF_F000])
def test_address_bits_above_11_are_ignored(upper: int) -> None:
    chip = new_chip()
    for offset, value in ((SIZE, 1), (A, 3), (B, 5), (CTRL, 1)):
        chip.write(upper + offset, value)
    chip.step(10)
    assert [chip.read(upper + each) for each in (SIZE, PERF, C)] == [1, 1, 15]


def test_windows_ignore_the_low_two_address_bits_when_written() -> None:
    chip = new_chip()
    chip.write(SIZE, 1)
    chip.write(A + 3, 3)
    chip.write(B + 1, 5)
    chip.write(SIZE + 1, 7)  # the registers need an exact match
    chip.write(CTRL + 2, 1)
    chip.write(CTRL, 1)
    chip.step(10)
    assert [chip.read(each) for each in (SIZE, PERF, C + 2)] == [1, 1, 15]


@pytest.mark.parametrize("clocks", [1, 5])
def test_reset_keeps_the_windows(clocks: int) -> None:
    chip, a, b = start(8)
    chip.step(600)
    before = chip.clock
    chip.reset(clocks)
    assert chip.clock == before + clocks
    np.testing.assert_array_equal(read_window(chip), a @ b % WORD)
    chip.write(CTRL, 1)
    chip.step(600)
    np.testing.assert_array_equal(read_window(chip), a @ b % WORD)


# --- section 2.2: arithmetic ----------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, 9))
def test_product_modulo_2_to_32(size: int) -> None:
    chip, a, b = start(size, seed=size)
    chip.step(600)
    expected = np.zeros((8, 8), np.uint64)
    expected[:size, :size] = a[:size, :size] @ b[:size, :size] % WORD
    np.testing.assert_array_equal(read_window(chip), expected)


def test_signed_bytes_give_exact_products() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.integers(-128, 128, (2, 8, 8))
    chip = new_chip()
    for place in range(64):
        chip.write(A + 4 * place, int(a.flat[place]))
        chip.write(B + 4 * place, int(b.flat[place]))
    chip.write(CTRL, 1)
    chip.step(600)
    np.testing.assert_array_equal(read_window(chip).astype(np.uint32).astype(np.int32), a @ b)


# --- section 2.3: timing --------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, 17))
def test_every_clock_of_a_run(size: int) -> None:
    multiplies = size**3
    for offset in (CTRL, STATUS, PERF):
        chip = new_chip()
        chip.write(SIZE, size)
        chip.write(CTRL, 0xFF01)
        for clock in range(1, multiplies + 8):
            expected = {
                CTRL: 0xFF01 if clock <= multiplies + 2 else 0,
                STATUS: 2 if clock == multiplies + 3 else int(3 <= clock <= multiplies + 2),
                PERF: min(max(clock - 2, 0), multiplies),
            }
            assert chip.irq == (clock == multiplies + 2)
            assert chip.read(offset) == expected[offset], clock


@pytest.mark.parametrize("size", range(1, 9))
def test_shortest_distance_between_starts(size: int) -> None:
    run = size**3 + 2
    for distance in {*range(1, 6), *range(max(run - 4, 1), run + 5)}:
        chip, _, _ = start(size)
        interrupts = []
        for clock in range(1, 2 * run + 10):
            if chip.irq:
                interrupts.append(clock)
            if clock == distance:
                chip.write(CTRL, 1)
            else:
                chip.step()
        assert interrupts == ([run] if distance < run else [run, distance + run])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_multiply_uses_the_operands_of_its_clock(size: int) -> None:
    for m in range(size**3):
        i, j, k = m // size**2, m // size % size, m % size
        for clock, is_seen in ((1 + m, True), (2 + m, False)):
            for base, row, column in ((A, i, k), (B, k, j)):
                chip, a, b = start(size)
                chip.step(clock - 1)
                chip.write(base + 32 * row + 4 * column, 0)
                chip.step(size**3 + 4)
                terms = [int(a[i, n]) * int(b[n, j]) for n in range(size)]
                terms[k] *= 0 if is_seen else 1
                assert chip.read(C + 32 * i + 4 * j) == sum(terms) % WORD


# --- section 2.4: quirks --------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, 9))
def test_polling_status_usually_misses_the_end(size: int) -> None:
    ended = 0
    for first in range(5, 18):  # a published-style loop reads STATUS every 13 clocks
        chip = new_chip()
        chip.write(SIZE, size)
        chip.write(CTRL, 1)
        chip.step(first - 1)
        seen = []
        for _ in range(size**3 // 13 + 10):
            seen.append(chip.read(STATUS))
            chip.step(12)
        ended += 2 in seen
    assert ended == (0 if size == 1 else 1)


@pytest.mark.parametrize("value", [2, 0xFFFF_FFFE, 0x100])
def test_ctrl_without_bit_0_starts_nothing(value: int) -> None:
    chip = new_chip()
    chip.write(CTRL, value)
    for _ in range(20):
        assert (chip.read(STATUS), chip.read(CTRL), chip.read(PERF)) == (0, value, 0)


@pytest.mark.parametrize("value", [0, 1, 0xFFFF_FFFE, 0xFFFF_FFFF])
@pytest.mark.parametrize("written", range(1, 14))
def test_ctrl_writes_during_a_run(value: int, written: int) -> None:
    run = 2**3 + 2  # the clock of the interrupt, and the first one that takes a new start
    chip, a, b = start(2)
    restarts = written >= run and value & 1
    cleared = written + run if restarts else run if written < run else 100
    interrupts = []
    for clock in range(1, 40):
        if chip.irq:
            interrupts.append(clock)
        if clock == written:
            chip.write(CTRL, value)
        elif clock < written:
            assert chip.read(CTRL) == (1 if clock <= run else 0)
        else:
            assert chip.read(CTRL) == (value if clock <= cleared else 0), clock
    assert interrupts == ([run, written + run] if restarts else [run])
    np.testing.assert_array_equal(read_window(chip)[:2, :2], a[:2, :2] @ b[:2, :2] % WORD)


@pytest.mark.parametrize("size", range(9, 17))
def test_sizes_9_to_16_wrap_their_addresses(size: int) -> None:
    chip, a, b = start(size)
    chip.step(size**3 + 1)
    assert chip.irq
    chip.step(2)
    flat_a, flat_b = a.ravel().tolist(), b.ravel().tolist()
    expected = [0] * 64
    for i in range(size):
        for j in range(size):
            expected[(8 * (i % 8) + j) % 64] = sum(
                flat_a[(8 * (i % 8) + k) % 64] * flat_b[(8 * (k % 8) + j) % 64] for k in range(size)
            )
    assert read_window(chip).ravel().tolist() == [each % WORD for each in expected]
    assert chip.read(PERF) == size**3


@pytest.mark.parametrize("size", NEVER_FINISHING)
def test_sizes_that_never_finish(size: int) -> None:
    chip, _, _ = start(size)
    chip.step(99_999)
    chip.write(CTRL, 0)  # does not help
    for step in (0, 1, 15, 16, 17, 100_000_000):
        chip.step(step)
        assert chip.irq == 0
        assert chip.read(STATUS) == 1
        assert chip.read(PERF) == chip.clock - 1 - START_CLOCK - 2
    assert not read_window(chip).any()


@pytest.mark.parametrize("size", NEVER_FINISHING)
@pytest.mark.parametrize("wait", [0, 1, 14, 15, 16, 40, 1_000_000])
@pytest.mark.parametrize("new_size", [1, 2, 8, 16])
def test_a_new_size_ends_an_endless_run(size: int, wait: int, new_size: int) -> None:
    chip, a, b = start(size)
    chip.step(wait + 1)
    chip.write(SIZE, new_size)  # in clock 2 + wait, together with multiply number `wait`
    done = wait + 1  # multiplies with the old size; k counts them modulo 16
    k = done % 16
    first_element = max(new_size - k, 1)
    rest = (new_size**2 - 1) * new_size
    chip.step(first_element + rest - 1)
    assert chip.irq == 0
    chip.step(1)
    assert chip.irq == 1
    chip.step(2)
    assert chip.read(PERF) == done + first_element + rest
    if new_size == 1:  # nothing overwrites C(0,0): the sum has run over all products so far
        flat_a, flat_b = a.ravel().tolist(), b.ravel().tolist()
        products = [flat_a[n] * flat_b[8 * n % 64] for n in range(16)]
        turns, left = divmod(done, 16)
        total = turns * sum(products) + sum(products[:left]) + products[k]
        assert chip.read(C) == total % WORD


@pytest.mark.parametrize("sizes", [(3, 2), (3, 1), (2, 4), (4, 3), (8, 1)])
def test_size_changes_take_effect_in_the_next_clock(sizes: tuple[int, int]) -> None:
    for clock in range(2, sizes[0] ** 3 + 2):
        check_size_change(*sizes, clock)


def check_size_change(old: int, new: int, clock: int) -> None:
    chip, a, b = start(old)
    chip.step(clock - 1)
    chip.write(SIZE, new)
    seen = np.zeros((8, 8), object)
    i = j = k = total = m = 0
    while True:  # the loop nest with a limit that changes after multiply number clock - 2
        limit = old if m <= clock - 2 else new
        total += int(a[i, k]) * int(b[k, j])
        m += 1
        k += 1
        if k < limit:
            continue
        seen[i, j], total, k = total % WORD, 0, 0
        j += 1
        if j < limit:
            continue
        j, i = 0, i + 1
        if i >= limit:
            break
    chip.step(m + 2 - (chip.clock - START_CLOCK))
    assert chip.irq == 1
    chip.step(2)
    assert read_window(chip).tolist() == seen.tolist()
    assert chip.read(PERF) == m


def test_reading_has_no_side_effects() -> None:
    chip, a, b = start(8)
    rng = random.Random(5)
    for _ in range(513):
        chip.read(rng.choice([CTRL, STATUS, SIZE, PERF, A, B, C, C + 4 * rng.randrange(64)]))
    assert chip.irq == 1
    chip.step(3)
    np.testing.assert_array_equal(read_window(chip), a @ b % WORD)


@pytest.mark.parametrize("clock", [1, 2, 3, 10, 41, 100, 513, 514, 515])
def test_reset_stops_a_run_and_keeps_what_is_stored(clock: int) -> None:
    chip, a, b = start(8)
    chip.step(clock - 1)
    chip.reset()
    assert chip.irq == 0
    chip.step(600)
    assert [chip.read(each) for each in (CTRL, STATUS, SIZE, PERF)] == [0, 0, 8, 0]
    stored = [2 + 8 * (q + 1) <= clock for q in range(64)]  # a multiply under reset is not stored
    expected = np.where(np.reshape(stored, (8, 8)), a @ b % WORD, 0)
    np.testing.assert_array_equal(read_window(chip), expected)


# --- random sequences against the independent model -----------------------------------------------


def random_offset(rng: random.Random) -> int:
    offset = rng.choice([CTRL, CTRL, SIZE, STATUS, PERF, *([A, B, C] * 3), 0x20, 0x200, 0xFFC])
    if offset in (A, B, C):
        offset += 4 * rng.randrange(64)
    if rng.random() < 0.1:
        offset += rng.choice([1, 2, 3, 0x1000, 0xFFFF_0000])
    return offset


def random_value(rng: random.Random, offset: int) -> int:
    if offset == SIZE:
        return rng.choice([*range(1, 9), *range(1, 5), rng.randrange(9, 17), *NEVER_FINISHING])
    if offset == CTRL:
        return rng.choice([0, 1, 1, 1, 2, 3, WORD - 1])
    return rng.randrange(WORD)


def random_step(rng: random.Random, engine: ReferenceEngine) -> int:
    """Often to the neighbourhood of the end of the run, where most can go wrong."""
    left = max(engine.size**3 - engine.perf, 0) if engine.size <= 8 else 40
    return rng.choice([0, 1, 2, 3, 8, 16, 17, 70, 600, *(max(left + n, 0) for n in range(-2, 4))])


@pytest.mark.parametrize("seed", range(150))
def test_random_sequence(seed: int) -> None:
    rng = random.Random(seed)
    chip, engine, clock = new_chip(), ReferenceEngine(), 0
    chip.reset(rng.randrange(1, 4))
    for position in range(150):
        kind = rng.choices("wrsx", (50, 40, 20, 1))[0]
        offset = random_offset(rng)
        if kind == "w":
            value = random_value(rng, offset)
            chip.write(offset, value)
            engine.tick((offset, value))
            clock += 1
        elif kind == "r":
            assert chip.read(offset) == engine.peek(offset), (position, hex(offset))
            engine.tick()
            clock += 1
        elif kind == "s":
            clocks = random_step(rng, engine)
            chip.step(clocks)
            for _ in range(clocks):
                engine.tick()
            clock += clocks
        elif clock:  # a reset that comes first takes no time
            chip.reset(2)
            engine.clear_state()
            clock += 2
        assert (chip.irq, chip.clock) == (engine.irq, clock), position
    chip.write(SIZE, 1)
    engine.tick((SIZE, 1))
    for offset in (CTRL, STATUS, PERF, *range(C, C + 256, 4)):
        assert chip.read(offset) == engine.peek(offset)
        engine.tick()


def test_the_reference_model_agrees_with_the_recorded_hardware() -> None:
    for sequence in SEQUENCES:
        engine, irq, clock = ReferenceEngine(), [], 0
        for position, (kind, *arguments) in enumerate(sequence["ops"]):
            if kind == "r" and arguments[1] is not None:
                assert engine.peek(arguments[0]) == arguments[1], (sequence["id"], position)
            for _ in range(arguments[0] if kind in "xs" else 1):
                if engine.irq:
                    irq.append(clock)
                if kind == "x":
                    engine.clear_state()
                    clock += position > 0
                    continue
                engine.tick(tuple(arguments) if kind == "w" else None)
                clock += 1
        assert irq == sequence["irq"], sequence["id"]


# --- the Python face ------------------------------------------------------------------------------


def test_first_reset_takes_no_time() -> None:
    chip = new_chip()
    assert chip.clock == 0
    chip.reset(0)
    chip.step(0)
    chip.reset(7)
    assert chip.clock == 0
    chip.reset(2)
    assert chip.clock == 2
    chip.reset(0)
    chip.step(0)
    assert chip.clock == 2
    late = new_chip()
    late.step()
    late.reset()
    assert late.clock == 2


def test_chips_are_independent() -> None:
    one, other = new_chip(), new_chip()
    one.write(SIZE, 3)
    assert (one.clock, other.clock) == (1, 0)
    assert (one.read(SIZE), other.read(SIZE)) == (3, 8)


def test_numbers_of_other_types() -> None:
    chip = new_chip()
    chip.write(np.int64(SIZE), np.uint32(WORD - 1))
    assert chip.read(np.uint16(SIZE)) == WORD - 1
    chip.write(SIZE, -(2**31))
    assert chip.read(SIZE) == 2**31
    chip.step(np.int8(3))
    assert chip.clock == 7


@pytest.mark.parametrize(
    ("call", "arguments", "error", "sentence"),
    [
        ("read", (-1,), ValueError, "offset must be between 0 and 4294967295, got -1."),
        ("read", (WORD,), ValueError, "offset must be between 0 and 4294967295, got 4294967296."),
        ("read", ("0",), TypeError, "offset must be an int, not str."),
        ("read", (True,), TypeError, "offset must be an int, not bool."),
        ("write", (WORD, 0), ValueError, "offset must be between"),
        ("write", (0, WORD), ValueError, "value must be between -2147483648 and 4294967295"),
        ("write", (0, -(2**31) - 1), ValueError, "value must be between"),
        ("write", (0, 1.0), TypeError, "value must be an int, not float."),
        ("write", (0, None), TypeError, "value must be an int, not NoneType."),
        ("step", (-1,), ValueError, "clocks must be between 0 and"),
        ("step", (2**63,), ValueError, "clocks must be between 0 and"),
        ("step", (1.5,), TypeError, "clocks must be an int, not float."),
        ("reset", (-1,), ValueError, "clocks must be between 0 and"),
        ("reset", ("1",), TypeError, "clocks must be an int, not str."),
    ],
)
def test_arguments_are_checked(call: str, arguments: tuple, error: type, sentence: str) -> None:
    chip = new_chip()
    chip.step(4)
    with pytest.raises(error) as caught:
        getattr(chip, call)(*arguments)
    assert str(caught.value).startswith(sentence)
    assert chip.clock == 4


def test_unknown_chip() -> None:
    with pytest.raises(ValueError, match=r"'cs9'.*known chips.*'cs1'"):
        Chip("cs9")


def test_the_example_in_the_documentation() -> None:
    result = doctest.testmod(csc.chip)
    assert result.attempted > 0
    assert result.failed == 0
