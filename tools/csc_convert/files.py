"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from .errors import ConvertError


def write_file(path: Path, data: bytes) -> None:
    """Write a file; where that fails, nothing has changed.

    The bytes go to a new file beside it, which takes its place when all of them are on the disk.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ConvertError(
            f"{path}: cannot be written: {error.strerror or error}; nothing was changed."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
