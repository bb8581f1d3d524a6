"""Writes what `make demo` measured into README.md: python tools/measured.py [--folder build/demo].

The tests run the demo and compare README.md with what it measured then.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- measured -->", "<!-- end measured -->"


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the JSON results of the demo by name."""
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in RESULTS}


RESULTS = ("convert", "verify", "cs1", "profile", "cs2")


def rows(found: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Return (what, value) of every figure README.md shows."""
    convert, verify, profile = found["convert"], found["verify"], found["profile"]
    cs2 = found["cs2"]
    chip = found["cs1"]["chip"]
    return [
        ("validation texts", f"{verify['sequences']:,}"),
        ("accuracy in float32", f"{100 * verify['float_accuracy']:.2f} %"),
        ("accuracy in integers", f"{100 * verify['integer_accuracy']:.2f} %"),
        ("same prediction", f"{100 * verify['agreement']:.2f} %"),
        ("SQNR of the logits", f"{verify['sqnr_db']['logits']:.1f} dB"),
        ("blob", f"{convert['blob_bytes']:,} bytes"),
        ("arena for 128 tokens", f"{convert['arena_bytes']:,} bytes"),
        ("8x8x8 blocks on CS1, 128 tokens", f"{sum(op['blocks'] for op in chip):,}"),
        ("engine clocks on CS1, 128 tokens", f"{sum(op['engine_clocks'] for op in chip):,}"),
        ("clocks of the whole CS1 chip, 8 tokens", f"{profile['clocks']:,}"),
        ("that time at 100 MHz, CS1", f"{profile['milliseconds']:,.1f} ms"),
        ("clocks of the whole CS2 chip, 128 tokens", f"{cs2['clocks']:,}"),
        ("that time at 100 MHz, CS2", f"{cs2['milliseconds']:,.2f} ms"),
        ("ratio of that to the bound, CS2", f"{cs2['ratio_to_bound']:.3f}"),
        ("energy of that run, CS2", f"{cs2['total_uj']:,.0f} uJ"),
    ]


def block(found: dict[str, dict[str, Any]]) -> str:
    """Return the text between the markers."""
    lines = ["| what | measured |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in rows(found)]
    return "\n".join([BEGIN, *lines, END])


def shown(text: str) -> dict[str, str]:
    """Return the figures a README shows, by what they are."""
    inside = text.partition(BEGIN)[2].partition(END)[0]
    cells = [line.strip("| ").split(" | ") for line in inside.strip().splitlines()[2:]]
    return {what: value for what, value in cells}


def main() -> None:
    """Rewrite the block in README.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "demo")
    readme = ROOT / "README.md"
    head, _, rest = readme.read_text().partition(BEGIN)
    tail = rest.partition(END)[2]
    readme.write_text(head + block(read(parser.parse_args().folder)) + tail)


if __name__ == "__main__":
    main()
