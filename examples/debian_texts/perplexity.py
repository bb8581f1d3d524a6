"""Perplexity of a blob on validation texts: python perplexity.py MODEL.cscb --count 200.

The blob needs the entry ``score``, which ``csc convert --score`` adds.  The C runtime runs it, so
many texts take little time; ``--source`` measures the float model on the same texts too.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np

import csc
from csc import CscError
from csc_convert import ConvertError, load_source

# isort: split
from make_tokens import choose
from texts import InputError, encode, load_tokenizer, read_texts


def loss_of(logits: np.ndarray, ids: np.ndarray) -> float:
    """Return the loss of all tokens [T] but the first, by the logits [T][V] before each."""
    below = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    shares = below - np.log(np.exp(below).sum(axis=1, keepdims=True))
    return -float(shares[np.arange(len(ids) - 1), ids[1:]].sum())


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="blob with the entry score")
    parser.add_argument("--count", type=int, default=200, help="texts of the validation split")
    parser.add_argument("--source", type=Path, help="folder of the float model")
    args = parser.parse_args()
    try:
        session = csc.load(args.model).session()
        texts = choose(read_texts("validation"), args.count)
        ids, mask = encode(texts, load_tokenizer())
        loss = 0.0
        for row, length in zip(ids, mask.sum(1), strict=True):
            session.reset()
            found = session.run("score", {"input_ids": row[:length]})
            loss += loss_of(found["score/logits"], row[:length])
        tokens = int(mask[:, 1:].sum())
        print(f"integer perplexity {math.exp(loss / tokens):.3f} ({tokens} tokens)")
        if args.source:
            rows = load_source(args.source).run({"input_ids": ids, "attention_mask": mask})
            pairs = zip(rows["logits"], ids, mask.sum(1), strict=True)
            loss = sum(loss_of(logits[:n], row[:n]) for logits, row, n in pairs)
            print(f"float32 perplexity {math.exp(loss / tokens):.3f}")
    except (ConvertError, CscError, InputError) as error:
        print(f"perplexity.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
