"""Blobs with plans written by hand, good and bad ones."""

from __future__ import annotations

import numpy as np

from blob_factory import Case, tiny_encoder_blob
from csc_convert import blob_format as fmt
from csc_convert import cs2_format as cs2
from csc_convert.blob_writer import with_plan

CS2, VERSION = 0x00325343, 0x00010000


def command(name: str, **given: int) -> bytes:
    """Return a descriptor; BATCH is 1 unless given."""
    words = [0] * (cs2.COMMAND_BYTES // 4)
    code, _, own = cs2.COMMANDS[name]
    for field, value in {"CODE": code, "BATCH": 1, **given}.items():
        word, low, bits, _ = {**cs2.HEADER, **own}[field]
        words[word] |= (value & ((1 << bits) - 1)) << low
    return np.array(words, "<u4").tobytes()


def plan(commands: bytes = command("NOP"), **given: object) -> bytes:
    """Return a plan for the tiny encoder; fields of its record may be given."""
    record = np.zeros((), fmt.PLAN)
    record["chip"], record["version"] = CS2, VERSION
    record["command_count"] = len(commands) // cs2.COMMAND_BYTES
    record["max_length"], record["sram_bytes"] = 9, 65536
    for name, value in given.items():
        record[name] = value
    return record.tobytes() + commands


def planned_blob(commands: bytes = command("NOP"), **given: object) -> Case:
    """Return the tiny encoder with a plan, which computes nothing unless it is given."""
    blob, inputs = tiny_encoder_blob()
    return with_plan(blob, plan(commands, **given)), inputs
