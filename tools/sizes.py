"""Measure the firmware: code, constants, RAM and worst stack per board: python tools/sizes.py.

Writes firmware/SIZES.md; with --check it only says what differs, and exits with 1.
The stack is the longest path through the compiler's own call graph (GCC, -fcallgraph-info=su),
calls through pointers being resolved by the table POINTERS.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "firmware" / "SIZES.md"
BEGIN, END = "<!-- measured -->", "<!-- end measured -->"

BOARDS = ("cs1", "cs2", "qemu-riscv32", "mps2-an386", "mps2-an500", "mps3-an547")

# What a firmware may grow to before somebody has to decide it, in bytes.
CEILINGS = {
    "runtime code": 8_192,
    "runtime and ops code": 14_336,
    "image code": 25_600,
    "image constants": 3_072,
    "image RAM": 4_096,
    "stack room": 2_048,
    "stack bound": 1_536,
}
# RV32I has no multiply and no short instructions; cs1 and cs2 have the drivers of their chips.
CEILINGS_OF = {
    "cs1": {"runtime code": 14_336, "runtime and ops code": 25_600, "image code": 54_272},
    "cs2": {"image code": 37_888},
}

# Who may be called through a pointer: (file, function) patterns of the caller, then of the called.
CLOCKS = ("board.c|systick.c|clocks.h", ".*clocks")
RESTART = ("board.c|compactscale.c|start.c", "restart|csc_cortexm_restart")
POINTERS = [
    (
        ("run.c", ".*"),
        [("ops.c", "csc_ops_run"), ("cs2.c", "run_plan|plan_state"), ("server.c", "on_op")],
    ),
    (
        ("ops.c", ".*"),
        [
            ("tiles.c", "csc_gemm_tiles|csc_attention_tiles"),
            ("layernorm.c", "csc_layernorm_row"),
            ("embed.c", "csc_embed_row"),
            ("add.c", "csc_add_row"),
            ("pool.c", "csc_pool_mean"),
        ],
    ),
    (("tiles.c", ".*"), [("portable.c|cs1.c", ".*"), ("gemm.c", "csc_finish_row")]),
    (("cs[12]_driver.c", ".*"), [("board.c|compactscale.c", "bus_.*")]),
    (("frame.c", ".*"), [("board.c|compactscale.c|cmsdk.c", ".*read.*|.*write.*")]),
    (("server.c", "csc_serve|answer_request"), [("server.c", "on_(?!op).*"), RESTART]),
    (("server.c", "use_model"), [("board.c", "give_store")]),
    (("server.c", "count|on_op|on_run"), [CLOCKS]),
    (("main.c", ".*"), [RESTART]),
    (
        ("check_meaning.c", "csc_check_op_meaning"),
        [("check_meaning.c", ".*_params|.*_operands|.*_weights|nothing")],
    ),
]
MAY_BE_NULL = ("use_model",)  # whose pointer some boards leave empty
UNKNOWN_STACK = 64  # for a function of the compiler's library, which is without information
DRIVERS_OF = {"cs1": {"csc_cs1.dir"}, "cs2": {"csc_cs1.dir", "csc_cs2.dir"}}
ROOTS = ("csc_main", "csc_fault")
INTERRUPT_STACK = {"arm": 8 * 4 + 8}  # what an exception saves, and its handler


@dataclass
class Graph:
    """The functions of an image: stack of each, whom they call, and where they stand."""

    stack: dict[str, int] = field(default_factory=dict)
    calls: dict[str, set[str]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)

    def read(self, text: str) -> None:
        """Add the graph of one file."""
        for title, label in re.findall(r'node: \{ title: "(.*?)" label: "(.*?)"', text):
            bytes_ = re.search(r"\\n(\d+) bytes \((\w+)", label)
            if bytes_:
                assert bytes_[2] == "static", f"{title} has a stack of changing size"
                place = label.split("\\n")[1].split(":")[0]
                self.stack[title] = int(bytes_[1])
                self.calls.setdefault(title, set())
                self.files[title] = Path(place).name
        for source, target in re.findall(r'sourcename: "(.*?)" targetname: "(.*?)"', text):
            self.calls.setdefault(source, set()).add(target)

    def targets(self, caller: str) -> set[str]:
        """Return whom a function calls, pointers resolved."""
        found = set(self.calls.get(caller, ()))
        if "__indirect_call" in found:
            found |= self.behind_pointers(caller)
        return found - {"__indirect_call"}

    def fits(self, name: str, pattern: tuple[str, str]) -> bool:
        """Return whether a function, by its file and its own name, fits a pair of patterns."""
        file, function = pattern
        own = name.split(":")[-1].split(".")[0]
        return bool(re.fullmatch(file, self.files[name]) and re.fullmatch(function, own))

    def behind_pointers(self, caller: str) -> set[str]:
        """Return whom a function may call through a pointer."""
        called = [row for pattern, row in POINTERS if self.fits(caller, pattern)]
        assert called, f"{caller} calls through a pointer; give POINTERS an entry"
        found = {name for name in self.files if any(self.fits(name, each) for each in called[0])}
        is_fine = found or any(self.fits(caller, ("server.c", name)) for name in MAY_BE_NULL)
        assert is_fine, f"nobody fits what {caller} calls through a pointer"
        return found

    def worst(self, name: str, path: tuple[str, ...] = ()) -> int:
        """Return the bytes of stack `name` and all below it may use."""
        assert name not in path, f"recursion: {' -> '.join((*path, name))}"
        if name not in self.known:
            below = [self.worst(each, (*path, name)) for each in self.targets(name)]
            self.known[name] = self.stack.get(name, UNKNOWN_STACK) + max(below, default=0)
        return self.known[name]


def run(*command: str | Path) -> str:
    """Run a command and return what it prints."""
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout


def tool(board: str, name: str) -> str:
    """Return the name of a binutils program for a board."""
    return f"{'arm-none-eabi' if board.startswith('mps') else 'riscv64-unknown-elf'}-{name}"


def sections(board: str, elf: Path) -> dict[str, int]:
    """Return the sizes of the sections of an ELF file."""
    printed = run(tool(board, "size"), "-A", "-d", elf)
    return {name: int(size) for name, size in re.findall(r"^(\.\S+)\s+(\d+)", printed, re.M)}


def build(board: str, folder: Path, flags: str, *targets: str) -> Path:
    """Build targets of a board with its preset and other flags of optimization."""
    run("cmake", "--preset", board, "-B", folder, f"-DCMAKE_C_FLAGS_RELEASE={flags}")
    run("cmake", "--build", folder, "--target", *targets)
    return folder


def stack_bound(board: str, folder: Path) -> int:
    """Return the worst stack of an image built with -fcallgraph-info=su."""
    graph = Graph()
    for path in sorted(folder.rglob("*.ci")):
        drivers = {"csc_cs1.dir", "csc_cs2.dir"} & set(path.parts)
        if drivers <= DRIVERS_OF.get(board, set()):  # others are compiled, but not linked
            graph.read(path.read_text())
    interrupt = INTERRUPT_STACK["arm"] if board.startswith("mps") else 0
    return max(graph.worst(root) for root in ROOTS) + interrupt


def measure(board: str, folder: Path) -> dict[str, int]:
    """Return the figures of one board."""
    small = build(board, folder / "small", "-Os", "size-load", "size-ops") / "firmware"
    image = f"csc-{board}.elf"
    large = build(board, folder / "image", "-O2 -fcallgraph-info=su", image)
    found = sections(board, large / "firmware" / image)
    return {
        "runtime code": sections(board, small / "size-load.elf")[".text"],
        "runtime and ops code": sections(board, small / "size-ops.elf")[".text"],
        "image code": found[".text"],
        "image constants": found[".rodata"],
        "image RAM": found[".bss"],
        "stack room": found[".stack"],
        "stack bound": stack_bound(board, large),
    }


def compiler(board: str) -> str:
    """Return the compiler's version."""
    return run(tool(board, "gcc"), "-dumpfullversion").strip()


def block(figures: dict[str, dict[str, int]]) -> str:
    """Return the text between the markers."""
    columns = list(next(iter(figures.values())))
    lines = ["| board | compiler | " + " | ".join(columns) + " |"]
    lines.append("|---|---|" + "---|" * len(columns))
    for board, row in figures.items():
        cells = [f"{row[column]:,}" for column in columns]
        lines.append(f"| {board} | GCC {compiler(board)} | {' | '.join(cells)} |")
    return "\n".join([BEGIN, *lines, END])


def shown(text: str) -> dict[str, dict[str, str]]:
    """Return the figures SIZES.md shows, by board; `compiler` is one of them."""
    lines = text.partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    names, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(names[1:], row[1:], strict=True)) for row in rows}


def main() -> int:
    """Write or check SIZES.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        figures = {board: measure(board, Path(folder) / board) for board in BOARDS}
    old = TABLE.read_text()
    head, _, rest = old.partition(BEGIN)
    new = head + block(figures) + rest.partition(END)[2]
    if not check:
        TABLE.write_text(new)
    elif new != old:
        print(block(figures))
    return int(check and new != old)


if __name__ == "__main__":
    sys.exit(main())
