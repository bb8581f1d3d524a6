"""The memory planner against a checker of its own."""

import random

import pytest

from csc_convert import blob_format as fmt
from csc_convert.blob_writer import OpSpec, TensorSpec, weights_tensor
from csc_convert.plan import Lifetime, place, plan_arena


def random_program(seed):
    """Random ops over random tensors: each op reads some living tensors and writes one or two."""
    rng = random.Random(seed)
    tensors = [
        TensorSpec(
            f"in{i}",
            fmt.Dtype.INT32,
            (rng.randint(1, 40),),
            flags=fmt.Flag.INPUT | fmt.Flag.DYNAMIC,
        )
        for i in range(2)
    ]
    tensors.append(weights_tensor("w", fmt.Dtype.INT8, [[1, 2, 3]]))
    ops, made = [], ["in0", "in1"]
    for i in range(rng.randint(1, 25)):
        operands = {"x": rng.choice(made), "weights": "w", "b": rng.choice(made)}
        for key in ("out", "scratch"):
            name = f"{key}{i}"
            flags = fmt.Flag.OUTPUT if key == "out" and rng.random() < 0.1 else 0
            dims = (rng.randint(1, 30), rng.randint(1, 50))
            tensors.append(TensorSpec(name, fmt.Dtype.INT16, dims, flags=flags))
            operands[key] = name
        made.append(f"out{i}")
        ops.append(OpSpec(fmt.Op.GEMM, f"op{i}", operands))
    return tensors, ops


def assert_runs(tensors, ops, size):
    """Run the ops on a map of bytes to owners: what is read must still be owned by its tensor."""
    owner = {}
    arena = {t.name: t for t in tensors if t.storage == fmt.Storage.ARENA}
    for tensor in arena.values():
        assert tensor.offset % 64 == 0
        assert tensor.offset >= 0
        assert tensor.offset + tensor.bytes <= size

    def span(name):
        return range(arena[name].offset, arena[name].offset + arena[name].bytes)

    for name, tensor in arena.items():
        if tensor.flags & fmt.Flag.INPUT:
            for byte in span(name):
                assert byte not in owner, "two inputs overlap"
                owner[byte] = name
    for op in ops:
        reads = [op.operands[key] for key in ("x", "b")]
        writes = [op.operands[key] for key in ("out", "scratch")]
        written = set()
        for name in writes:
            assert not written & set(span(name)), "results of one op overlap"
            written |= set(span(name))
            owner.update(dict.fromkeys(span(name), name))
        for name in reads:
            assert all(owner[byte] == name for byte in span(name)), f"{name} is overwritten"
    for name, tensor in arena.items():
        if tensor.flags & fmt.Flag.OUTPUT:
            assert all(owner[byte] == name for byte in span(name)), "an output is overwritten"


@pytest.mark.parametrize("seed", range(60))
def test_nothing_alive_is_overwritten(seed):
    tensors, ops = random_program(seed)
    arena = plan_arena(tensors, ops)
    assert_runs(tensors, ops, arena.size)
    assert arena.lower_bound <= arena.size
    again, _ = random_program(seed)
    assert plan_arena(again, ops) == arena


def test_checker_notices_an_overlap():
    tensors, ops = random_program(3)
    arena = plan_arena(tensors, ops)
    for tensor in tensors:
        tensor.offset = 0
    with pytest.raises(AssertionError, match=r"overlap|overwritten"):
        assert_runs(tensors, ops, arena.size)


def test_chain_reuses_memory():
    chain = [Lifetime(f"t{i}", 1024, i, i + 1) for i in range(20)]
    arena = place(chain)
    assert arena.size == arena.lower_bound == 2048


def test_lower_bound_is_the_most_alive():
    items = [Lifetime("a", 64, 0, 3), Lifetime("b", 128, 1, 1), Lifetime("c", 256, 2, 2)]
    assert place(items).lower_bound == 320


def test_input_lives_before_its_first_use():
    tensors = [
        TensorSpec("late", fmt.Dtype.INT32, (16,), flags=fmt.Flag.INPUT | fmt.Flag.DYNAMIC),
        TensorSpec("a", fmt.Dtype.INT16, (1, 8)),
        TensorSpec("b", fmt.Dtype.INT16, (1, 8)),
        TensorSpec("unused", fmt.Dtype.INT32, (16,), flags=fmt.Flag.INPUT | fmt.Flag.DYNAMIC),
    ]
    ops = [
        OpSpec(fmt.Op.POOL, "1", {"out": "a"}),
        OpSpec(fmt.Op.POOL, "2", {"x": "a", "out": "b"}),
        OpSpec(fmt.Op.POOL, "3", {"x": "late", "out": "a"}),
    ]
    plan_arena(tensors, ops)
    places = {t.name: range(t.offset, t.offset + t.bytes) for t in tensors}
    for other in ("a", "b", "unused"):
        assert not set(places["late"]) & set(places[other])
    assert not set(places["unused"]) & set(places["a"])
