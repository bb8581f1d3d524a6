#!/usr/bin/env python3
"""Train TinyBERT-256 to tell the section of a Debian package from its description.

Learns a WordPiece vocabulary, for ``--word-epochs`` masked words and sections at once, then for
``--epochs`` sections alone, and saves ``checkpoint/`` as Hugging Face has it, weights in float16.
``--evaluate`` prints the accuracy of the saved checkpoint instead.
Needs torch, transformers, tokenizers, safetensors, numpy and tqdm.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from tqdm import tqdm
from transformers import BertConfig, BertForSequenceClassification

# isort: split
from make_calibration import CHECKPOINT, MAX_LENGTH, InputError, encode, read_label2id, read_split

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(len(SPECIAL))
VOCABULARY = 8192


class Split(NamedTuple):
    """The rows of one split as arrays."""

    ids: Tensor
    lengths: np.ndarray
    labels: Tensor


class PoolDropout(nn.Module):
    """Dropout that reads its noise from one big pool: on a CPU drawing it anew costs more."""

    pool: Tensor | None = None

    def __init__(self, rate: float) -> None:
        """Drop values with probability ``rate``."""
        super().__init__()
        self.rate = rate

    def forward(self, values: Tensor) -> Tensor:
        """Return ``values`` with some of them zero and the others larger."""
        if not self.training or self.rate == 0:
            return values
        if PoolDropout.pool is None:
            PoolDropout.pool = torch.randint(0, 256, (1 << 25,), dtype=torch.uint8)
        start = random.randrange(len(PoolDropout.pool) - values.numel())
        noise = PoolDropout.pool[start : start + values.numel()].view(values.shape)
        level = round(256 * self.rate)
        return values * (noise >= level).to(values.dtype) * (256 / (256 - level))


class MaskedWordHead(nn.Module):
    """The head of the first phase: tells masked words, with the embeddings as its last layer."""

    def __init__(self, config: BertConfig, embeddings: nn.Embedding) -> None:
        """Share the word ``embeddings`` of the model."""
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.embeddings = embeddings

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the scores of every word of the vocabulary."""
        hidden = self.norm(nn.functional.gelu(self.dense(hidden)))
        return nn.functional.linear(hidden, self.embeddings.weight, self.bias)


def make_tokenizer(texts: list[str]) -> Tokenizer:
    """Learn a WordPiece vocabulary from ``texts``."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, limit_alphabet=128, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the three files of a Hugging Face BERT tokenizer."""
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word, _ in vocabulary), "utf-8")
    settings: dict[str, object] = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    settings["model_max_length"] = MAX_LENGTH
    settings |= {f"{word[1:-1].lower()}_token": word for word in SPECIAL}
    text = json.dumps(settings, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, "utf-8")


def load_split(name: str, label2id: dict[str, int], folder: Path) -> Split:
    """Encode a split with the tokenizer in ``folder``."""
    labels, texts = read_split(name)
    ids, mask = encode(texts, MAX_LENGTH, folder)
    numbers = [label2id[label] for label in labels]
    return Split(torch.from_numpy(ids).long(), mask.sum(1), torch.tensor(numbers))


def make_model(label2id: dict[str, int], vocabulary: int, dropout: float) -> nn.Module:
    """Return an untrained TinyBERT-256."""
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        max_position_embeddings=MAX_LENGTH,
        hidden_act="gelu",
        pad_token_id=PAD,
        label2id=label2id,
        id2label={number: label for label, number in label2id.items()},
        attn_implementation="eager",
    )
    model = BertForSequenceClassification(config)
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, PoolDropout(dropout))
    for layer in model.bert.encoder.layer:
        layer.attention.self.dropout = nn.Dropout(0.0)
    return model


def batches(lengths: np.ndarray, size: int, shuffle: np.random.Generator | None) -> Iterator:
    """Yield row numbers in batches of rows of about the same length."""
    order = np.arange(len(lengths)) if shuffle is None else shuffle.permutation(len(lengths))
    span = len(order) if shuffle is None else size * 50
    groups = []
    for start in range(0, len(order), span):
        part = order[start : start + span]
        part = part[np.argsort(lengths[part], kind="stable")]
        groups += [part[first : first + size] for first in range(0, len(part), size)]
    if shuffle is not None:
        groups = [groups[number] for number in shuffle.permutation(len(groups))]
    yield from groups


