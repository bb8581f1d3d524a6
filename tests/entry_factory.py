"""Builders of tiny blobs with entries and states, and runs of them one after another.

Every builder returns ``(blob, runs)``: the bytes of a valid blob, and what a session of it runs:
pairs of an entry and its inputs by name.  The same arguments give the same bytes.

Inputs of such blobs may be rows of any dtype, so test data reach an op without other ops.
``ENTRY_CASES`` lists ``(id, callable)``; the callable takes no arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from blob_factory import (
    EDGES,
    Builder,
    Inputs,
    case,
    fill,
    make_head_requant,
    random_gemm,
    random_norm,
)
from csc_convert.blob_format import Dtype, Flag, Keys, Op, Pool, Storage
from csc_convert.blob_writer import (
    EntrySpec,
    OpSpec,
    TensorSpec,
    place_without_reuse,
    up8,
    write_blob,
)

Runs = list[tuple[str, Inputs]]
EntryCase = tuple[bytes, Runs]


class EntryBuilder(Builder):
    """A builder of models with entries.

    What follows the last "/" of a name is shared: tensors of weights, and tensors without a "/".
    """

    def __init__(self, max_length: int, context: int) -> None:
        """An empty model for sequences of at most context tokens."""
        super().__init__(max_length)
        self.context = context
        self.entries: list[EntrySpec] = []

    def add_tensor(self, tensor: TensorSpec) -> str:
        """Add a tensor unless it is there already, return its name."""
        if tensor.storage == Storage.WEIGHTS:
            tensor.name = tensor.name.rpartition("/")[2]
        for known in self.tensors:
            if known.name == tensor.name:
                assert (known.dtype, known.dims) == (tensor.dtype, tensor.dims)
                assert tensor.data is None or (known.data == tensor.data).all()
                return known.name
        return super().add_tensor(tensor)

    def rows_input(self, name: str, dtype: Dtype, width: int, rows: int | None = None) -> str:
        """An input [T][width], or [rows][width]."""
        flags = Flag.INPUT | (Flag.DYNAMIC if rows is None else 0)
        dims = (rows or self.max_length, width)
        return self.add_tensor(TensorSpec(name, dtype, dims, flags=flags))

    def state(self, name: str, width: int, default: int = 0) -> str:
        """A state int8 [context][width]."""
        dims = (self.context, width)
        return self.add_tensor(
            TensorSpec(name, Dtype.INT8, dims, flags=Flag.STATE, default_value=default)
        )

    def append(self, name: str, x: str, state: str, column: int) -> None:
        """APPEND of columns of x."""
        operands = {"x": x, "state": state}
        self.ops.append(OpSpec(Op.APPEND, name, operands, {"column": column}))

    def attend(
        self,
        name: str,
        qkv: tuple[str, str, str],
        columns: tuple[int, int, int],
        head_requant: np.ndarray,
        head_dim: int,
        dtype: Dtype,
        keys: Keys,
        causal: bool,
    ) -> str:
        """ATTENTION without a mask -> [T][heads * head_dim]."""
        room = 40 * up8(self.find(qkv[1]).dims[0]) + 32 * up8(head_dim)
        heads = len(head_requant)
        operands = dict(zip("qkv", qkv, strict=True))
        operands["head_requant"] = self.weights(f"{name}.requant", Dtype.INT32, head_requant)
        operands["out"] = self.rows(name, dtype, heads * head_dim)
        operands["scratch"] = self.scratch(f"{name}.scratch", Dtype.UINT8, (room,))
        params = {"heads": heads, "head_dim": head_dim, "keys": int(keys), "causal": int(causal)}
        params |= {f"{x}_column": column for x, column in zip("qkv", columns, strict=True)}
        self.ops.append(OpSpec(Op.ATTENTION, f"{name}.op", operands, params))
        return name

    def end_entry(self, name: str, max_length: int | None = None) -> None:
        """All ops since the last entry are those of this one."""
        count = len(self.ops) - sum(entry.op_count for entry in self.entries)
        self.entries.append(EntrySpec(name, count, max_length or self.max_length))

    def build(self, *outputs: str) -> bytes:
        """The blob; the tensors named are its outputs."""
        for name in outputs:
            self.find(name).flags |= Flag.OUTPUT
        arena = place_without_reuse(self.tensors)
        metadata = {"architecture": "test", "source": "entry_factory"}
        return write_blob(
            self.tensors,
            self.ops,
            metadata,
            self.max_length,
            arena,
            entries=self.entries,
            context=self.context,
        )


def random_runs(
    rng: np.random.Generator, entry: str, lengths: Sequence[int], **widths: int
) -> Runs:
    """Runs with random int8 rows: an input of so many columns for each name."""
    return [
        (
            entry,
            {n: fill(rng, (t, c), Dtype.INT8, "random").astype(np.int8) for n, c in widths.items()},
        )
        for t in lengths
    ]


def cached_attention_blob(
    heads: int,
    head_dim: int,
    context: int = 9,
    lengths: Sequence[int] = (4, 1, 3, 1),
    causal: bool = True,
    out_dtype: Dtype = Dtype.INT8,
    layout: str = "two",
    requant: str = "random",
    data: str = "random",
    default: int = 0,
) -> EntryCase:
    """APPEND of k and v to states, and an ATTENTION of the rows of the run over them.

    ``layout``: two states, or one state with k beside v, or gaps (odd columns of wide rows).
    """
    rng = np.random.default_rng([7, heads, head_dim])
    model = EntryBuilder(max(lengths), context)
    width = heads * head_dim
    gap = 3 if layout == "gaps" else 0
    x = model.rows_input("x", Dtype.INT8, 3 * (width + gap))
    q, k, v = (gap + i * (width + gap) for i in range(3))
    if layout == "one":
        names, columns = ("kv", "kv"), (0, width)
        model.append("keep", x, model.state("kv", 2 * width, default), k)
    else:
        names, columns = ("k", "v"), (0, 0)
        model.append("keep k", x, model.state("k", width, default), k)
        model.append("keep v", x, model.state("v", width, default), v)
    scales = make_head_requant(rng, heads, head_dim, requant, out_dtype)
    out = model.attend(
        "out", (x, *names), (q, *columns), scales, head_dim, out_dtype, Keys.CONTEXT, causal
    )
    model.end_entry("run")
    runs = random_runs(rng, "run", lengths, x=3 * (width + gap))
    if data != "random":
        for _, inputs in runs:
            inputs["x"] = fill(rng, inputs["x"].shape, Dtype.INT8, data).astype(np.int8)
    return model.build(out), runs


def rows_attention_blob(
    heads: int, head_dim: int, keys: int | None, length: int, causal: bool, max_length: int = 12
) -> EntryCase:
    """An ATTENTION over the rows of the run, or over an input of so many rows."""
    rng = np.random.default_rng([8, heads, head_dim])
    model = EntryBuilder(max_length, 2 * max_length)
    width = heads * head_dim
    q = model.rows_input("q", Dtype.INT8, width)
    kv = model.rows_input("kv", Dtype.INT8, 2 * width, keys)
    scales = make_head_requant(rng, heads, head_dim, "random", Dtype.INT16)
    out = model.attend(
        "out", (q, kv, kv), (0, 0, width), scales, head_dim, Dtype.INT16, Keys.ROWS, causal
    )
    model.end_entry("run")
    runs = random_runs(rng, "run", (length, length), q=width)
    for _, inputs in runs:
        shape = (keys or length, 2 * width)
        inputs["kv"] = fill(rng, shape, Dtype.INT8, "random").astype(np.int8)
    return model.build(out), runs


def append_blob(width: int, column: int, lengths: Sequence[int], context: int = 11) -> EntryCase:
    """APPEND, and a GEMM that makes all rows of the state an output, reset ones too."""
    rng = np.random.default_rng([9, width])
    model = EntryBuilder(max(lengths), context)
    x = model.rows_input("x", Dtype.INT8, width + column + 2)
    state = model.state("state", width, -3)
    model.append("append", x, state, column)
    n, k = 5, width
    w = fill(rng, (k, n), Dtype.INT8, "random").astype(np.int8)
    out = model.add_tensor(TensorSpec("out", Dtype.INT16, (context, n)))
    requant = np.zeros((8, 2), np.int64)
    requant[:, 1] = 16384 + 65536 * 18
    operands = {
        "x": state,
        "weights": model.weights("w", Dtype.INT8, _blocks(w)),
        "requant": model.weights("requant", Dtype.INT32, requant),
        "out": out,
        "scratch": model.scratch("scratch", Dtype.INT32, (8, 8)),
    }
    limits = {"clamp_low": -32768, "clamp_high": 32767}
    model.ops.append(OpSpec(Op.GEMM, "show", operands, limits))
    model.end_entry("run")
    return model.build(out), random_runs(rng, "run", lengths, x=width + column + 2)


def _blocks(w: np.ndarray) -> np.ndarray:
    k, n = w.shape
    blocks = np.zeros((up8(n) // 8, up8(k) // 8, 8, 8), np.int8)
    for i in range(k):
        for j in range(n):
            blocks[j // 8, i // 8, j % 8, i % 8] = w[i, j]
    return blocks


def embed_positions_blob(c: int, positions: int, lengths: Sequence[int]) -> EntryCase:
    """EMBED with the positions of the run, or with those of its tokens."""
    rng = np.random.default_rng([10, c])
    context = sum(lengths)
    model = EntryBuilder(max(lengths), context)
    word = fill(rng, (6, c), Dtype.INT8, "random")
    table = fill(rng, (context + 2, c), Dtype.INT16, "random") // 3
    out = model.embed("out", word, rng.integers(0, 32768, 6), table, 9)
    model.ops[-1].params["positions"] = positions
    model.end_entry("run")
    runs = [("run", {"ids": rng.integers(0, 6, t).astype(np.int32)}) for t in lengths]
    return model.build(out), runs


def decoder_blob(
    vocab: int = 23,
    hidden: int = 16,
    heads: int = 2,
    layers: int = 2,
    max_length: int = 6,
    context: int = 13,
    lengths: Sequence[int] = (5, 1, 1),
    entries: Sequence[str] = ("prefill", "step"),
    seed: int = 0,
    scale: float = 1 / 1024,
) -> EntryCase:
    """A whole decoder with random weights, and the entries prefill and step.

    Outputs hidden (int8 [T][C]) and logits (int16 [1][vocab], of the last token).
    """
    model = EntryBuilder(max_length, context)
    for entry in entries:
        decoder_ops(
            model, np.random.default_rng([seed, hidden]), entry, vocab, hidden, heads, layers
        )
        model.end_entry(entry, 1 if entry == "step" else max_length)
    model.find("logits").scale = scale
    rng = np.random.default_rng(seed + 1)
    names = [entries[0] if t > 1 or len(entries) == 1 else entries[1] for t in lengths]
    runs = [
        (name, {"ids": rng.integers(0, vocab, t).astype(np.int32)})
        for name, t in zip(names, lengths, strict=True)
    ]
    return model.build("hidden", "logits"), runs


def decoder_ops(
    model: EntryBuilder,
    rng: np.random.Generator,
    entry: str,
    vocab: int,
    hidden: int,
    heads: int,
    layers: int,
) -> None:
    """The ops of one entry of a decoder; the same generator gives the same weights."""
    word = rng.integers(-127, 128, (vocab, hidden))
    table = rng.integers(-2000, 2001, (model.context, hidden))
    x16 = model.embed(f"{entry}/embed", word, rng.integers(9000, 16000, vocab), table, 8)
    model.ops[-1].params["positions"] = 1
    for layer in range(layers):
        x16 = decoder_layer(model, rng, f"{entry}/layer{layer}", x16, heads)
    x8, _ = random_norm(model, rng, f"{entry}/norm", x16, 2**20)
    identity = np.eye(hidden, dtype=np.int8)
    requant = np.zeros((up8(hidden), 2), np.int64)
    requant[:, 1] = 16384 + 65536 * 14
    model.gemm("hidden", x8, identity, requant, Dtype.INT8)
    last = model.pool(f"{entry}/last", "hidden", Dtype.INT8, Pool.LAST, None, 2**14, 22)
    random_gemm(model, rng, "logits", last, vocab, Dtype.INT16, 33, 900)


def decoder_layer(
    model: EntryBuilder, rng: np.random.Generator, name: str, x16: str, heads: int
) -> str:
    """Attention over the context and an ADD; returns the int16 residual stream."""
    hidden = model.width(x16)
    x8, _ = random_norm(model, rng, f"{name}.norm", x16, 2**20)
    qkv = random_gemm(model, rng, f"{name}.qkv", x8, 3 * hidden, Dtype.INT8, 33, 40)
    shared = name.rpartition("/")[2]
    k, v = (model.state(f"{shared}.{x}", hidden) for x in "kv")
    model.append(f"{name}.keep k", qkv, k, hidden)
    model.append(f"{name}.keep v", qkv, v, 2 * hidden)
    scales = make_head_requant(rng, heads, hidden // heads, "random")
    context = model.attend(
        f"{name}.context", (qkv, k, v), (0, 0, 0), scales, hidden // heads, Dtype.INT8,
        Keys.CONTEXT, True,
    )  # fmt: skip
    dense = random_gemm(model, rng, f"{name}.dense", context, hidden, Dtype.INT16, 30, 2500)
    return model.add(f"{name}.add", x16, dense, (16384, 13000), 14)


def cached_attention_cases() -> list[tuple[str, Callable]]:
    """Heads, dims, layouts, lengths, values."""
    cases = []
    layouts = ("two", "one", "gaps")
    for i, head_dim in enumerate((1, 3, 7, 8, 9, 26, 33, 64)):
        for j, heads in enumerate((1, 2, 3)):
            out = (Dtype.INT8, Dtype.INT16)[(i + j) % 2]
            layout = layouts[(i + j) % 3]
            for causal in (True, False):
                cases.append(
                    case(
                        cached_attention_blob,
                        heads,
                        head_dim,
                        causal=causal,
                        out_dtype=out,
                        layout=layout,
                    )
                )
    for context, lengths in ((1, (1,)), (8, (8,)), (9, (8, 1)), (17, (9, 8)), (40, (17, 1, 16, 5))):
        for causal in (True, False):
            for layout in ("two", "one"):
                cases.append(
                    case(
                        cached_attention_blob,
                        2,
                        5,
                        context,
                        lengths,
                        causal=causal,
                        layout=layout,
                        default=-7,
                    )
                )
    for data in ("extreme", "min", "max", "zero", "small"):
        cases.append(case(cached_attention_blob, 2, 26, data=data))
    for requant in ("sharp", "flat", "limits"):
        cases.append(case(cached_attention_blob, 3, 4, requant=requant, out_dtype=Dtype.INT16))
    cases.append(case(cached_attention_blob, 1, 2, 1100, (1027, 3)))
    return cases


def entry_cases() -> list[tuple[str, Callable]]:
    """Every op of section 1.7 over edge shapes, and whole decoders."""
    cases = cached_attention_cases()
    for keys, length in ((None, 1), (None, 8), (None, 12), (1, 3), (7, 9), (9, 12), (16, 5)):
        for causal in (True, False):
            cases.append(case(rows_attention_blob, 2, 9, keys, length, causal))
    for width in EDGES:
        cases.append(case(append_blob, width, 3, (4, 1, 6)))
    cases += [case(append_blob, 8, 0, (1, 1, 1)), case(append_blob, 16, 5, (11,))]
    for c in EDGES:
        for positions in (0, 1):
            cases.append(case(embed_positions_blob, c, positions, (3, 1, 5)))
    cases.append(case(decoder_blob))
    cases.append(case(decoder_blob, lengths=(1,) * 13, entries=("prefill",)))
    cases.append(case(decoder_blob, lengths=(6, 6, 1)))
    cases.append(case(decoder_blob, 40, 24, 3, 3, 8, 9, (8, 1)))
    return cases


ENTRY_CASES: list[tuple[str, Callable[[], EntryCase]]] = entry_cases()
