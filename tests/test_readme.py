"""README.md is run: every command, every piece of Python, and its figures are compared."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import measured  # noqa: E402
from boards import need_qemu  # noqa: E402

# These tests share files in build/, so one worker runs them all (--dist loadgroup).
pytestmark = pytest.mark.xdist_group("readme")

README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


def run(command):
    done = subprocess.run(
        command, shell=True, cwd=ROOT, env=ENVIRONMENT, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def demo():
    """Run the main job in the environment of the tests; what it printed."""
    return run(f"make demo VENV={sys.prefix} SETUP=")


def test_readme_names_the_two_commands():
    assert COMMANDS[:2] == ["make demo", "make test"]


def number(text):
    return float(re.sub(r"[^0-9.]", "", text))


def test_figures_are_what_the_demo_measures(demo):
    """Sizes and counts exactly; accuracy to 0.1 points and data-dependent clocks to 1 %.

    Float32 sums differ by machine, and with them the last bit of a scale.
    """
    expected = dict(measured.rows(measured.read(ROOT / "build" / "demo")))
    found = measured.shown(README)
    assert list(found) == list(expected)
    for what, value in expected.items():
        near = 0.1 if "%" in value else 1.0 if "dB" in value else 0
        near = number(value) / 100 if "whole" in what or "CS2" in what or "ms" in value else near
        assert abs(number(found[what]) - number(value)) <= near, (what, found[what], value)


def test_demo_shows_tables(demo):
    for word in (
        "SQNR dB",
        "agreement of predictions",
        "section",
        "CS1 block engine",
        "ratio to the bound",
    ):
        assert word in demo


def test_integer_model_is_good_enough(demo):
    found = measured.read(ROOT / "build" / "demo")["verify"]
    assert found["sequences"] > 2000
    assert found["agreement"] >= 0.99
    assert found["integer_accuracy"] >= found["float_accuracy"] - 0.005


@pytest.mark.parametrize("command", COMMANDS[2:])
def test_command(demo, command):
    run(command)


@pytest.mark.parametrize("code", blocks("python"))
def test_python(demo, code):
    for board in re.findall(r'"qemu:([^"]+)"', code):
        need_qemu(board)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0 and done.stdout, done.stderr
