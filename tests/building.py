"""Builds the C programs of the tests with the project's CMake presets."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str | Path, **options) -> str:
    """Run a command and return its output; fail with all it printed."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    )
    return done.stdout + done.stderr


@functools.cache
def build(preset: str, target: str, folder: Path, compiler: str | None = None) -> Path:
    """Configure a preset into `folder`, build one target and return the folder."""
    environment = {**os.environ, **({"CC": compiler} if compiler else {})}
    run("cmake", "--preset", preset, "-S", ROOT, "-B", folder, env=environment)
    run("cmake", "--build", folder, "--target", target)
    return folder


def clang() -> str | None:
    """Return a clang that has libFuzzer, or None."""
    names = ["clang", *(f"clang-{version}" for version in range(21, 13, -1))]
    found = [name for name in names if shutil.which(name)]
    return next((name for name in found if _has_libfuzzer(name)), None)


@functools.cache
def _has_libfuzzer(compiler: str) -> bool:
    source = "#include <stddef.h>\nint LLVMFuzzerTestOneInput(const char *d, size_t n)"
    done = subprocess.run(
        [compiler, "-fsanitize=fuzzer,address", "-x", "c", "-", "-o", os.devnull],
        input=source + "{ (void)d; (void)n; return 0; }\n",
        text=True,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0
