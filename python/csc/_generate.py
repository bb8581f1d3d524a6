"""Generating text: a prompt goes in, ids of tokens come out one by one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from csc._choose import make_choice
from csc._face import Face
from csc._session import Loop, Session
from csc.blob import EntryInfo, TensorInfo
from csc.device import Device
from csc.errors import InputError
from csc.model import Model

PREFILL, STEP, LOGITS = "prefill", "step", "logits"


def generate(
    model: Model | Device | str | os.PathLike[str] | bytes,
    prompt_ids: Sequence[int],
    max_new_tokens: int,
    *,
    top_k: int = 1,
    temperature: float = 1.0,
    seed: int = 1,
    stop_ids: Iterable[int] = (),
    backend: str = "host",
) -> Iterator[int]:
    """Continue a sequence of tokens, one token at a time; everywhere the same ones.

    Args:
        model: a Model or a Device whose model has the entries `prefill` and `step`, or what
            `csc.load` takes.
        prompt_ids: the tokens to begin with.
        max_new_tokens: how many tokens to make at most. Fewer come behind one of `stop_ids`, and
            when the model's context is full.
        top_k: draw from so many of the most probable tokens; 1 takes the most probable one.
        temperature: above 1 makes rare tokens more likely, below 1 less.
        seed: of the random numbers, 1 to 2**32 - 1; the same seed gives the same tokens.
        stop_ids: tokens to stop behind; they are given out too.
        backend: where a Model runs; see `csc.infer`.

    Returns:
        An iterator over ids. The prompt runs when the first one is asked for.

    Raises:
        InputError: an unusable prompt, number or model; at the call, before anything runs.

    """
    if not isinstance(model, (Model, Device)):
        model = Model(model)
    prefill, step, ids, logits = _entries(model)
    prompt = _check_prompt(model, prompt_ids, ids)
    if max_new_tokens < 0:
        raise InputError(f"max_new_tokens must be at least 0, not {max_new_tokens}.")
    choice = make_choice(top_k, temperature, seed, logits.scale, logits.shape[-1] or 1)
    session = model.session() if isinstance(model, Device) else model.session(backend=backend)
    loop = Loop(step, ids, logits)
    return _run(session, prefill, loop, prompt, choice, max_new_tokens, set(stop_ids))


def _run(
    session: Session,
    prefill: EntryInfo,
    loop: Loop,
    prompt: list[int],
    choice: Any,
    count: int,
    stop_ids: set[int],
) -> Iterator[int]:
    if count == 0:
        return
    session.reset()
    prompt_input = _ids_input(prefill)
    assert prompt_input is not None
    first = prompt[: prefill.max_length]
    session.feed(prefill.name, {prompt_input.name: first})
    for token in prompt[len(first) :]:
        session.feed(loop.entry.name, {loop.ids.name: [token]})
    yield from session.stream(loop, choice, count, stop_ids)


def _ids_input(entry: EntryInfo) -> TensorInfo | None:
    """Return the input for ids of tokens: the only one that must be given."""
    needed = [tensor for tensor in entry.inputs if not tensor.optional]
    good = len(needed) == 1 and needed[0].dtype == np.int32 and needed[0].shape == (None,)
    return needed[0] if good else None


def _logits_output(entry: EntryInfo) -> TensorInfo | None:
    for tensor in entry.outputs:
        if tensor.name == LOGITS and tensor.dtype == np.int16 and tensor.shape[0] == 1:
            return tensor
    return None


def _entries(model: Face) -> tuple[EntryInfo, EntryInfo, TensorInfo, TensorInfo]:
    """Return the entries, and the ids and logits of a step."""
    where = model._blob.where
    known = {entry.name: entry for entry in model.entries}
    if PREFILL not in known or STEP not in known:
        raise InputError(
            f"{where} generates no text: it needs the entries '{PREFILL}' and '{STEP}', and has "
            f"{', '.join(known) or 'none'}; convert a model that does, such as GPT-2."
        )
    prefill, step = known[PREFILL], known[STEP]
    ids, logits = _ids_input(step), _logits_output(step)
    if ids is None or logits is None or _ids_input(prefill) is None:
        raise InputError(
            f"{where} generates no text: '{PREFILL}' and '{STEP}' need one input of ids each, and "
            f"the output '{LOGITS}', int16 with one row."
        )
    if _logits_output(prefill) != logits:
        raise InputError(
            f"{where} generates no text: '{PREFILL}' and '{STEP}' need the same output '{LOGITS}'."
        )
    return prefill, step, ids, logits


def _vocabulary(model: Face, ids: TensorInfo) -> int:
    """Return the number of ids there are."""
    for op in model.ops:
        if op.kind == "EMBED" and op.operands["ids"] == ids.number:
            return model.tensors[op.operands["word"]].shape[0] or 0
    return 2**31


def _check_prompt(model: Face, prompt_ids: Sequence[int], ids: TensorInfo) -> list[int]:
    prompt = [int(token) for token in prompt_ids]
    where = model._blob.where
    if not prompt:
        raise InputError("The prompt is empty; give at least one id.")
    if len(prompt) > model.context:
        raise InputError(
            f"The prompt has {len(prompt)} tokens, but the context of {where} has "
            f"{model.context}; shorten it."
        )
    count = _vocabulary(model, ids)
    for place, token in enumerate(prompt):
        if not 0 <= token < count:
            raise InputError(
                f"The id at place {place} of the prompt is {token}, but {where} has ids 0 to "
                f"{count - 1}; use the tokenizer the model was trained with."
            )
    return prompt
