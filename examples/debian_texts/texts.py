"""The texts of this example as tokens: package descriptions, one row of tokens for each.

A row is ``<|endoftext|>``, the text, and ``<|endoftext|>`` again, cut to the number of positions.
The descriptions are those of ``../debian_sections/data``.  Needs only numpy and tokenizers.
"""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "debian_sections" / "data"
CHECKPOINT = HERE / "checkpoint"
SPLITS = ("train", "validation")
END = "<|endoftext|>"
POSITIONS = 128


class InputError(Exception):
    """Bad input that the user can mend; its text is the one line shown."""


def read_texts(split: str, data: Path = DATA) -> list[str]:
    """Return the texts of the split "train" or "validation"."""
    path = data / f"{split}.tsv.xz"
    try:
        with lzma.open(path, "rt", encoding="utf-8", newline="\n") as file:
            rows = [line.rstrip("\n").split("\t") for line in file]
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: examples/debian_sections makes it") from error
    except (lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if not rows or rows[0][-1] != "text" or any(len(row) != len(rows[0]) for row in rows):
        raise InputError(f"{path} is not a table with the last column text")
    return [row[-1] for row in rows[1:]]


def load_tokenizer(folder: Path = CHECKPOINT) -> Tokenizer:
    """Return the tokenizer in a model's folder."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InputError(f"{path} is missing: run train.py first")
    return Tokenizer.from_file(str(path))


def encode(
    texts: list[str], tokenizer: Tokenizer, length: int = POSITIONS
) -> tuple[np.ndarray, np.ndarray]:
    """Return (input_ids int32, attention_mask uint8), both [len(texts)][length]."""
    end = tokenizer.token_to_id(END)
    ids = np.full((len(texts), length), end, np.int32)
    mask = np.zeros((len(texts), length), np.uint8)
    for row, found in enumerate(tokenizer.encode_batch(texts)):
        tokens = [end, *found.ids, end][:length]
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return ids, mask
