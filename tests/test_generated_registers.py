"""The files generated from tools/spec/cs*.rdl are fresh, and the check would notice if not."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GENERATOR = ROOT / "tools" / "spec" / "generate_registers.py"
SOURCES = ROOT / "tools" / "spec"
CS1, CS2, CHIP = FILES = ("cruntime/gen/cs1_regs.h", "cruntime/gen/cs2_regs.h", "CHIP.md")


def run_generator(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(GENERATOR), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_generated_files_are_fresh() -> None:
    result = run_generator("--check")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", FILES)
def test_check_names_an_edited_file_and_a_run_repairs_it(checkout: Path, name: str) -> None:
    path = checkout / name
    good = path.read_text()
    register = "QUEUE_TAIL" if name == CS2 else "MATRIX_SIZE"
    path.write_text(good.replace(register, "NO_SUCH"))
    result = run_generator("--check", "--root", checkout)
    assert (result.returncode, result.stdout.split()) == (1, ["stale:", name])
    assert run_generator("--root", checkout).returncode == 0
    assert name == CHIP or path.read_text() == good
    assert run_generator("--check", "--root", checkout).returncode == 0


@pytest.mark.parametrize(
    ("source", "register", "header"),
    [("cs1", "PERF_CYCLES @ 0x028", CS1), ("cs2", "QUEUE_TAIL @ 0x63C", CS2)],
)
def test_a_changed_source_makes_its_files_stale(
    checkout: Path, source: str, register: str, header: str
) -> None:
    for name in ("cs1.rdl", "cs2.rdl"):
        shutil.copy(SOURCES / name, checkout / name)
    path = checkout / f"{source}.rdl"
    moved = register.split("@")[0] + "@ 0x6FC"
    changed = path.read_text().replace(register, moved)
    assert changed != path.read_text()
    path.write_text(changed)
    result = run_generator("--check", "--root", checkout, "--sources", checkout)
    assert result.returncode == 1
    assert result.stdout.split() == ["stale:", header, "stale:", CHIP]


def test_missing_markers_are_reported(checkout: Path) -> None:
    (checkout / "CHIP.md").write_text("# no markers here\n")
    result = run_generator("--root", checkout)
    assert result.returncode == 1
    assert "markers" in result.stderr


def test_header_has_the_published_numbers() -> None:
    text = (ROOT / CS1).read_text()
    macros = dict(re.findall(r"#define CSC_CS1_(\w+) (0x[0-9A-F]+)u", text))
    expected = {
        "ENGINE_BASE": 0x1000_0000,
        "ENGINE_BYTES": 0x1000,
        "CTRL": 0x000,
        "CTRL_START_MASK": 1,
        "STATUS": 0x004,
        "STATUS_DONE": 2,
        "MATRIX_SIZE": 0x01C,
        "MATRIX_SIZE_RESET": 8,
        "PERF_CYCLES": 0x028,
        "A": 0x100,
        "A_ROW_BYTES": 32,
        "B": 0x300,
        "C": 0x500,
        "C_WORDS": 64,
    }
    assert {name: int(macros[name], 16) for name in expected} == expected
    assert "#include" not in text  # freestanding: nothing but the preprocessor
