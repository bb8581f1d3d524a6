"""Runs the plan of a blob on the reference of CS2 and compares it with the oracle."""

from __future__ import annotations

import numpy as np

from cs2_reference import Reference
from csc import Chip
from csc_convert import blob_format as fmt
from csc_convert.oracle import read_blob, run


def section(blob, kind):
    """Return the bytes of a section."""
    count = int(np.frombuffer(blob, fmt.HEADER, 1)[0]["section_count"])
    entry = np.frombuffer(blob, fmt.SECTION, count, fmt.HEADER.itemsize)[kind - 1]
    return blob[int(entry["offset"]) : int(entry["offset"] + entry["bytes"])]


def length_of(inputs):
    return len(next(iter(inputs.values())))


def fill_sram(model, inputs, seed=0):
    """SRAM before a run: the inputs at their places, anything elsewhere."""
    sram = np.random.default_rng(seed).integers(0, 256, model.plan.sram_bytes, np.uint8)
    for tensor in model.inputs:
        default = np.full(length_of(inputs), tensor.default_value)
        values = np.asarray(inputs.get(tensor.name, default)).astype(tensor.dtype)
        sram[tensor.offset :][: values.nbytes] = values.view(np.uint8)
    return sram


def read_output(sram, tensor, length):
    rows = length if tensor.dynamic else tensor.dims[0]
    data = sram[tensor.offset : tensor.offset + tensor.bytes].view(tensor.dtype)
    data = data[: rows * tensor.row_stride].reshape(rows, tensor.row_stride)
    return data[:, : tensor.dims[1]].reshape(rows, *tensor.shape[1:])


def execute(blob, inputs, check_hazards=True):
    """Follow the plan as the firmware does; returns the outputs by name."""
    model, length = read_blob(blob), length_of(inputs)
    reference = Reference(
        fill_sram(model, inputs),
        section(blob, fmt.Section.WEIGHTS),
        params=[length],
        check_hazards=check_hazards,
    )
    reference.execute(model.plan.descriptors)
    return {t.name: read_output(reference.sram, t, length) for t in model.outputs}


def run_on_chip(blob, inputs):
    """Follow the plan on the model of the chip; returns the run, the outputs and the totals."""
    model, weights = read_blob(blob), section(blob, fmt.Section.WEIGHTS)
    program = model.plan.descriptors
    chip = Chip("cs2", external=weights + program)
    chip.write_sram(0, fill_sram(model, inputs))
    places = {"weights": (0, len(weights)), "store": (len(weights), len(program))}
    done = chip.run(program, [length_of(inputs)], at=2 << 30, **places)
    sram = np.frombuffer(chip.read_sram(0, model.plan.sram_bytes), np.uint8)
    outputs = {t.name: read_output(sram, t, length_of(inputs)) for t in model.outputs}
    return done, outputs, chip.totals


def assert_follows(blob, inputs):
    """The plan gives the bits of the oracle, and its waits leave no race."""
    found = execute(blob, inputs)
    for name, wanted in run(blob, inputs).items():
        np.testing.assert_array_equal(found[name], wanted, err_msg=name)
