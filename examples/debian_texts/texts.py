"""The texts of this example as tokens: descriptions of packages, or questions with answers.

A row is ``<|endoftext|>``, the text, and ``<|endoftext|>`` again, cut to the number of positions;
it also stands between a question and its answer.  The facts are those of
``../debian_sections/data``.  Needs only numpy and tokenizers.
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
TASKS = ("descriptions", "answers")
END = "<|endoftext|>"
POSITIONS = 128
# Questions of the train split and of the validation split: what a package is, and its section.
QUESTIONS = {
    "train": (
        ("what is {}?", "what does {} do?", "tell me about {}.", "what is the package {} for?"),
        ("which section is {} in?", "where does {} belong?", "what is the section of {}?"),
    ),
    "validation": (("describe {}.",), ("in which section is {}?",)),
}


class InputError(Exception):
    """Bad input that the user can mend; its text is the one line shown."""


def read_texts(split: str, task: str = "descriptions", data: Path = DATA) -> list[str]:
    """Return the texts of the split "train" or "validation"."""
    if task == "descriptions":
        return [text for _, _, text in read_rows(split, data)]
    return ask(read_rows("train", data), split)


def ask(rows: list[tuple[str, str, str]], split: str) -> list[str]:
    """Return two questions with their answers for each package.

    The packages of both splits are the same, since nobody can tell what an unknown name stands for;
    the validation split puts its questions in other words.
    """
    texts = []
    for number, (section, package, text) in enumerate(rows):
        answers = (text.split(". ")[0], section)
        for questions, answer in zip(QUESTIONS[split], answers, strict=True):
            question = questions[number % len(questions)].format(package)
            texts.append(f"{question}{END}{answer}")
    return texts


def read_rows(split: str, data: Path = DATA) -> list[tuple[str, str, str]]:
    """Return section, package and description of every package of a split."""
    path = data / f"{split}.tsv.xz"
    try:
        with lzma.open(path, "rt", encoding="utf-8", newline="\n") as file:
            rows = [line.rstrip("\n").split("\t") for line in file]
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: examples/debian_sections makes it") from error
    except (lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if not rows or rows[0] != ["section", "package", "text"] or any(len(r) != 3 for r in rows):
        raise InputError(f"{path} is not a table of section, package and text")
    return [(section, package, text) for section, package, text in rows[1:]]


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
