"""The allowed arrows between the rooms of the project, read off #include and import lines."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FREESTANDING = {"stddef.h", "stdint.h", "stdbool.h", "limits.h"}
MEMORY = {"csc_memory.h"}

# C file or folder -> headers it may include beside its own folder's and the freestanding ones.
# The most specific entry counts.
C_ARROWS = {
    "cruntime/include/csc.h": {"csc_blob.h"},
    "cruntime/include/csc_sim.h": set(),
    "cruntime/include/csc_crc.h": set(),
    "cruntime/include/csc_memory.h": set(),
    "cruntime/gen": {"csc_constants.h"},
    "cruntime/kernels": {"csc_constants.h", "csc_tables.h"} | MEMORY,
    "cruntime/src": {"csc.h", "csc_crc.h", "csc_crc_table.h"} | MEMORY,
    "cruntime/src/choose.c": {"csc.h", "fixed.h"},
    "cruntime/backend": {"csc.h", "kernels.h", "fixed.h"} | MEMORY,
    "cruntime/backend/cs1.h": {"cs1_driver.h"},
    "cruntime/backend/cs2.h": {"cs1_driver.h", "cs2_driver.h"},
    "cruntime/backend/cs2.c": {"cs2_commands.h"},
    "cruntime/backend/avx2.c": {"string.h", "immintrin.h"},
    "cruntime/chip": {"cs1_regs.h", "cs2_regs.h"},
    "cruntime/sim": {"cs1_regs.h", "cs2_commands.h", "cs2_regs.h", "csc_sim.h", "string.h"},
    "cruntime/sim/cs2_math.c": {"csc_tables.h"},
    "firmware": {"csc.h", "csc_crc.h", "csc_frames.h", "cs1_driver.h"} | MEMORY,
    "firmware/gen": set(),
    "firmware/uart": set(),
    "firmware/arch": {"board.h", "image.h"},
    "firmware/chip": {"board.h", "image.h", "clocks.h", "cs1_regs.h"},
    "firmware/bench": {"clocks.h", "cs1_driver.h", "cs1_regs.h"},
    "firmware/boards": {
        *("board.h", "image.h", "clocks.h", "cmsdk.h", "restart.h", "systick.h"),
    },
    "firmware/boards/cs1": {"board.h", "image.h", "compactscale.h", "cs1.h"},
    "firmware/boards/cs2": {"board.h", "image.h", "compactscale.h", "cs2.h", "cs2_regs.h"},
}

# Python package -> packages it may import beside the standard library and itself.
PYTHON_ARROWS = {
    "tools/csc_convert/oracle": {"numpy"},
    "tools/csc_convert": {"numpy", "safetensors"},
    "python/csc": {"numpy", "click", "rich", "serial", "elftools", "matplotlib", "csc_convert"},
}


def c_rule(path: str) -> set[str]:
    places = [place for place in C_ARROWS if path == place or path.startswith(place + "/")]
    assert places, f"{path} stands in no room of C_ARROWS; give it one"
    return C_ARROWS[max(places, key=len)]


def bad_includes(path: Path) -> list[str]:
    own = {header.name for header in path.parent.glob("*.h")}
    allowed = FREESTANDING | own | c_rule(path.relative_to(ROOT).as_posix())
    included = re.findall(r'^\s*#\s*include\s+["<]([^">]+)[">]', path.read_text(), re.MULTILINE)
    return [name for name in included if name not in allowed]


C_FILES = sorted([*ROOT.glob("cruntime/**/*.[ch]"), *ROOT.glob("firmware/**/*.[ch]")])


@pytest.mark.parametrize("path", C_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_includes(path):
    assert bad_includes(path) == []


def imports_of(path: Path) -> set[str]:
    """Return the modules a file imports, absolute, dotted."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module)
        elif isinstance(node, ast.ImportFrom) and node.level > 1:
            found.add("the package above")
    return found


def python_room(path: Path) -> str:
    name = path.relative_to(ROOT).as_posix()
    return max((room for room in PYTHON_ARROWS if name.startswith(room + "/")), key=len)


PYTHON_FILES = sorted([*ROOT.glob("python/csc/**/*.py"), *ROOT.glob("tools/csc_convert/**/*.py")])


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports(path):
    room = python_room(path)
    allowed = PYTHON_ARROWS[room] | set(sys.stdlib_module_names) | {Path(room).name}
    assert {name.split(".")[0] for name in imports_of(path)} - allowed == set()


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("python/csc/**/*.py")), ids=lambda path: path.name
)
def test_the_converter_is_used_through_its_face(path):
    inner = {name for name in imports_of(path) if name.startswith("csc_convert.")}
    assert inner == set()


def test_a_forbidden_include_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "cruntime/kernels/bad.c"
    path.parent.mkdir(parents=True)
    path.write_text('#include <stdio.h>\n#include "csc_blob.h"\n#include <stdint.h>\n')
    assert bad_includes(path) == ["stdio.h", "csc_blob.h"]
