"""Measures CS2 on the full shapes of the encoder families and writes the table of CHIP.md.

    python benchmarks/cs2_table.py [--json FILE] [--write]

Each row is a Hugging Face checkpoint of the published shape with random weights, converted, planned
and run by the whole firmware on the model of the chip: clocks follow from shapes alone, so trained
weights give the same ones. Clocks are exact; the last two columns are of this machine.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from safetensors.numpy import save_file

import csc

DOCUMENT = Path(__file__).resolve().parents[1] / "CHIP.md"
BEGIN, END = "<!-- table: cs2 models -->", "<!-- end table -->"
HIDDEN, HEADS, VOCABULARY, LONGEST, TYPES = 256, 4, 8000, 128, 2


@dataclass(frozen=True)
class Row:
    """A shape, a workload, and what the chip was asked to reach; promises are of the source."""

    name: str
    layers: int
    ffn: int
    classes: int
    tokens: int
    promise_ms: float
    target_ms: float


ROWS = (
    Row("TinyBERT-256", 4, 1024, 24, 128, 20, 14),
    Row("TinyBERT-256", 4, 1024, 24, 32, 20, 9),
    Row("EdgeBERT-256", 4, 512, 24, 128, 20, 10),
    Row("MiniLM-L6 cut to 256", 6, 1024, 0, 128, 32, 20),
)


def tensors(row: Row) -> dict[str, Any]:
    """Return random weights by the names of a BertModel, with a classifier if it has classes."""
    rng = np.random.default_rng(1)
    made: dict[str, Any] = {}

    def linear(name: str, outputs: int, inputs: int) -> None:
        made[f"{name}.weight"] = rng.normal(0, inputs**-0.5, (outputs, inputs))
        made[f"{name}.bias"] = rng.normal(0, 0.1, outputs)

    def layernorm(name: str) -> None:
        made[f"{name}.weight"] = rng.normal(1, 0.1, HIDDEN)
        made[f"{name}.bias"] = rng.normal(0, 0.1, HIDDEN)

    tables = (("word", VOCABULARY), ("position", LONGEST), ("token_type", TYPES))
    for name, count in tables:
        made[f"embeddings.{name}_embeddings.weight"] = rng.normal(0, 0.05, (count, HIDDEN))
    layernorm("embeddings.LayerNorm")
    for number in range(row.layers):
        layer = f"encoder.layer.{number}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            linear(f"{layer}.attention.{part}", HIDDEN, HIDDEN)
        layernorm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", row.ffn, HIDDEN)
        linear(f"{layer}.output.dense", HIDDEN, row.ffn)
        layernorm(f"{layer}.output.LayerNorm")
    if not row.classes:
        return made
    linear("pooler.dense", HIDDEN, HIDDEN)
    made = {f"bert.{name}": array for name, array in made.items()}
    linear("classifier", row.classes, HIDDEN)
    return made


def checkpoint(row: Row, folder: Path) -> Path:
    """Write a Hugging Face directory; returns its path."""
    folder.mkdir()
    settings = {
        "architectures": ["BertForSequenceClassification" if row.classes else "BertModel"],
        "model_type": "bert",
        "hidden_size": HIDDEN,
        "num_attention_heads": HEADS,
        "num_hidden_layers": row.layers,
        "intermediate_size": row.ffn,
        "vocab_size": VOCABULARY,
        "type_vocab_size": TYPES,
        "max_position_embeddings": LONGEST,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
        "id2label": {str(number): f"class {number}" for number in range(row.classes)},
    }
    (folder / "config.json").write_text(json.dumps(settings))
    whole = {name: array.astype(np.float32) for name, array in tensors(row).items()}
    save_file(whole, folder / "model.safetensors")
    return folder


def blob_of(row: Row, folder: Path) -> Path:
    """Convert a row's checkpoint, once for all rows of its shape; returns the blob's path."""
    name = f"{row.name} {row.layers} {row.ffn}".replace(" ", "-")
    blob = folder / f"{name}.cscb"
    if not blob.exists():
        ids = np.random.default_rng(2).integers(0, VOCABULARY, (8, LONGEST))
        np.savez(folder / "calibration.npz", input_ids=ids.astype(np.int32))
        csc.convert(
            checkpoint(row, folder / name), blob, calibration=folder / "calibration.npz",
            wide="none", pooling="auto" if row.classes else "mean",
        )  # fmt: skip
    return blob


def measure(row: Row, folder: Path) -> dict[str, Any]:
    """Profile a row; returns the figures of its line."""
    blob = blob_of(row, folder)
    begin = time.perf_counter()
    report = csc.profile(blob, "cs2", tokens=row.tokens)
    seconds = time.perf_counter() - begin
    shares = report.utilization()
    ffn = [
        op for op in report.ops if ".ffn." in op.name and op.macs >= row.tokens * HIDDEN * row.ffn
    ]
    return {
        "model": row.name,
        "tokens": row.tokens,
        "promise_ms": row.promise_ms,
        "target_ms": row.target_ms,
        "clocks": report.clocks,
        "milliseconds": report.milliseconds,
        "bound_clocks": report.bound.clocks,
        "bound": report.bound.side,
        "ratio": report.ratio,
        "utilization": shares,
        "ffn_utilization": ffn_utilization(report, ffn),
        "energy_uj": report.total_uj,
        "milliwatts": report.milliwatts,
        "host_seconds": seconds,
        "clocks_per_second": report.clocks / seconds,
    }


def ffn_utilization(report: Any, ops: list[Any]) -> float:
    """Return products over the block engine's clocks from first to last command of these ops."""
    numbers = {op.number for op in ops}
    commands = [each for each in report.commands if each.op in numbers and each.engine == "block"]
    spans = {}
    for each in commands:
        start, end = spans.get(each.op, (each.started, each.completed))
        spans[each.op] = min(start, each.started), max(end, each.completed)
    clocks = sum(end - start for start, end in spans.values())
    return sum(op.macs for op in ops) / report.parameters.array / clocks if clocks else 0.0


