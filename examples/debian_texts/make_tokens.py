#!/usr/bin/env python3
"""Write token arrays of Debian descriptions, for calibration and for measuring.

The file holds ``input_ids`` (int32) and ``attention_mask`` (uint8), one text a row: ``--count``
texts of a split, drawn with a fixed seed.  Needs only numpy and tokenizers.  The same input gives
the same bytes.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import numpy as np

# isort: split
from texts import (
    CHECKPOINT,
    POSITIONS,
    SPLITS,
    TASKS,
    InputError,
    encode,
    load_tokenizer,
    read_texts,
)

SEED = 20260711


def choose(texts: list[str], count: int) -> list[str]:
    """Return ``count`` of the texts of a split."""
    if not 1 <= count <= len(texts):
        raise InputError(f"--count must be from 1 to {len(texts)}, the texts of this split")
    return [texts[i] for i in sorted(random.Random(SEED).sample(range(len(texts)), count))]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write token arrays of Debian descriptions.")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--task", choices=TASKS, default="descriptions")
    parser.add_argument("--count", type=int, default=128, help="texts")
    parser.add_argument("--max-length", type=int, default=POSITIONS, help="tokens of each text")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="folder of the model")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write")
    args = parser.parse_args()
    try:
        if not 2 <= args.max_length <= POSITIONS:
            raise InputError(f"--max-length must be from 2 to {POSITIONS}")
        texts = choose(read_texts(args.split, args.task), args.count)
        ids, mask = encode(texts, load_tokenizer(args.checkpoint), args.max_length)
        with args.output.open("wb") as file:
            np.savez_compressed(file, input_ids=ids, attention_mask=mask)
    except (InputError, OSError) as error:
        print(f"make_tokens.py: {error}", file=sys.stderr)
        return 2
    print(f"{args.output}: {len(ids)} texts of {args.max_length} tokens")
    return 0


if __name__ == "__main__":
    sys.exit(main())
