#!/usr/bin/env python3
"""Write token arrays of the Debian section data set, for calibration and for testing.

``calibration.npz`` holds ``input_ids`` (int32) and ``attention_mask`` (uint8) of train texts
drawn with a fixed seed; ``validation.npz`` holds the whole validation set and its ``labels``
(int32) too.  Needs only numpy and tokenizers.  The same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import os
import random
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
CHECKPOINT = HERE / "checkpoint"
SPLITS = ("train", "validation")
MAX_LENGTH = 128
SEED = 20260711


class InputError(Exception):
    """Bad input that the user can mend; its text is the one line shown."""


def read_split(name: str, data: Path = DATA) -> tuple[list[str], list[str]]:
    """Return (labels, texts) of the split ``name``, "train" or "validation"."""
    path = data / f"{name}.tsv.xz"
    try:
        with lzma.open(path, "rt", encoding="utf-8", newline="\n") as file:
            rows = [line.rstrip("\n").split("\t") for line in file]
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: run make_data.py first") from error
    except (lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if not rows or rows[0] != ["section", "package", "text"] or any(len(r) != 3 for r in rows):
        raise InputError(f"{path} is not a table of section, package and text")
    return [row[0] for row in rows[1:]], [row[2] for row in rows[1:]]


def read_label2id(checkpoint: Path = CHECKPOINT) -> dict[str, int]:
    """Return the class number of each section name."""
    path = checkpoint / "config.json"
    try:
        return dict(json.loads(path.read_text("utf-8"))["label2id"])
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: run train.py first") from error
    except (ValueError, KeyError) as error:
        raise InputError(f"{path} holds no label2id") from error


def encode(
    texts: list[str], max_length: int = MAX_LENGTH, checkpoint: Path = CHECKPOINT
) -> tuple[np.ndarray, np.ndarray]:
    """Return (input_ids int32, attention_mask uint8), both [len(texts), max_length]."""
    path = checkpoint / "tokenizer.json"
    if not path.is_file():
        raise InputError(f"{path} is missing: run train.py first")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(max_length)
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]"), length=max_length)
    encodings = tokenizer.encode_batch(texts)
    ids = np.array([item.ids for item in encodings], dtype=np.int32)
    mask = np.array([item.attention_mask for item in encodings], dtype=np.uint8)
    return ids.reshape(-1, max_length), mask.reshape(-1, max_length)


def choose(total: int, count: int | None, seed: int | None) -> list[int]:
    """Return ``count`` of the row numbers below ``total``, ascending; the first ones if no seed."""
    if count is None:
        return list(range(total))
    if not 1 <= count <= total:
        raise InputError(f"--count must be from 1 to {total}, the rows of this split")
    if seed is None:
        return list(range(count))
    return sorted(random.Random(seed).sample(range(total), count))


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """Return the bytes of an .npz file without the time of day in it."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            member.create_system = 3
            member.external_attr = 0o644 << 16
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(member, buffer.getvalue())
    return target.getvalue()


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` by way of a temporary file next to it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def make(split: str, count: int | None, max_length: int, checkpoint: Path) -> dict[str, np.ndarray]:
    """Return the arrays of ``count`` rows of a split; of the validation split with labels."""
    labels, texts = read_split(split)
    rows = choose(len(texts), count, SEED if split == "train" else None)
    ids, mask = encode([texts[row] for row in rows], max_length, checkpoint)
    arrays = {"input_ids": ids, "attention_mask": mask}
    if split == "validation":
        label2id = read_label2id(checkpoint)
        arrays["labels"] = np.array([label2id[labels[row]] for row in rows], dtype=np.int32)
    return arrays


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write token arrays of the Debian section data.")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--count", type=int, help="rows (default: 256 of train, all of validation)")
    parser.add_argument("--max-length", type=int, default=MAX_LENGTH, help="tokens of each row")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="folder of the model")
    parser.add_argument("-o", "--output", type=Path, help="file to write")
    args = parser.parse_args()
    output = args.output or Path("calibration.npz" if args.split == "train" else "validation.npz")
    count = 256 if args.count is None and args.split == "train" else args.count
    try:
        if not 2 <= args.max_length <= MAX_LENGTH:
            raise InputError(f"--max-length must be from 2 to {MAX_LENGTH}")
        arrays = make(args.split, count, args.max_length, args.checkpoint)
        write_atomic(output, npz_bytes(arrays))
    except (InputError, OSError) as error:
        print(f"make_calibration.py: {error}", file=sys.stderr)
        return 2
    print(f"{output}: {len(arrays['input_ids'])} rows of {args.max_length} tokens")
    return 0


if __name__ == "__main__":
    sys.exit(main())
