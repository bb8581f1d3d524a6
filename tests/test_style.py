"""Formatting, lint, types, generated files: what `make format` and the generators would change."""

import subprocess
import sys
from pathlib import Path

import pytest

from building import run

ROOT = Path(__file__).resolve().parents[1]
TOOLS = Path(sys.executable).parent


def tracked(*patterns: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return listed.stdout.split()


def test_ruff_check():
    run(TOOLS / "ruff", "check", ".", cwd=ROOT)


def test_ruff_format():
    run(TOOLS / "ruff", "format", "--check", ".", cwd=ROOT)


def test_clang_format():
    rooms = ("cruntime/*.[ch]", "firmware/*.[ch]", "python/ffi/*.c", "tests/*.c")
    files = tracked(*rooms, "python/ffi/host.h")
    ours = [name for name in files if "/gen/" not in name]
    assert ours
    run(TOOLS / "clang-format", "--dry-run", "--Werror", *ours, cwd=ROOT)


def test_mypy():
    run(sys.executable, "-m", "mypy", cwd=ROOT)


@pytest.mark.parametrize(
    "generator",
    ["generate_blob.py", "generate_commands.py", "generate_frames.py", "generate_registers.py"],
)
def test_generated_files_are_fresh(generator):
    run(sys.executable, ROOT / "tools/spec" / generator, "--check", cwd=ROOT)


def function_lengths(path: Path) -> list[tuple[int, str]]:
    """Return (lines, first line) of every function body of a C file in the project's style."""
    found, start = [], None
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if line.endswith("{") and not line.startswith((" ", "#", "}", "typedef", "struct", "enum")):
            start = number
        if line == "}" and start is not None:
            found.append((number - start, lines[start]))
            start = None
    return found


def test_functions_are_short():
    lengths = [
        (length, name, path.name)
        for room in ("cruntime", "firmware", "python/ffi")
        for path in ROOT.glob(f"{room}/**/*.c")
        for length, name in function_lengths(path)
    ]
    assert len(lengths) > 50
    assert [entry for entry in lengths if entry[0] > 80] == []
    assert sorted(length for length, _, _ in lengths)[len(lengths) // 2] <= 15
