"""The lazy device models of the system on chip against models that pass every clock."""

from __future__ import annotations

import random

import pytest

from csc import Soc
from device_reference import BAUD, CONTROL, DATA, STATUS, Lcd, Uart
from rv32_words import NOP, addi, bne, finish, li, lui, lw, program, sb, sw

UART, LCD = 0x20000000, 0x20010000
BASE, VALUE, COUNT = 20, 21, 22


def pause(rng: random.Random, longest: int) -> list[int]:
    turns = rng.choice((0, 0, 0, 1, rng.randrange(1, longest)))
    loop = [addi(COUNT, COUNT, -1), bne(COUNT, 0, -4)] if turns else []
    return program([NOP] * rng.randrange(3), li(COUNT, turns) if turns else [], loop)


def uart_actions(seed: int) -> list[int]:
    """Return a program with random transfers; the bit times are short enough to be interesting."""
    rng = random.Random(seed)
    fast = rng.randrange(3)
    first = rng.choice((868, 13, 5, 40) if fast else (868,))
    words = program(lui(BASE, UART), li(VALUE, first), sw(VALUE, BAUD, BASE))
    words += [addi(VALUE, 0, rng.choice((1, 3, 3, 2))), sw(VALUE, CONTROL, BASE)]
    for _ in range(120):
        pick = rng.random()
        if pick < 0.4:
            words += [addi(VALUE, 0, rng.randrange(256)), sb(VALUE, DATA + rng.randrange(4), BASE)]
        elif pick < 0.85:
            words.append(lw(5, rng.choice((STATUS, STATUS, DATA, DATA, CONTROL, BAUD, 16)), BASE))
        elif pick < 0.88:
            words += [addi(VALUE, 0, rng.choice((1, 3, 7, 0, 2))), sw(VALUE, CONTROL, BASE)]
        elif pick < 0.91:
            words += [*li(VALUE, rng.choice((3, 7, 20, 100))), sw(VALUE, BAUD, BASE)]
        else:
            words += pause(rng, 2000 if fast else 9000)
    return program(words, finish())


def transfers(soc: Soc, base: int) -> dict[int, tuple[int, int | None, int]]:
    """Return offset, value written or None, and data of the transfers of a device, by clock."""
    return {
        clock: (address - base, data if strobes else None, data)
        for clock, address, strobes, data in soc.trace_data
        if base <= address < base + 0x10000
    }


@pytest.mark.parametrize("wait", [0, 1])
@pytest.mark.parametrize("seed", range(60))
def test_uart_transfers(seed: int, wait: int) -> None:
    rng = random.Random(1000 + seed)
    soc = Soc("cs1", ram_wait=wait, trace=True)
    soc.load(0, uart_actions(seed))
    soc.run(rng.randrange(60, 400))
    sent = bytes(rng.randrange(256) for _ in range(rng.choice((0, 3, 30))))
    rate = rng.choice((None, None, 5, 13, 40, 860))
    start = soc.clock
    soc.uart_input(sent, rate)
    assert soc.run(3_000_000).kind == "exit"
    uart = Uart(sent, start, rate)
    by_clock = transfers(soc, UART)
    for clock in range(soc.clock):
        offset, value, data = by_clock.get(clock, (None, None, 0))
        shown = uart.clock_with(offset, value)
        assert value is not None or shown == data, (clock, offset)
    assert soc.uart_output == uart.output
    waiting = uart.tx.places[uart.tx.read % 16 :] + uart.tx.places[: uart.tx.read % 16]
    now = [uart.shift_out] if uart.bits_left else []
    assert list(soc.uart_pending) == now + waiting[: uart.tx.count]


@pytest.mark.parametrize("delay", range(40))
def test_a_write_to_a_full_queue_in_the_clock_in_which_a_byte_leaves_it(delay: int) -> None:
    divider = 37
    fill = [word for byte in range(19) for word in (addi(VALUE, 0, byte), sw(VALUE, DATA, BASE))]
    setup = program(lui(BASE, UART), li(VALUE, divider), sw(VALUE, BAUD, BASE))
    start = [addi(VALUE, 0, 1), sw(VALUE, CONTROL, BASE)]
    more = [NOP] * (delay // 3) + [addi(VALUE, 0, 99)] + [lw(5, 0, 0)] * (delay % 3)
    soc = Soc("cs1", trace=True)
    soc.load(0, program(setup, fill, start, more, [sw(VALUE, DATA, BASE)] * 3, finish()))
    soc.run(10_000)
    uart = Uart()
    by_clock = transfers(soc, UART)
    for clock in range(soc.clock):
        uart.clock_with(*by_clock.get(clock, (None, None, 0))[:2])
    assert len(soc.uart_pending) == uart.tx.count + (uart.bits_left > 0)


@pytest.mark.parametrize("wait", [0, 1])
@pytest.mark.parametrize("seed", range(30))
def test_lcd_transfers(seed: int, wait: int) -> None:
    rng = random.Random(seed)
    words = [lui(BASE, LCD)]
    for _ in range(60):
        words += pause(rng, 40)
        offset = rng.choice((0, 4, 8, 12, 16))
        words.append(sw(VALUE, offset, BASE) if rng.random() < 0.6 else lw(VALUE, offset, BASE))
        words += [addi(VALUE, 0, rng.randrange(256))]
    soc = Soc("cs1", ram_wait=wait, trace=True)
    soc.load(0, program(words, finish()))
    assert soc.run(100_000).kind == "exit"
    by_clock, lcd, stalls = transfers(soc, LCD), Lcd(), 0
    ends = sorted(by_clock)
    for clock in range(soc.clock):
        offset, value, data = by_clock.get(clock, (None, None, 0))
        answer = lcd.clock_with(offset, value)
        if offset is not None:
            assert answer == (data if value is None else answer)
            assert answer is not None, clock
        stalls += lcd.busy
    assert len(ends) == 60
    assert 0 < soc.totals.bus_stall_clocks < stalls


def test_a_transfer_that_waits_completes_as_soon_as_the_lcd_is_free() -> None:
    for nops in range(10):
        soc = Soc("cs1", trace=True)
        soc.load(0, program(lui(BASE, LCD), [NOP] * nops, [sw(0, 0, BASE)] * 4, finish()))
        soc.run(10_000)
        times = [row[0] for row in soc.trace_data[:4]]
        lcd, free = Lcd(), []
        for clock in range(times[3] + 1):
            before = lcd.busy
            lcd.clock_with(0 if clock in times else None, 0)
            if before and not lcd.busy:
                free.append(clock + 1)
        assert times[1:] == free
