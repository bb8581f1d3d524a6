"""Turns a status of the C runtime into one sentence and the exception to raise."""

from __future__ import annotations

from typing import Any

import numpy as np

from csc import _blob_format as fmt
from csc._csc import ffi, lib
from csc.errors import ArenaError, BlobError, ChipError, CscError, InputError

_REMAKE = "Make the blob again with 'csc convert', or copy it again."

_BAD_BLOB = {
    "CSC_ERR_MAGIC": "it does not start with the magic of a CSC blob; it is some other file. "
    "Give a file made by 'csc convert'.",
    "CSC_ERR_VERSION": "its format version is {have_version}, this csc reads {need_version}. "
    "Convert the model again with this csc, or use the csc that made the blob.",
    "CSC_ERR_HEADER_CRC": "the CRC of its header is {have:#010x} in the file but {need:#010x} by "
    "computation; the header is damaged. " + _REMAKE,
    "CSC_ERR_SECTION_CRC": "the CRC of section {section} is {have:#010x} in the file but "
    "{need:#010x} by computation; the section is damaged. " + _REMAKE,
    "CSC_ERR_HEADER": "the header field at byte {index} is not valid (SPEC.md 1.1). " + _REMAKE,
    "CSC_ERR_SECTION": "section {section} has a wrong place or size (SPEC.md 1.1). " + _REMAKE,
    "CSC_ERR_TENSOR": "tensor {index} has a bad field '{tensor_field}' (SPEC.md section 4, rules "
    "4 to 7). " + _REMAKE,
    "CSC_ERR_OP": "op {index} has a bad field '{op_field}' (SPEC.md section 4, rules 8 and 10). "
    + _REMAKE,
    "CSC_ERR_OPERAND": "operand {item} of op {index} does not fit the op (SPEC.md section 4, rule "
    "9). " + _REMAKE,
    "CSC_ERR_WEIGHTS": "the weights of operand {item} of op {index} hold a forbidden value "
    "(SPEC.md section 4, rule 11). " + _REMAKE,
    "CSC_ERR_DATA_FLOW": "{place} is read before it is written, or overwritten too early "
    "(SPEC.md section 4, rule 12). " + _REMAKE,
}


def _field(record: np.dtype[Any], offset: int) -> str:
    """Return the name of the field of `record` at a byte offset."""
    assert record.names and record.fields
    starts = {int(record.fields[name][1]): name for name in record.names}
    return starts[max(start for start in starts if start <= offset)]


def _version(number: int) -> str:
    return f"{number >> 16}.{number & 0xFFFF}"


def _blob_sentence(name: str, error: Any, blob: bytes | memoryview) -> str:
    index, item = int(error.index), int(error.item)
    if name == "CSC_ERR_TRUNCATED":
        if error.have < fmt.HEADER_BYTES:
            needed = fmt.HEADER_BYTES
            return f"it has {error.have} bytes, less than the {needed} of a header. {_REMAKE}"
        return f"its header says {error.need} bytes, but it has {error.have}. {_REMAKE}"
    section = fmt.Section(index).name if 1 <= index <= len(fmt.Section) else str(index)
    flow = f"tensor {index}" if item == fmt.NONE else f"operand {item} of op {index}"
    return _BAD_BLOB[name].format(
        index=index,
        item=item,
        need=error.need,
        have=error.have,
        section=section,
        place=flow,
        need_version=_version(error.need),
        have_version=_version(error.have),
        tensor_field=_field(fmt.TENSOR, item),
        op_field=_field(fmt.OP, item),
    )


def status_name(status: int) -> str:
    """Return the C name of a status."""
    return str(ffi.string(lib.csc_status_name(status)).decode())


def load_error(error: Any, blob: bytes | memoryview, where: str) -> CscError:
    """Return the exception for a failed csc_load_model of the blob called `where`."""
    name = status_name(error.status)
    return BlobError(f"{where} is not a usable blob: {_blob_sentence(name, error, blob)}")


def run_error(error: Any, op_names: list[str], where: str) -> CscError:
    """Return the exception for a failed csc_start or csc_run of the model called `where`."""
    name = status_name(error.status)
    op = f"op {error.index} ('{op_names[error.index]}')" if error.index < len(op_names) else ""
    if name == "CSC_ERR_ARENA":
        return ArenaError(
            f"The arena for {where} needs {error.need} bytes but has {error.have}; "
            f"give one of at least model.arena_bytes."
        )
    if name == "CSC_ERR_ALIGNMENT":
        return ArenaError(f"The arena for {where} must start at a multiple of {error.need} bytes.")
    if name == "CSC_ERR_LENGTH":
        return InputError(
            f"The inputs of {where} have {error.have} positions, but it takes 1 to {error.need}; "
            f"shorten them, or convert the model with a larger --max-length."
        )
    if name == "CSC_ERR_TOKEN":
        return InputError(
            f"The id at position {error.item} is {error.have}, but {op} of {where} has ids 0 to "
            f"{error.need - 1}; use the tokenizer the model was trained with."
        )
    if name == "CSC_ERR_BUS":
        return ChipError(f"The chip's bus failed in {op} of {where}; check the wiring.")
    if name == "CSC_ERR_CHIP_EARLY":
        return ChipError(
            f"The chip ended a run too early in {op} of {where}, before its results were there; "
            f"run it again, and if it stays so, replace the chip."
        )
    if name == "CSC_ERR_CHIP_TIMEOUT":
        return ChipError(f"The chip did not finish in time in {op} of {where}; reset it.")
    return CscError(f"{where}: unexpected status {name}.")
