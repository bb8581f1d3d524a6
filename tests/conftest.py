"""What all tests share: the tests' own modules, and the tools of the environment they run in."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

# cmake, ninja, zig and csc come with the test environment, which need not be activated.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The firmware's server as a program of the host, under sanitizers."""
    from building import build  # the tests' own modules are found only now

    folder = build("sanitize", "serve_stdio", tmp_path_factory.mktemp("server"))
    return str(folder / "tests/c/serve_stdio")
