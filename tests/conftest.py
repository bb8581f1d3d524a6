"""What all tests share: the tests' own modules, and the tools of the environment they run in."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# cmake, ninja, zig and csc come with the test environment, which need not be activated.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
