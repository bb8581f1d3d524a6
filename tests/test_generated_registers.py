"""The files generated from tools/spec/cs1.rdl are fresh, and the check would notice if not."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GENERATOR = ROOT / "tools" / "spec" / "generate_registers.py"
SOURCE = ROOT / "tools" / "spec" / "cs1.rdl"
FILES = ("cruntime/gen/cs1_regs.h", "CHIP.md")


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
    path.write_text(good.replace("MATRIX_SIZE", "MATRIX_EDGE"))
    result = run_generator("--check", "--root", checkout)
    assert (result.returncode, result.stdout.split()) == (1, ["stale:", name])
    assert run_generator("--root", checkout).returncode == 0
    assert name == "CHIP.md" or path.read_text() == good
    assert run_generator("--check", "--root", checkout).returncode == 0


def test_a_changed_source_makes_both_files_stale(checkout: Path) -> None:
    source = checkout / "cs1.rdl"
    source.write_text(SOURCE.read_text().replace("PERF_CYCLES @ 0x028", "PERF_CYCLES @ 0x02C"))
    result = run_generator("--check", "--root", checkout, "--source", source)
    assert result.returncode == 1
    assert result.stdout.split() == ["stale:", FILES[0], "stale:", FILES[1]]


def test_missing_markers_are_reported(checkout: Path) -> None:
    (checkout / "CHIP.md").write_text("# no markers here\n")
    result = run_generator("--root", checkout)
    assert result.returncode == 1
    assert "markers" in result.stderr


def test_header_has_the_published_numbers() -> None:
    text = (ROOT / FILES[0]).read_text()
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