SHARES = ("block products", "dma", "vector")
HEAD = (
    "| model | tokens | promised, ms | asked, ms | CS2, clocks | CS2, ms | bound, clocks "
    "| bound by | ratio | block engine | DMA | vector | FFN products | energy, uJ | mW |"
)


def line(found: dict[str, Any]) -> str:
    """Return a line of the table."""
    shares = found["utilization"]
    cells = [
        found["model"],
        str(found["tokens"]),
        f"{found['promise_ms']:g}",
        f"{found['target_ms']:g}",
        f"{found['clocks']:,}",
        f"{found['milliseconds']:.2f}",
        f"{found['bound_clocks']:,}",
        found["bound"],
        f"{found['ratio']:.3f}",
        *(f"{100 * shares[engine]:.0f} %" for engine in SHARES),
        f"{100 * found['ffn_utilization']:.1f} %",
        f"{found['energy_uj']:,.0f}",
        f"{found['milliwatts']:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def table(results: list[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    return "\n".join([HEAD, "|" + "---|" * HEAD.count(" | ") + "---|", *map(line, results)])


def main() -> None:
    """Measure all rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--write", action="store_true", help="write the table into CHIP.md")
    options = parser.parse_args()
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder:
        results = [measure(row, Path(folder)) for row in track(ROWS, "measuring", console=console)]
    print(table(results))
    for found in results:
        console.print(
            f"{found['model']}, {found['tokens']} tokens: {found['host_seconds']:.2f} s, "
            f"{found['clocks_per_second'] / 1e6:.2f} M clocks/s"
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    if options.write:
        text = DOCUMENT.read_text()
        inside = f"{BEGIN}\n\n{table(results)}\n\n{END}"
        found_text = re.sub(f"{BEGIN}.*?{END}", lambda _: inside, text, flags=re.DOTALL)
        DOCUMENT.write_text(found_text)


if __name__ == "__main__":
    main()
