"""Classifies texts with a converted blob: python classify.py MODEL.cscb "a text" ..."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.table import Table

import csc
from csc import CscError
from make_calibration import encode


def trimmed(ids: list[int], mask: list[int]) -> list[int]:
    """Return the ids without the padding behind them."""
    return ids[: sum(mask)]


def show_chip(console: Console, report: list[csc.OpReport]) -> None:
    """Print what the block engine did, in total."""
    blocks = sum(entry.blocks for entry in report)
    clocks = sum(entry.engine_clocks for entry in report)
    accesses = sum(entry.bus_reads + entry.bus_writes for entry in report)
    table = Table("op", "blocks", "engine clocks", "bus reads", "bus writes", title="CS1")
    for entry in report:
        if entry.blocks:
            numbers = (entry.blocks, entry.engine_clocks, entry.bus_reads, entry.bus_writes)
            table.add_row(entry.name, *(f"{number:,}" for number in numbers))
    console.print(table)
    console.print(f"Total: {blocks:,} blocks, {clocks:,} engine clocks, {accesses:,} bus accesses.")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="blob made by csc convert")
    parser.add_argument("texts", nargs="+", help="descriptions to classify")
    parser.add_argument("--backend", default="host", help="host or cs1")
    arguments = parser.parse_args()
    console = Console()
    table = Table("text", "section", "margin")
    report: list[csc.OpReport] = []
    try:
        model = csc.load(arguments.model)
        ids, mask = encode(arguments.texts, model.max_length)
        for text, row, shown in zip(arguments.texts, ids, mask, strict=True):
            tokens = trimmed(row.tolist(), shown.tolist())
            result = csc.infer(model, input_ids=tokens, backend=arguments.backend)
            logits = result["logits"]
            second, best = logits.argsort()[-2:]
            table.add_row(text, model.labels[best], f"{logits[best] - logits[second]:.2f}")
            report = result.report
            if report and not (logits == csc.infer(model, input_ids=tokens)["logits"]).all():
                raise CscError("The chip's bits differ from the host's; this is a bug in csc.")
    except CscError as error:
        print(f"classify.py: {error}", file=sys.stderr)
        return 2
    console.print(table)
    if report:
        show_chip(console, report)
        console.print("The outputs equal the host's bit for bit.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
