"""Times the model of the system on chip: simulated instructions and clocks per second of one core.

    python benchmarks/soc_speed.py [--repeat N] [--json FILE]

The program is an integer matrix product in C, 64x64 times 64x64 over int8 in RAM with exact timing,
built here with riscv64-unknown-elf-gcc: for rv32i with a table of quarter squares in place of the
multiplier that this processor lacks, for rv32imc with its multiplier. A second program feeds 8x8
products to the block engine. The best of the runs counts, in time of this process.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from csc import Soc

COMPILER = "riscv64-unknown-elf-gcc"
LINK = "SECTIONS { . = 0; .text : { *(.text.start) *(.text*) } .data : { *(.*data*) *(.*bss*) } }"
START = """
__asm__(".section .text.start\\n li sp, 0x100000\\n call work\\n li t0, 0xf000000\\n"
        " sw a0, 4(t0)\\n .text");
"""
PRODUCT = """
static signed char a[4096], b[4096];
static int c[4096], quarter[1024];
#ifdef __riscv_mul
#define TIMES(x, y) ((x) * (y))
#else
#define TIMES(x, y) (quarter[512 + (x) + (y)] - quarter[512 + (x) - (y)])
#endif
unsigned work(void) {
  for (int i = 0, square = 0; i < 512; i++) {
    quarter[512 + i] = quarter[512 - i] = square >> 2;
    square += 2 * i + 1;
  }
  for (int i = 0; i < 4096; i++) {
    a[i] = (signed char)(7 * i + 3);
    b[i] = (signed char)(5 * i + 1);
  }
  unsigned sum = 0;
  for (int round = 0; round < 16; round++)
    for (int i = 0; i < 64; i++)
      for (int j = 0; j < 64; j++) {
        int s = 0;
        for (int k = 0; k < 64; k++) s += TIMES(a[64 * i + k], b[64 * j + k]);
        c[64 * i + j] = s;
        sum = (sum << 5) - sum + (unsigned)s;
      }
  return sum;
}
"""
BLOCKS = """
static volatile int *const engine = (volatile int *)0x10000000;
static signed char a[64], b[64];
static int c[64];
unsigned work(void) {
  for (int i = 0; i < 64; i++) {
    a[i] = (signed char)(7 * i + 3);
    b[i] = (signed char)(5 * i + 1);
  }
  for (int block = 0; block < 10000; block++) {
    for (int i = 0; i < 64; i++) { engine[64 + i] = a[i]; engine[192 + i] = b[i]; }
    engine[0] = 1;
    while (engine[0]) {}
    for (int i = 0; i < 64; i++) c[i] += engine[320 + i];
  }
  return (unsigned)c[63];
}
"""
CASES = (
    ("on the processor", PRODUCT, "rv32i"),
    ("on the processor", PRODUCT, "rv32imc"),
    ("on the engine", BLOCKS, "rv32i"),
)


def build(source: str, cpu: str, folder: Path) -> Path:
    """Return the ELF file of a program."""
    (folder / "program.c").write_text(START + source)
    (folder / "link.ld").write_text(LINK)
    path = folder / f"{cpu}.elf"
    command = [COMPILER, f"-march={cpu}", "-mabi=ilp32", "-O2", "-ffreestanding", "-nostdlib"]
    command += ["-fno-toplevel-reorder", "-Wl,--no-warn-rwx-segments", "-T", "link.ld"]
    subprocess.run([*command, "program.c", "-o", path, "-lgcc"], cwd=folder, check=True)
    return path


def measure(path: Path, cpu: str, wait: int, repeat: int) -> dict[str, float]:
    """Return instructions, clocks and the least seconds of a run."""
    best = float("inf")
    for _ in range(repeat):
        soc = Soc("cs1", ram_wait=wait, cpu=cpu)
        soc.load_elf(path)
        start = time.process_time()
        stop = soc.run(10**11)
        best = min(best, time.process_time() - start)
        if stop.kind != "exit":
            raise SystemExit(f"The program did not end: {stop}.")
    return {"instructions": soc.instret, "clocks": soc.clock, "seconds": best}


def main() -> int:
    """Measure, print a table and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5, help="runs of each program")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args()
    table = Table(
        title=f"int8 matrix products in csc.Soc on {platform.processor() or platform.machine()}"
    )
    for column in ("product", "cpu", "wait", "instructions", "MIPS", "Mclocks/s", "seconds"):
        table.add_column(column)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for work, source, cpu in CASES:
            try:
                path = build(source, cpu, Path(folder))
            except FileNotFoundError:
                print(f"soc_speed.py: the compiler {COMPILER} is missing.", file=sys.stderr)
                return 2
            for wait in (0, 1):
                got = measure(path, cpu, wait, options.repeat)
                rows.append({"work": work, "cpu": cpu, "ram_wait": wait, **got})
                speeds = [
                    f"{got[name] / got['seconds'] / 1e6:.0f}" for name in ("instructions", "clocks")
                ]
                table.add_row(
                    work, cpu, str(wait), f"{got['instructions']}", *speeds, f"{got['seconds']:.3f}"
                )
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
