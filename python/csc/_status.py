"""Turns a status of the C runtime into one sentence and the exception to raise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from csc import _blob_format as fmt
from csc import _cs2_format as chip
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
    "(SPEC.md section 4, rules 12 and 16). " + _REMAKE,
    "CSC_ERR_ENTRY": "entry {index} has a bad field '{entry_field}' (SPEC.md section 4, rule 15). "
    + _REMAKE,
    "CSC_ERR_PLAN": "its plan has a bad field '{plan_field}' (SPEC.md section 4, rule 14). "
    + _REMAKE,
}

# What a chip says of a command it refuses or gives up (CHIP.md, causes).
_CAUSES = {
    chip.Cause.CODE: "its code or a reserved bit is unknown to the chip ({info:#x})",
    chip.Cause.SHAPE: "a shape is zero or too large (word {info})",
    chip.Cause.ALIGNMENT: "an address is not aligned (word {info})",
    chip.Cause.RANGE: "an operand lies beyond its memory (word {info})",
    chip.Cause.BOUND: "a sum could leave 32 bits (word {info})",
    chip.Cause.VALUE: "a parameter is out of its range (word {info})",
    chip.Cause.EXTERNAL: "the external memory answered with an error at {info:#x}",
    chip.Cause.OVERRUN: "the queue was told of more commands than it holds ({info})",
    chip.Cause.QUEUE: "the place or size of the queue is unusable ({info:#x})",
}
_DAMAGED = {chip.Cause.EXTERNAL: "check the external memory"}


@dataclass(frozen=True)
class PlanState:
    """Whether a run followed the model's plan; `name` is that of C, `reason` a sentence."""

    name: str
    reason: str

    @property
    def is_used(self) -> bool:
        """Whether the chip ran the plan."""
        return self.name == "used"


_PLAN_STATES = {
    "none": "The model has no plan.",
    "used": "The chip ran the plan.",
    "backend": "The backend has no chip that runs plans.",
    "chip": "The plan is for another chip.",
    "length": "The run is longer than the plan.",
    "sram": "The plan needs more SRAM than the chip has.",
    "arena": "The arena is not the chip's SRAM, or not as much of it as the plan needs.",
    "blob": "The model does not lie in the chip's external memory.",
    "store": "There is not enough external memory for what the plan stores there.",
}


def plan_state(number: int) -> PlanState:
    """Return a state of C (csc_plan_state_t)."""
    names = {int(getattr(lib, f"CSC_PLAN_{name.upper()}")): name for name in _PLAN_STATES}
    name = names.get(number, str(number))
    return PlanState(name, _PLAN_STATES.get(name, "The device gives a reason unknown here."))


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
        plan_field=_field(fmt.PLAN, item),
        entry_field=_field(fmt.ENTRY, item),
    )


def status_name(status: int) -> str:
    """Return the C name of a status."""
    return str(ffi.string(lib.csc_status_name(status)).decode())


def load_error(error: Any, blob: bytes | memoryview, where: str) -> CscError:
    """Return the exception for a failed csc_load_model of the blob called `where`."""
    name = status_name(error.status)
    return BlobError(f"{where} is not a usable blob: {_blob_sentence(name, error, blob)}")


def _command_sentence(error: Any, op: str, where: str) -> str:
    """Say which command the chip stopped at, and why."""
    if error.need not in set(chip.Cause):
        cause, todo = f"cause {error.need} (information {error.have})", ""
    else:
        number = chip.Cause(error.need)
        cause = _CAUSES.get(number, "{number.name} ({info})").format(info=error.have, number=number)
        todo = _DAMAGED.get(number, "")
    todo = todo or "make the blob again with 'csc convert'; if it stays so, replace the chip"
    return f"The chip stopped at command {error.item} of {op} of {where}: {cause}; {todo}."


def _timeout_sentence(error: Any, op: str, where: str) -> str:
    if error.index == fmt.NONE:
        return f"The chip did not finish the plan of {where} in time; reset it."
    if error.have:
        return (
            f"The chip did not finish in time in {op} of {where}: command {error.item} was given "
            f"up after {error.have} clocks; reset it, and if it stays so, replace the chip."
        )
    return f"The chip did not finish in time in {op} of {where}; reset it."


def _input_sentence(name: str, error: Any, op: str, where: str) -> str | None:
    """Say what is wrong with what was given to run; None where it is something else."""
    if name == "CSC_ERR_LENGTH":
        return (
            f"The inputs of {where} have {error.have} positions, but it takes 1 to {error.need}; "
            f"shorten them, or convert the model with a larger --max-length."
        )
    if name == "CSC_ERR_TOKEN":
        return (
            f"The id at position {error.item} is {error.have}, but {op} of {where} has ids 0 to "
            f"{error.need - 1}; use the tokenizer the model was trained with."
        )
    if name == "CSC_ERR_NO_ENTRY":
        return f"There is no entry {error.have}: {where} has {error.need} of them, from 0 on."
    if name == "CSC_ERR_POSITION":
        return (
            f"The sequence would have {error.have} positions, but {where} has {error.need}; "
            f"reset the session, or convert the model with a larger context."
        )
    return None


def run_error(error: Any, op_names: list[str], where: str) -> CscError:
    """Return the exception for a failed csc_start or csc_run of the model called `where`."""
    name = status_name(error.status)
    known = error.index < len(op_names)
    op = f"op {error.index} ('{op_names[error.index]}')" if known else "the plan"
    wrong_input = _input_sentence(name, error, op, where)
    if wrong_input is not None:
        return InputError(wrong_input)
    if name == "CSC_ERR_ARENA":
        return ArenaError(
            f"The arena for {where} needs {error.need} bytes but has {error.have}; "
            f"give one of at least model.arena_bytes."
        )
    if name == "CSC_ERR_ALIGNMENT":
        return ArenaError(f"The arena for {where} must start at a multiple of {error.need} bytes.")
    if name == "CSC_ERR_BUS":
        return ChipError(f"The chip's bus failed in {op} of {where}; check the wiring.")
    if name == "CSC_ERR_CHIP_EARLY":
        return ChipError(
            f"The chip ended a run too early in {op} of {where}, before its results were there; "
            f"run it again, and if it stays so, replace the chip."
        )
    if name == "CSC_ERR_CHIP_TIMEOUT":
        return ChipError(_timeout_sentence(error, op, where))
    if name == "CSC_ERR_CHIP_COMMAND":
        return ChipError(_command_sentence(error, op, where))
    return CscError(f"{where}: unexpected status {name}.")
