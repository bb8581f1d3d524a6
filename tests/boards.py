"""What the tests of firmware share: the boards, and what is missing on this machine."""

import shutil

import pytest

from csc.transport import QEMU_BOARDS

# Board -> (compiler, Debian package).
RISCV = ("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf")
ARM = ("arm-none-eabi-gcc", "gcc-arm-none-eabi")
COMPILERS = {
    "cs1": RISCV,
    "cs2": RISCV,
    "qemu-riscv32": RISCV,
    "mps2-an386": ARM,
    "mps2-an500": ARM,
    "mps3-an547": ARM,
}


def need_qemu(board: str) -> None:
    program, package, _ = QEMU_BOARDS[board]
    if not shutil.which(program):
        pytest.skip(f"{program} is missing; it is in the Debian package {package}")


def need_compiler(board: str) -> None:
    program, package = COMPILERS[board]
    if not shutil.which(program):
        pytest.skip(f"{program} is missing; it is in the Debian package {package}")
