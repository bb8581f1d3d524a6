"""What all tests share: the tests' own modules, and the README's commands on one worker."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_collection_modifyitems(items):
    """The README's tests share files in build/, so one worker runs them all (--dist loadgroup)."""
    for item in items:
        if item.path.name == "test_readme.py":
            item.add_marker(pytest.mark.xdist_group("readme"))