def take(split: Split, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Return (ids, mask, labels) of ``rows``, cut to the longest of them, a multiple of 8."""
    ids = split.ids[rows][:, : -(-int(split.lengths[rows].max()) // 8) * 8]
    return ids, (ids != PAD).long(), split.labels[rows]


def hide_words(ids: Tensor, rate: float, keep: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return ``ids`` with some words masked, and which; leave the share ``keep`` as it was."""
    noise = torch.rand(ids.shape)
    hidden = (noise < rate) & (ids > MASK)
    return torch.where(hidden & (noise >= rate * keep), MASK, ids), hidden


def schedule(optimizer: torch.optim.Optimizer, steps: int, warm_up: float) -> object:
    """Return a learning rate that rises straight, then falls to zero along a cosine."""
    first = max(1, int(steps * warm_up))

    def factor(step: int) -> float:
        if step < first:
            return (step + 1) / first
        return 0.5 + 0.5 * math.cos(math.pi * (step - first) / max(1, steps - first))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def make_optimizer(modules: list[nn.Module], rate: float, decay: float) -> torch.optim.Optimizer:
    """Return AdamW that decays matrices only."""
    weights = {id(w): w for module in modules for w in module.parameters()}.values()
    groups = [
        {"params": [w for w in weights if w.dim() > 1], "weight_decay": decay},
        {"params": [w for w in weights if w.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def learn(
    loss_of: Callable[[Tensor, Tensor, Tensor], Tensor],
    modules: list[nn.Module],
    split: Split,
    epochs: int,
    args: argparse.Namespace,
) -> None:
    """Minimise ``loss_of(ids, mask, labels)`` over the split for some epochs."""
    shuffle = np.random.default_rng(args.seed)
    optimizer = make_optimizer(modules, args.rate, args.weight_decay)
    steps = epochs * sum(1 for _ in batches(split.lengths, args.batch, shuffle))
    rates = schedule(optimizer, steps, 0.08)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for module in modules:
        module.train()
    bar = tqdm(total=steps, mininterval=5, unit="batch")
    mean = 0.0
    for epoch in range(epochs):
        for rows in batches(split.lengths, args.batch, shuffle):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not args.float32):
                loss = loss_of(*take(split, rows))
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            rates.step()
            mean = 0.98 * mean + 0.02 * loss.item() if mean else loss.item()
            bar.set_postfix_str(f"epoch {epoch + 1}/{epochs} loss {mean:.3f}", refresh=False)
            bar.update()
    bar.close()


def learn_words(model: nn.Module, split: Split, args: argparse.Namespace) -> None:
    """First phase: fill in masked words of the train texts, and tell the sections too."""
    head = MaskedWordHead(model.config, model.bert.embeddings.word_embeddings)

    def loss_of(ids: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        given, hidden = hide_words(ids, 0.2, keep=0.1)
        states = model.bert(input_ids=given, attention_mask=mask)
        logits = model.classifier(model.dropout(states.pooler_output))
        sections = nn.functional.cross_entropy(logits.float(), labels)
        words = head(states.last_hidden_state[hidden])
        return sections + nn.functional.cross_entropy(words.float(), ids[hidden])

    learn(loss_of, [model, head], split, args.word_epochs, args)


def learn_sections(model: nn.Module, split: Split, args: argparse.Namespace) -> None:
    """Second phase: tell the section of each train text."""

    def loss_of(ids: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        given, _ = hide_words(ids, args.word_dropout)
        logits = model(input_ids=given, attention_mask=mask).logits
        return nn.functional.cross_entropy(logits.float(), labels)

    learn(loss_of, [model], split, args.epochs, args)


@torch.no_grad()
def accuracy(model: nn.Module, split: Split) -> float:
    """Return the share of rows whose section the model tells, computed in float32."""
    model.eval()
    right = 0
    for rows in batches(split.lengths, 64, None):
        ids, mask, labels = take(split, rows)
        right += int((model(input_ids=ids, attention_mask=mask).logits.argmax(1) == labels).sum())
    return right / len(split.labels)


def load_model(folder: Path) -> nn.Module:
    """Return the model in ``folder`` with its float16 weights in float32."""
    if not (folder / "model.safetensors").is_file():
        raise InputError(f"{folder / 'model.safetensors'} is missing: run train.py first")
    return BertForSequenceClassification.from_pretrained(folder, dtype=torch.float32)


def save_model(model: nn.Module, folder: Path) -> None:
    """Write config.json and model.safetensors, the weights in float16."""
    model.half().save_pretrained(folder)
    model.float()


def begin_model(args: argparse.Namespace, folder: Path) -> tuple[dict[str, int], nn.Module]:
    """Learn a vocabulary into ``folder`` and return the classes with an untrained model."""
    labels, texts = read_split("train")
    label2id = {label: number for number, label in enumerate(sorted(set(labels)))}
    tokenizer = make_tokenizer(texts)
    save_tokenizer(tokenizer, folder)
    return label2id, make_model(label2id, tokenizer.get_vocab_size(), args.dropout)


def continue_model(args: argparse.Namespace, folder: Path) -> tuple[dict[str, int], nn.Module]:
    """Return the classes and the model of ``--start``; copy its vocabulary into ``folder``."""
    label2id, trained = read_label2id(args.start), load_model(args.start)
    tokenizer = Tokenizer.from_file(str(args.start / "tokenizer.json"))
    save_tokenizer(tokenizer, folder)
    model = make_model(label2id, tokenizer.get_vocab_size(), args.dropout)
    model.load_state_dict(trained.state_dict())
    return label2id, model


def train_into(args: argparse.Namespace, folder: Path) -> None:
    """Train a model and save it in ``folder``."""
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    label2id, model = (continue_model if args.start else begin_model)(args, folder)
    split = load_split("train", label2id, folder)
    start = time.monotonic()
    if args.word_epochs:
        learn_words(model, split, args)
    if args.epochs:
        learn_sections(model, split, args)
    print(f"trained in {time.monotonic() - start:.0f} s")
    save_model(model, folder)


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
    """Print the accuracy of the saved checkpoint: float16 weights computed in float32."""
    model = load_model(args.checkpoint)
    split = load_split("validation", read_label2id(args.checkpoint), args.checkpoint)
    share = accuracy(model, split)
    rows = len(split.labels)
    print(f"validation accuracy {share:.4f} ({round(share * rows)} of {rows} rows)")


def make_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description="Train TinyBERT-256 on the Debian sections.")
    parser.add_argument("--evaluate", action="store_true", help="only evaluate the checkpoint")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="folder of the model")
    parser.add_argument("--start", type=Path, help="folder of a model to go on with")
    parser.add_argument("--epochs", type=int, default=3, help="epochs on sections alone")
    parser.add_argument("--word-epochs", type=int, default=0, help="epochs on masked words before")
    parser.add_argument("--rate", type=float, default=7e-4, help="highest learning rate")
    parser.add_argument("--batch", type=int, default=64, help="rows in a batch")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--word-dropout", type=float, default=0.1, help="share of words masked")
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=20260711)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--float32", action="store_true", help="train in float32, not bfloat16")
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
