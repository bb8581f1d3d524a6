"""A plain RV32I / RV32IMC processor with the clocks of CHIP.md, for comparison with the model.

Written from the description of the hardware and independent of the C code: it decodes each
instruction from its bits each time, 16-bit ones included, and follows the fetches word by word.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WORD = 2**32
RAM_RANGE, NOTHING = 0x10000000, 0x30000000  # between them are devices, from there on nothing
EXIT = 0x0F000004
A, C, W = 0, 1, 2

# Clocks by RAM wait and kind of the next instruction: no jump taken.
SIMPLE = ((3, 3, 4), (4, 3, 5))
RAM = ((5, 5, 6), (7, 6, 8))
DEVICE = ((5, 5, 6), (6, 5, 7))
COUNTER = ((4, 4, 5), (4, 4, 6))
MULTIPLY = ((6, 6, 7), (6, 6, 8))
DIVIDE = ((40, 40, 41), (40, 40, 42))
# By RAM wait and kind of the target.
JAL = ((3, 3, 4), (4, 4, 6))
JALR = ((6, 6, 7), (7, 7, 9))
# Taken branches: by RAM wait, kind behind the branch, kind of the target.
TAKEN = (((5, 5, 6), (5, 5, 6), (6, 6, 7)), ((7, 7, 9), (6, 6, 8), (8, 8, 10)))
TAKEN_ODD = (7, 10, 14)


def bits(word: int, high: int, low: int) -> int:
    return word >> low & (1 << high - low + 1) - 1


def signed(value: int, width: int = 32) -> int:
    value &= (1 << width) - 1
    return value - (1 << width) if value >> width - 1 else value


class Trap(Exception):  # noqa: N818
    """The instruction stops the processor: cause, and clocks from its start."""


class Device(Exception):  # noqa: N818
    """A transfer to where this reference has no device."""


@dataclass
class Processor:
    """Memory and state; `step` executes one instruction."""

    memory: bytearray
    wait: int = 0
    compressed: bool = True
    registers: list[int] = field(default_factory=lambda: [0] * 32)
    pc: int = 0
    clock: int = 0
    instret: int = 0
    transfers: list[tuple[int, int, int, int]] = field(default_factory=list)
    exit_value: int | None = None

    def __post_init__(self) -> None:
        self.clock = 3 + self.wait
        self.raw, self.kept = self.fetch(self.pc, None)

    # --- memory ---

    def word(self, address: int) -> int:
        address &= ~3
        if RAM_RANGE <= address < NOTHING:
            raise Device
        return int.from_bytes(self.memory[address : address + 4].ljust(4, b"\0"), "little")

    def fetch(self, pc: int, kept: int | None) -> tuple[int, int | None]:
        """Return the instruction at `pc` and the half-word that the processor keeps behind it."""
        if pc >= RAM_RANGE:
            raise Device
        word = self.word(pc)
        if not self.compressed:
            return word, None
        if pc % 4 == 0:
            return (word, None) if word & 3 == 3 else (word & 0xFFFF, word >> 16)
        half = word >> 16 if kept is None else kept
        if half & 3 != 3:
            return half, None
        second = self.word(pc + 2)
        return half | (second & 0xFFFF) << 16, second >> 16

    def kind(self, pc: int, raw: int) -> int:
        if pc % 4 == 0:
            return A
        return W if raw & 3 == 3 else C

    def transfer(self, clock: int, address: int, strobes: int, data: int) -> int:
        place = address & ~3
        if RAM_RANGE <= place < NOTHING:
            raise Device
        if strobes == 0:
            data = self.word(place)
        elif place == EXIT:
            self.exit_value = data
        else:
            for byte in range(4):
                if strobes >> byte & 1 and place + byte < len(self.memory):
                    self.memory[place + byte] = data >> 8 * byte & 255
        self.transfers.append((clock, place, strobes, data))
        return data

    # --- one instruction ---

    def step(self) -> None:
        """Execute the instruction that starts now; raises Trap."""
        self.instret += 1
        size = 2 if self.compressed and self.raw & 3 != 3 else 4
        self.behind = (self.pc + size) % WORD
        self.target: int | None = None
        self.costs = SIMPLE
        self.access: tuple | None = None  # address, bytes, what to store or None, rd, is signed
        (self.execute_16 if size == 2 else self.execute_32)(self.raw)
        if self.target is None:
            self.go_on()
        else:
            self.jump()

    def go_on(self) -> None:
        raw, kept = self.fetch(self.behind, self.kept)
        kind = self.kind(self.behind, raw)
        if self.access:
            self.transfer_data(kind)
        self.clock += self.cost(kind)
        self.pc, self.raw, self.kept = self.behind, raw, kept

    def cost(self, kind: int) -> int:
        if isinstance(self.costs, int):
            return self.costs
        return self.costs[self.wait][kind]

    def jump(self) -> None:
        odd = False
        if self.costs is TAKEN:
            raw, _ = self.fetch(self.behind, self.kept)
            behind = self.kind(self.behind, raw)
            odd = self.compressed and behind == A and self.word(self.behind) >> 16 & 3 == 3
        if not self.compressed and self.target % 4:
            waits = self.wait if self.costs is TAKEN else 0
            clocks = {id(JAL): 4, id(JALR): 6, id(TAKEN): 6 + waits}[id(self.costs)]
            raise Trap("misaligned jump", clocks)
        raw, kept = self.fetch(self.target, None)
        kind = self.kind(self.target, raw)
        if self.costs is not TAKEN:
            self.clock += self.costs[self.wait][kind]
        elif odd and self.wait:
            self.clock += TAKEN_ODD[kind]
        else:
            self.clock += TAKEN[self.wait][behind][kind]
        self.pc, self.raw, self.kept = self.target, raw, kept

    def transfer_data(self, next_kind: int) -> None:
        address, size, data, rd, is_signed = self.access
        self.costs = RAM if address < RAM_RANGE else DEVICE
        clock = self.clock + self.costs[self.wait][next_kind] - 1
        strobes = 0
        if data is not None:
            strobes = {1: 1 << address % 4, 2: 3 << (address & 2), 4: 15}[size]
            data = {1: (data & 255) * 0x01010101, 2: (data & 0xFFFF) * 0x10001, 4: data}[size]
        word = self.transfer(clock, address, strobes, data or 0)
        if address % size and self.exit_value is None:
            kind = "load" if data is None else "store"
            raise Trap(f"misaligned {kind}", DEVICE[self.wait][next_kind])
        if data is None:
            value = word >> 8 * (address % 4) & (1 << 8 * size) - 1
            self.set(rd, signed(value, 8 * size) if is_signed else value)

    def set(self, rd: int, value: int) -> None:
        if rd:
            self.registers[rd] = value % WORD

    def illegal(self) -> None:
        raise Trap("illegal instruction", 20 if self.compressed else 3)

    # --- 32 bits ---

    def execute_32(self, raw: int) -> None:
        opcode, rd, funct3 = raw & 127, bits(raw, 11, 7), bits(raw, 14, 12)
        rs1, rs2, funct7 = bits(raw, 19, 15), bits(raw, 24, 20), bits(raw, 31, 25)
        x, y = self.registers[rs1], self.registers[rs2]
        imm = signed(raw >> 20, 12)
        if opcode == 0x37:
            self.set(rd, raw & 0xFFFFF000)
        elif opcode == 0x17:
            self.set(rd, self.pc + (raw & 0xFFFFF000))
        elif opcode == 0x6F:
            offset = bits(raw, 30, 21) << 1 | bits(raw, 20, 20) << 11 | bits(raw, 19, 12) << 12
            self.set(rd, self.behind)
            self.leave(JAL, self.pc + signed(offset | raw >> 31 << 20, 21))
        elif opcode == 0x67 and funct3 == 0:
            self.set(rd, self.behind)
            self.leave(JALR, x + imm & ~1)
        elif opcode == 0x63:
            offset = bits(raw, 11, 8) << 1 | bits(raw, 30, 25) << 5 | bits(raw, 7, 7) << 11
            self.branch(funct3, x, y, self.pc + signed(offset | raw >> 31 << 12, 13))
        elif opcode == 0x03:
            self.load(funct3, rd, x + imm)
        elif opcode == 0x23:
            self.store(funct3, y, x + signed(funct7 << 5 | rd, 12))
        elif opcode == 0x13:
            self.immediate(funct3, rd, x, imm, raw)
        elif opcode == 0x33:
            self.register(funct7, funct3, rd, x, y)
        elif opcode == 0x0F and funct3 == 0:
            self.set(rd, 0)
        elif opcode == 0x73:
            self.system(raw, rd)
        else:
            self.illegal()

    def leave(self, costs: tuple, target: int) -> None:
        self.costs, self.target = costs, target % WORD

    def branch(self, funct3: int, x: int, y: int, target: int) -> None:
        sx, sy = signed(x), signed(y)
        taken = {0: x == y, 1: x != y, 4: sx < sy, 5: sx >= sy, 6: x < y, 7: x >= y}
        if funct3 not in taken:
            self.illegal()
        if taken[funct3]:
            self.leave(TAKEN, target)

    def load(self, funct3: int, rd: int, address: int) -> None:
        size = {0: 1, 1: 2, 2: 4, 4: 1, 5: 2}.get(funct3)
        if size is None:
            self.illegal()
        self.access = (address % WORD, size, None, rd, funct3 < 4)

    def store(self, funct3: int, value: int, address: int) -> None:
        if funct3 > 2:
            self.illegal()
        self.access = (address % WORD, 1 << funct3, value, 0, False)

    def immediate(self, funct3: int, rd: int, x: int, imm: int, raw: int) -> None:
        if funct3 in (1, 5):
            self.shift(funct3, bits(raw, 31, 25), rd, x, bits(raw, 24, 20))
            return
        self.set(rd, self.plain(funct3, x, imm % WORD))

    def plain(self, funct3: int, x: int, y: int) -> int:
        return {
            0: x + y,
            2: int(signed(x) < signed(y)),
            3: int(x < y),
            4: x ^ y,
            6: x | y,
            7: x & y,
        }[funct3]

    def shift(self, funct3: int, funct7: int, rd: int, x: int, amount: int) -> None:
        if funct7 not in ((0,) if funct3 == 1 else (0, 0x20)):
            self.illegal()
        if not self.compressed:
            self.costs = 4 + amount // 4 + amount % 4
        if funct3 == 1:
            self.set(rd, x << amount)
        else:
            self.set(rd, (signed(x) if funct7 else x) >> amount)

    def register(self, funct7: int, funct3: int, rd: int, x: int, y: int) -> None:
        if funct7 == 1 and self.compressed:
            self.multiply(funct3, rd, x, y)
        elif funct3 in (1, 5):
            self.shift(funct3, funct7, rd, x, y % 32)
        elif funct7 == 0x20 and funct3 == 0:
            self.set(rd, x - y)
        elif funct7 == 0:
            self.set(rd, self.plain(funct3, x, y))
        else:
            self.illegal()

    def multiply(self, funct3: int, rd: int, x: int, y: int) -> None:
        self.costs = MULTIPLY if funct3 < 4 else DIVIDE
        sx, sy = signed(x), signed(y)
        if funct3 < 4:
            product = (x * y, sx * sy, sx * y, x * y)[funct3]
            self.set(rd, product >> 32 if funct3 else product)
            return
        if funct3 in (5, 7):
            sx, sy = x, y
        quotient = -1 if sy == 0 else abs(sx) // abs(sy) * (1 if (sx < 0) == (sy < 0) else -1)
        self.set(rd, quotient if funct3 < 6 else sx - quotient * sy if sy else sx)

    def system(self, raw: int, rd: int) -> None:
        if raw in (0x73, 0x00100073):
            raise Trap("ebreak" if raw >> 20 else "ecall", 3)
        if bits(raw, 19, 12) != 2:
            self.illegal()
        counters = {0xC00: self.clock + 1, 0xC01: self.clock + 1, 0xC02: self.instret}
        number = raw >> 20
        if number & ~0x80 not in counters:
            self.illegal()
        self.costs = COUNTER
        self.set(rd, counters[number & ~0x80] >> (32 if number & 0x80 else 0))

    # --- 16 bits ---

    def execute_16(self, raw: int) -> None:
        (self.quadrant_0, self.quadrant_1, self.quadrant_2)[raw & 3](raw, bits(raw, 15, 13))

    def quadrant_0(self, raw: int, funct3: int) -> None:
        small, base = 8 + bits(raw, 4, 2), self.registers[8 + bits(raw, 9, 7)]
        offset = bits(raw, 12, 10) << 3 | bits(raw, 6, 6) << 2 | bits(raw, 5, 5) << 6
        stack = bits(raw, 12, 11) << 4 | bits(raw, 10, 7) << 6 | bits(raw, 6, 6) << 2
        stack |= bits(raw, 5, 5) << 3
        if funct3 == 0 and stack:
            self.set(small, self.registers[2] + stack)
        elif funct3 == 2:
            self.load(2, small, base + offset)
        elif funct3 == 6:
            self.store(2, self.registers[small], base + offset)
        else:
            self.illegal()

    def quadrant_1(self, raw: int, funct3: int) -> None:
        rd, small = bits(raw, 11, 7), 8 + bits(raw, 9, 7)
        imm = signed(bits(raw, 12, 12) << 5 | bits(raw, 6, 2), 6)
        if funct3 == 0:
            self.set(rd, self.registers[rd] + imm)
        elif funct3 in (1, 5):
            self.set(1 if funct3 == 1 else 0, self.behind)
            self.leave(JAL, self.pc + self.jump_offset(raw))
        elif funct3 == 2:
            self.set(rd, imm)
        elif funct3 == 3:
            self.load_upper(raw, rd, imm)
        elif funct3 == 4:
            self.arithmetic(raw, small, imm)
        else:
            offset = bits(raw, 11, 10) << 3 | bits(raw, 6, 5) << 6 | bits(raw, 4, 3) << 1
            offset |= bits(raw, 2, 2) << 5 | bits(raw, 12, 12) << 8
            self.branch(funct3 - 6, self.registers[small], 0, self.pc + signed(offset, 9))

    def jump_offset(self, raw: int) -> int:
        places = ((12, 11), (11, 4), (10, 9), (9, 8), (8, 10), (7, 6), (6, 7), (5, 3), (4, 2))
        offset = sum((raw >> source & 1) << place for source, place in places)
        return signed(offset | (raw >> 3 & 1) << 1 | (raw >> 2 & 1) << 5, 12)

    def load_upper(self, raw: int, rd: int, imm: int) -> None:
        if imm == 0:
            self.illegal()
        if rd != 2:
            self.set(rd, imm << 12)
            return
        offset = bits(raw, 6, 6) << 4 | bits(raw, 5, 5) << 6 | bits(raw, 4, 3) << 7
        offset |= bits(raw, 2, 2) << 5 | bits(raw, 12, 12) << 9
        self.set(2, self.registers[2] + signed(offset, 10))

    def arithmetic(self, raw: int, small: int, imm: int) -> None:
        x, y = self.registers[small], self.registers[8 + bits(raw, 4, 2)]
        group = bits(raw, 11, 10)
        if group == 2:
            self.set(small, x & imm % WORD)
        elif bits(raw, 12, 12):
            self.illegal()
        elif group == 3:
            self.set(small, (x - y, x ^ y, x | y, x & y)[bits(raw, 6, 5)])
        else:
            self.set(small, (signed(x) if group else x) >> bits(raw, 6, 2))

    def quadrant_2(self, raw: int, funct3: int) -> None:
        rd, rs2, high = bits(raw, 11, 7), bits(raw, 6, 2), bits(raw, 12, 12)
        if funct3 == 0 and not high:
            self.set(rd, self.registers[rd] << rs2)
        elif funct3 == 2 and rd:
            offset = bits(raw, 6, 4) << 2 | high << 5 | bits(raw, 3, 2) << 6
            self.load(2, rd, self.registers[2] + offset)
        elif funct3 == 6:
            offset = bits(raw, 12, 9) << 2 | bits(raw, 8, 7) << 6
            self.store(2, self.registers[rs2], self.registers[2] + offset)
        elif funct3 == 4:
            self.jump_or_move(rd, rs2, high)
        else:
            self.illegal()

    def jump_or_move(self, rd: int, rs2: int, high: int) -> None:
        if rs2:
            self.set(rd, self.registers[rs2] + (self.registers[rd] if high else 0))
        elif rd:
            target = self.registers[rd] & ~1
            self.set(1 if high else 0, self.behind)
            self.leave(JALR, target)
        elif high:
            raise Trap("ebreak", 3)
        else:
            self.illegal()
