"""The exceptions of csc. Each message says what is wrong, where, and what to do."""

from __future__ import annotations


class CscError(Exception):
    """Base of every error csc raises on purpose."""


class BlobError(CscError, ValueError):
    """A file is not a valid blob, or not one this version reads."""


class InputError(CscError, ValueError):
    """An input of a model has a wrong name, dtype, shape or value."""


class ArenaError(CscError, ValueError):
    """An arena is too small or not aligned."""


class ChipError(CscError, RuntimeError):
    """A chip did not answer, its bus failed, or it refused a command.

    Of a command that CS2 refused or did not complete, `cause` and `engine` are names of CHIP.md's
    tables, `command` is its number, `tag` its tag, and `info` depends on the cause.
    """

    cause: str | None = None
    engine: str | None = None
    command: int | None = None
    tag: int | None = None
    info: int | None = None


class DeviceError(CscError, RuntimeError):
    """A device is silent, speaks another protocol, lost bytes, or refused a request.

    `status` is the status of its answer (PROTOCOL.md, section 3), or None where there was none.
    """

    status: str | None = None


class FirmwareError(CscError, ValueError):
    """There is no firmware for a board, or a model does not fit into its memory."""
