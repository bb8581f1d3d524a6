#!/usr/bin/env python3
"""Train a small GPT-2 on the descriptions of Debian packages.

Learns a byte-pair vocabulary and then to tell the next token, and saves ``checkpoint/`` as Hugging
Face has it, weights in float16.  ``--evaluate`` prints the perplexity of the saved checkpoint.
The defaults make the committed checkpoint; ``--layers 8 --width 256 --vocabulary 2048 --steps
20000`` makes a MicroGPT-256, ``--task answers --layers 6 --width 256 --vocabulary 5000 --steps
20000`` a DialoGPT-Nano.
Needs torch, transformers, tokenizers, safetensors and numpy.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

# isort: split
from texts import (
    CHECKPOINT,
    END,
    POSITIONS,
    TASKS,
    InputError,
    encode,
    load_tokenizer,
    read_texts,
)

WARM_UP = 0.05
IGNORED = -100


def make_tokenizer(texts: list[str], vocabulary: int) -> Tokenizer:
    """Learn a byte-pair vocabulary from ``texts``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the files of a Hugging Face tokenizer."""
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": POSITIONS}
    settings |= {"bos_token": END, "eos_token": END}
    text = json.dumps(settings, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, "utf-8")


def make_model(args: argparse.Namespace) -> GPT2LMHeadModel:
    """Return an untrained model."""
    config = GPT2Config(
        vocab_size=args.vocabulary,
        n_positions=POSITIONS,
        n_embd=args.width,
        n_layer=args.layers,
        n_head=args.heads,
        embd_pdrop=args.dropout,
        attn_pdrop=0.0,
        resid_pdrop=args.dropout,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config)


def loss_of(model: nn.Module, ids: Tensor, mask: Tensor, reduction: str = "mean") -> Tensor:
    """Return the cross entropy of each visible token behind the first, given those before it."""
    logits = model(input_ids=ids).logits[:, :-1]
    wanted = torch.where(mask[:, 1:] != 0, ids[:, 1:].long(), IGNORED)
    return nn.functional.cross_entropy(
        logits.float().flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction=reduction
    )


def batches(lengths: np.ndarray, size: int, shuffle: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield row numbers without end, in batches of rows of about the same length."""
    while True:
        order = shuffle.permutation(len(lengths))
        groups = []
        for start in range(0, len(order), size * 50):
            part = order[start : start + size * 50]
            part = part[np.argsort(lengths[part], kind="stable")]
            groups += [part[first : first + size] for first in range(0, len(part), size)]
        for number in shuffle.permutation(len(groups)):
            yield groups[number]


def take(
    ids: np.ndarray, mask: np.ndarray, rows: np.ndarray, multiple: int = 8
) -> tuple[Tensor, Tensor]:
    """Return (ids, mask) of ``rows``, cut to the longest of them, a multiple of 8."""
    width = -(-int(mask[rows].sum(1).max()) // multiple) * multiple
    return torch.from_numpy(ids[rows, :width]), torch.from_numpy(mask[rows, :width])


def make_optimizer(model: nn.Module, args: argparse.Namespace) -> torch.optim.Optimizer:
    """Return AdamW that decays matrices only."""
    groups = [
        {"params": [w for w in model.parameters() if w.dim() > 1], "weight_decay": args.decay},
        {"params": [w for w in model.parameters() if w.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=args.rate, betas=(0.9, 0.95), fused=True)


def rate_factor(step: int, steps: int) -> float:
    """Return the learning rate's share: it rises straight, then falls to a tenth on a cosine."""
    first = max(1, int(steps * WARM_UP))
    if step < first:
        return (step + 1) / first
    return 0.55 + 0.45 * math.cos(math.pi * (step - first) / max(1, steps - first))


def learn(model: nn.Module, ids: np.ndarray, mask: np.ndarray, args: argparse.Namespace) -> None:
    """Minimise the loss for some steps."""
    optimizer = make_optimizer(model, args)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: rate_factor(i, args.steps))
    order = batches(mask.sum(1), args.batch, np.random.default_rng(args.seed))
    mean, start = 0.0, time.monotonic()
    model.train()
    for step in range(args.steps):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bfloat16):
            loss = loss_of(model, *take(ids, mask, next(order)))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        rates.step()
        mean = 0.98 * mean + 0.02 * loss.item() if step else loss.item()
        if (step + 1) % 50 == 0:
            spent = time.monotonic() - start
            print(f"step {step + 1}/{args.steps}, loss {mean:.3f}, {spent:.0f} s", flush=True)


@torch.no_grad()
def perplexity(model: nn.Module, ids: np.ndarray, mask: np.ndarray) -> float:
    """Return e to the mean loss of all visible tokens behind the first of each row."""
    model.eval()
    total = 0.0
    for rows in np.array_split(np.argsort(mask.sum(1), kind="stable"), -(-len(ids) // 64)):
        total += float(loss_of(model, *take(ids, mask, rows), reduction="sum"))
    return math.exp(total / int(mask[:, 1:].sum()))


def train_into(args: argparse.Namespace, folder: Path) -> None:
    """Train a model and save it in ``folder``."""
    torch.manual_seed(args.seed)
    texts = read_texts("train", args.task)
    tokenizer = make_tokenizer(texts, args.vocabulary)
    save_tokenizer(tokenizer, folder)
    model = make_model(args)
    learn(model, *encode(texts, tokenizer), args)
    model.half().save_pretrained(folder)


def train(args: argparse.Namespace) -> None:
    """Train a model next to the checkpoint folder, then put its files in place."""
    args.checkpoint.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.checkpoint.parent, prefix=".checkpoint") as folder:
        train_into(args, Path(folder))
        for path in sorted(Path(folder).iterdir()):
            path.chmod(0o644)
            path.replace(args.checkpoint / path.name)
    evaluate(args)


def evaluate(args: argparse.Namespace) -> None:
    """Print the perplexity of the saved checkpoint: float16 weights computed in float32."""
    if not (args.checkpoint / "model.safetensors").is_file():
        raise InputError(f"{args.checkpoint / 'model.safetensors'} is missing: run train.py first")
    model = GPT2LMHeadModel.from_pretrained(args.checkpoint, dtype=torch.float32)
    texts = read_texts("validation", args.task)[: args.rows]
    ids, mask = encode(texts, load_tokenizer(args.checkpoint))
    found = perplexity(model, ids, mask)
    print(f"validation perplexity {found:.2f} ({len(ids)} rows, {mask[:, 1:].sum()} tokens)")


def make_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description="Train a small GPT-2 on Debian descriptions.")
    parser.add_argument("--evaluate", action="store_true", help="only evaluate the checkpoint")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="folder of the model")
    parser.add_argument("--task", choices=TASKS, default="descriptions", help="what to learn")
    parser.add_argument("--rows", type=int, help="evaluate the first so many texts only")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--batch", type=int, default=32, help="rows in a batch")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--decay", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=20260711)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bfloat16", action="store_true", help="train in bfloat16 autocast")
    return parser


def main() -> int:
    """Run the command line."""
    args = make_parser().parse_args()
    torch.set_num_threads(args.threads)
    try:
        evaluate(args) if args.evaluate else train(args)
    except (InputError, OSError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
