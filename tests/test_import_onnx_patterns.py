"""Single patterns of ONNX graphs: each way to write an op, and what only looks like one."""

import numpy as np
import pytest

import tiny_onnx
from csc_convert import UnsupportedModel, load_source
from csc_convert.import_onnx import import_onnx
from tiny_onnx import WIDTH, Builder

LOWEST = float(np.finfo(np.float32).min)


def imported(tmp_path, builder, *outputs, atol=1e-5):
    """Import a model and compare its visible rows with ONNX's reference; returns the graph."""
    model = builder.model(*outputs)
    path = tiny_onnx.save(model, tmp_path / "m.onnx")
    data = tiny_onnx.data()
    wanted = tiny_onnx.reference(model, data)
    loaded = load_source(path)
    names = [item.name for item in loaded.graph.inputs]
    found = loaded.run({name: data[name] for name in names if name in data})
    shown = data["attention_mask"][..., None] == 1
    for name, array in wanted.items():
        array, mine = (np.where(shown, x, 0) if x.ndim == 3 else x for x in (array, found[name]))
        np.testing.assert_allclose(mine.reshape(array.shape), array, atol=atol)
    return import_onnx(path)


def kinds(graph):
    return [node.op for node in graph.nodes if node.op != "embed"]


def refused(tmp_path, builder, *outputs):
    path = tiny_onnx.save(builder.model(*outputs), tmp_path / "m.onnx")
    with pytest.raises(UnsupportedModel) as caught:
        import_onnx(path)
    return str(caught.value)


# Layer normalization.


def centred(b, x):
    return b.op("Sub", x, b.op("ReduceMean", x, axes=[-1]))


def variance(b, c, axes=(-1,)):
    return b.op("ReduceMean", b.op("Pow", c, 2.0), axes=list(axes))


def by_pow(b, x):
    c = centred(b, x)
    root = b.op("Sqrt", b.op("Add", variance(b, c), 1e-5))
    scaled = b.op("Mul", b.op("Div", c, root), b.normal(WIDTH))
    return b.op("Add", scaled, b.normal(WIDTH))


def by_product(b, x):
    c = centred(b, x)
    mean = b.op("ReduceMean", b.op("Mul", c, c), axes=[2])
    inverse = b.op("Reciprocal", b.op("Sqrt", b.op("Add", 1e-6, mean)))
    return b.op("Add", b.normal(WIDTH), b.op("Mul", b.normal(WIDTH), b.op("Mul", c, inverse)))


def by_power(b, x):
    c = centred(b, x)
    inverse = b.op("Pow", b.op("Add", variance(b, c), 1e-3), -0.5)
    return b.op("Mul", b.op("Mul", c, inverse), b.normal(WIDTH))


def whole(b, x):
    return b.op("LayerNormalization", x, b.normal(WIDTH), b.normal(WIDTH), epsilon=1e-12)


def without_offset(b, x):
    return b.op("LayerNormalization", x, b.normal(WIDTH))


@pytest.mark.parametrize(
    ("write", "epsilon"),
    [(by_pow, 1e-5), (by_product, 1e-6), (by_power, 1e-3), (whole, 1e-12), (without_offset, 1e-5)],
)
def test_layernorm(tmp_path, write, epsilon):
    b = Builder()
    graph = imported(tmp_path, b, b.op("Identity", write(b, b.embeddings())))
    assert kinds(graph) == ["layernorm"]
    node = graph.nodes[-1]
    assert node.attributes["epsilon"] == epsilon
    assert (not node.weights["offset"].any()) == (write in (by_power, without_offset))


def test_normalization_over_tokens_is_no_layernorm(tmp_path):
    b = Builder()
    c = centred(b, b.embeddings())
    root = b.op("Sqrt", b.op("Add", variance(b, c, axes=[1]), 1e-5))
    assert "ReduceMean" in refused(tmp_path, b, b.op("Div", c, root))


# Activations.


def erf_form(b, x):
    half = b.op("Add", b.op("Erf", b.op("Mul", x, 0.70710678)), 1.0)
    return b.op("Mul", b.op("Mul", x, half), 0.5)


def tanh_form(b, x):
    cube = b.op("Mul", b.op("Mul", x, x), x)
    inner = b.op("Mul", b.op("Add", x, b.op("Mul", cube, 0.044715)), 0.7978845608)
    return b.op("Mul", b.op("Mul", x, 0.5), b.op("Add", b.op("Tanh", inner), 1.0))


ACTIVATIONS = {
    "gelu": erf_form,
    "gelu_tanh": tanh_form,
    "silu": lambda b, x: b.op("Mul", b.op("Sigmoid", x), x),
    "quick_gelu": lambda b, x: b.op("Mul", x, b.op("Sigmoid", b.op("Mul", x, 1.702))),
    "relu": lambda b, x: b.op("Max", x, 0.0),
    "relu6": lambda b, x: b.op("Clip", x, 0.0, 6.0),
    "tanh": lambda b, x: b.op("Tanh", x),
    "sigmoid": lambda b, x: b.op("Reciprocal", b.op("Add", b.op("Exp", b.op("Neg", x)), 1.0)),
    "hard_swish": lambda b, x: b.op("HardSwish", x),
    "mish": lambda b, x: b.op("Mul", x, b.op("Tanh", b.op("Softplus", x))),
    "leaky_relu": lambda b, x: b.op("LeakyRelu", x, alpha=0.01),
}


@pytest.mark.parametrize("function", ACTIVATIONS)
def test_activation(tmp_path, function):
    b = Builder()
    graph = imported(tmp_path, b, ACTIVATIONS[function](b, b.linear(b.embeddings())))
    assert kinds(graph) == ["linear", "activation"]
    assert graph.nodes[-1].attributes == {"function": function}


def test_whole_gelu(tmp_path):
    for approximate, function in (("none", "gelu"), ("tanh", "gelu_tanh")):
        b = Builder(opset=20)
        x = b.op("Gelu", b.linear(b.embeddings()), approximate=approximate)
        graph = imported(tmp_path, b, x)
        assert graph.nodes[-1].attributes == {"function": function}


def test_activation_of_a_sum(tmp_path):
    b = Builder()
    x = b.embeddings()
    graph = imported(tmp_path, b, b.op("Relu", b.op("Add", b.linear(x), x)))
    assert kinds(graph) == ["linear", "add", "activation"]


def test_a_function_we_do_not_know(tmp_path):
    b = Builder()
    x = b.linear(b.embeddings())
    text = refused(tmp_path, b, b.op("LeakyRelu", x, alpha=0.3))
    assert "fit no pattern: n8 (LeakyRelu)" in text


# Linear layers.


def gemm(**attributes):
    def write(b, x):
        shape = (5, WIDTH) if attributes.get("transB") else (WIDTH, 5)
        flat = b.op("Reshape", x, b.integers(-1, WIDTH))
        y = b.op("Gemm", flat, b.normal(*shape), b.normal(5), **attributes)
        rows = b.op("Shape", x)
        first = b.op("Slice", rows, b.integers(0), b.integers(2))
        return b.op("Reshape", y, b.op("Concat", first, b.integers(5), axis=0))

    return write


@pytest.mark.parametrize(
    "write",
    [
        lambda b, x: b.op("MatMul", x, b.normal(WIDTH, 5)),
        lambda b, x: b.op("Add", b.normal(5), b.op("MatMul", x, b.normal(WIDTH, 5))),
        lambda b, x: b.op("Add", b.op("MatMul", x, b.normal(WIDTH, 5)), b.normal(1, 1, 5)),
        lambda b, x: b.op("MatMul", x, b.op("Transpose", b.normal(5, WIDTH), perm=[1, 0])),
        gemm(),
        gemm(transB=1),
        gemm(alpha=0.5, beta=2.0),
    ],
)
def test_linear(tmp_path, write):
    b = Builder()
    graph = imported(tmp_path, b, write(b, b.embeddings()))
    assert kinds(graph) == ["linear"]
    assert graph.nodes[-1].weights["weight"].shape == (5, WIDTH)


def test_names_of_layers_that_share_parameters(tmp_path):
    b = Builder()
    x, weight = b.embeddings(), b.normal(WIDTH, WIDTH)
    own, shared = (b.constant(np.ones(WIDTH), name=f"{n}.bias") for n in ("own", "shared"))
    for bias in (own, shared, shared):
        x = b.op("Add", b.op("MatMul", x, weight), bias)
        b.nodes[-2].name = f"/model/layer.{len(b.nodes)}/MatMul"
    names = [node.name for node in imported(tmp_path, b, x).nodes[1:]]
    assert names == ["own", "model.layer.10", x]


# Attention.


def additive(b, hidden=LOWEST):
    """0 where a key is visible, else a large negative number, [batch][1][1][token]."""
    shown = b.op("Cast", b.op("Unsqueeze", "attention_mask", b.integers(1, 2)), to=1)
    return b.op("Mul", b.op("Sub", 1.0, shown), hidden)


def attend(b, scale, mask, scale_of="scores", heads=2):
    """Attention with a scale at some place and a mask."""
    x = b.embeddings()
    q = b.moved_heads(b.linear(x), [0, 2, 1, 3], heads)
    k = b.moved_heads(b.linear(x), [0, 2, 3, 1], heads)
    v = b.moved_heads(b.linear(x), [0, 2, 1, 3], heads)
    if scale_of == "q":
        q = b.op("Div", q, 1 / scale)
    if scale_of == "both":
        q, k = b.op("Mul", q, scale**0.5), b.op("Mul", scale**0.5, k)
    scores = b.op("MatMul", q, k)
    if scale_of == "scores":
        scores = b.op("Mul", scores, scale)
    weights = b.op("Softmax", mask(b, scores), axis=-1)
    return b.joined_heads(b.op("MatMul", weights, v))


def where_hidden(b, scores):
    hidden = b.op("Equal", "attention_mask", b.constant(0, np.int64))
    shape = b.op("Shape", scores)
    spread = b.op("Expand", b.op("Unsqueeze", hidden, b.integers(1, 2)), shape)
    return b.op("Where", spread, LOWEST, scores)


def where_shown(b, scores):
    shown = b.op("Cast", b.op("Unsqueeze", "attention_mask", b.integers(1, 2)), to=9)
    return b.op("Where", shown, scores, float("-inf"))


MASKS = {
    "lowest": lambda b, s: b.op("Add", s, additive(b)),
    "ten thousand": lambda b, s: b.op("Add", additive(b, -10000.0), s),
    "infinite": lambda b, s: b.op(
        "Add",
        s,
        b.op(
            "Where",
            b.op("Cast", b.op("Unsqueeze", "attention_mask", b.integers(1, 2)), to=9),
            0.0,
            float("-inf"),
        ),
    ),
    "filled": where_hidden,
    "kept": where_shown,
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("place", ["scores", "q", "both"])
def test_attention(tmp_path, mask, place):
    b = Builder()
    graph = imported(tmp_path, b, attend(b, 0.5, MASKS[mask], place))
    assert kinds(graph) == ["linear", "linear", "linear", "attention"]
    node = graph.nodes[-1]
    assert node.inputs[-1] == "attention_mask" and len(node.inputs) == 4
    assert node.attributes == {"heads": 2, "head_dim": 4}


def test_attention_of_one_head(tmp_path):
    b = Builder()
    graph = imported(tmp_path, b, attend(b, WIDTH**-0.5, MASKS["lowest"], heads=1))
    assert graph.nodes[-1].attributes == {"heads": 1, "head_dim": WIDTH}


def test_attention_without_a_mask(tmp_path):
    b = Builder(mask=False)
    graph = import_onnx(
        tiny_onnx.save(b.model(attend(b, 0.5, lambda b, s: s)), tmp_path / "m.onnx")
    )
    assert graph.nodes[-1].inputs[-1] == "attention_mask"
    assert graph.inputs[-1].default == 1


def test_attention_that_ignores_the_mask(tmp_path):
    b = Builder()
    graph = import_onnx(
        tiny_onnx.save(b.model(attend(b, 0.5, lambda b, s: s)), tmp_path / "m.onnx")
    )
    assert len(graph.nodes[-1].inputs) == 3


def guarded(b, x):
    return b.op("Where", b.op("IsNaN", x), 0.0, x)


def test_guard_against_nan(tmp_path):
    b = Builder()
    x = b.embeddings()
    q, v = (b.moved_heads(b.linear(x), [0, 2, 1, 3]) for _ in range(2))
    k = b.moved_heads(b.linear(x), [0, 2, 3, 1])
    scores = b.op("Mul", b.op("MatMul", q, k), 0.5)
    weights = guarded(b, b.op("Softmax", MASKS["infinite"](b, scores)))
    graph = imported(tmp_path, b, b.joined_heads(b.op("MatMul", weights, v)))
    assert graph.nodes[-1].op == "attention"


def test_attention_of_columns_of_one_product(tmp_path):
    b = Builder()
    parts = b.op("Split", b.linear(b.embeddings(), 3 * WIDTH), outputs=3, axis=2)
    q, v = (b.moved_heads(parts[i], [0, 2, 1, 3]) for i in (0, 2))
    scores = b.op("MatMul", q, b.moved_heads(parts[1], [0, 2, 3, 1]))
    weights = b.op("Softmax", MASKS["lowest"](b, b.op("Div", scores, 2.0)))
    graph = imported(tmp_path, b, b.joined_heads(b.op("MatMul", weights, v)))
    assert kinds(graph) == ["linear", "attention"]
    columns = {"k_column": WIDTH, "v_column": 2 * WIDTH}
    assert graph.nodes[-1].attributes == {"heads": 2, "head_dim": 4, **columns}


def test_heads_folded_into_the_batch(tmp_path):
    b = Builder()
    x = b.embeddings()

    def folded(order):
        moved = b.moved_heads(b.linear(x), order)
        last = b.integers(-1, 4, 6) if order[-1] == 1 else b.integers(-1, 6, 4)
        return b.op("Reshape", moved, last)

    b.dims = ("batch", 6)
    q, k, v = folded([0, 2, 1, 3]), folded([0, 2, 3, 1]), folded([0, 2, 1, 3])
    scores = b.op("Reshape", b.op("MatMul", q, k), b.integers(-1, 2, 6, 6))
    scores = MASKS["lowest"](b, b.op("Mul", scores, 0.5))
    weights = b.op("Reshape", b.op("Softmax", scores), b.integers(-1, 6, 6))
    context = b.op("Reshape", b.op("MatMul", weights, v), b.integers(-1, 2, 6, 4))
    graph = imported(tmp_path, b, b.joined_heads(context))
    assert kinds(graph)[-1] == "attention" and graph.metadata["max_positions"] == 6


def causal(b, scores):
    shape = b.op("Slice", b.op("Shape", scores), b.integers(2), b.integers(4))
    ones = b.op("Expand", 1.0, shape)
    return b.op("Where", b.op("Cast", b.op("Trilu", ones, upper=0), to=9), scores, LOWEST)


@pytest.mark.parametrize(
    "mask",
    [
        lambda b, s: b.op("Add", s, additive(b, -1.0)),
        lambda b, s: b.op("Add", s, additive(b, 10000.0)),
        lambda b, s: b.op("Add", s, b.constant([1.0, 1.0, 0.5, 0.5])),
        causal,
    ],
    ids=["weak", "inverted", "bias", "causal"],
)
def test_what_is_no_mask(tmp_path, mask):
    b = Builder(dims=("batch", 4))
    text = refused(tmp_path, b, attend(b, 0.5, lambda b, s: mask(b, s)))
    assert "is no softmax of scaled scores over the tokens that the mask shows" in text


def test_another_scale(tmp_path):
    b = Builder()
    text = refused(tmp_path, b, attend(b, 1.0, MASKS["lowest"]))
    assert "multiplies its scores by 1; supported is 0.5" in text


def test_heads_in_another_order(tmp_path):
    b = Builder()
    x = b.embeddings()
    q, v = (b.moved_heads(b.linear(x), [0, 2, 1, 3]) for _ in range(2))
    cut = b.op("Reshape", b.linear(x), b.integers(0, 0, -1, 2))
    k = b.op("Transpose", cut, perm=[0, 3, 2, 1])
    weights = b.op("Softmax", b.op("Mul", b.op("MatMul", q, k), 0.5))
    text = refused(tmp_path, b, b.joined_heads(b.op("MatMul", weights, v)))
    assert "fit no pattern" in text and "Softmax" in text


# Pooling.


def masked_sum(b, x):
    shown = b.op("Cast", b.op("Unsqueeze", "attention_mask", b.integers(2)), to=1)
    total = b.op("ReduceSum", b.op("Mul", x, shown), b.integers(1), keepdims=0)
    count = b.op("ReduceSum", shown, b.integers(1), keepdims=0)
    return total, b.op("Clip", count, 1e-9)


def product_mean(b, x):
    shown = b.op("Cast", b.op("Unsqueeze", "attention_mask", b.integers(1)), to=1)
    total = b.op("Squeeze", b.op("MatMul", shown, x), b.integers(1))
    count = b.op("ReduceSum", b.op("Cast", "attention_mask", to=1), b.integers(1), keepdims=1)
    return b.op("Mul", total, b.op("Reciprocal", count))


MEANS = {
    "sum": lambda b, x: b.op("Div", *masked_sum(b, x)),
    "product": product_mean,
}
FIRSTS = {
    "gather": lambda b, x: b.op("Gather", x, b.constant(0, np.int64), axis=1),
    "slice": lambda b, x: b.op(
        "Squeeze", b.op("Slice", x, b.integers(0), b.integers(1), b.integers(1)), b.integers(1)
    ),
}


@pytest.mark.parametrize("write", MEANS)
def test_mean(tmp_path, write):
    b = Builder()
    graph = imported(tmp_path, b, MEANS[write](b, b.embeddings()))
    assert kinds(graph) == ["pool"] and graph.nodes[-1].attributes == {"mode": "mean"}
    assert graph.nodes[-1].inputs[1:] == ["attention_mask"]


def test_mean_of_all_rows(tmp_path):
    b = Builder()
    path = tmp_path / "m.onnx"
    model = b.model(b.op("ReduceMean", b.embeddings(), axes=[1], keepdims=0))
    graph = import_onnx(tiny_onnx.save(model, path))
    assert graph.nodes[-1].attributes == {"mode": "mean"} and len(graph.nodes[-1].inputs) == 1


@pytest.mark.parametrize("write", FIRSTS)
def test_first(tmp_path, write):
    b = Builder()
    graph = imported(tmp_path, b, b.op("Tanh", b.linear(FIRSTS[write](b, b.embeddings()))))
    assert kinds(graph) == ["pool", "linear", "activation"]
    assert graph.nodes[1].attributes == {"mode": "first"}


def test_the_second_row_is_not_the_first(tmp_path):
    b = Builder()
    x = b.op("Gather", b.embeddings(), b.constant(1, np.int64), axis=1)
    assert "(Gather)" in refused(tmp_path, b, x)


def test_the_sum_of_the_rows_is_not_their_mean(tmp_path):
    b = Builder()
    assert "(ReduceSum)" in refused(tmp_path, b, masked_sum(b, b.embeddings())[0])


@pytest.mark.parametrize(
    "write",
    [
        lambda b, x: b.op(
            "Div", x, b.op("Clip", b.op("ReduceL2", x, axes=[-1], keepdims=1), 1e-12)
        ),
        lambda b, x: b.op(
            "Div",
            x,
            b.op("Sqrt", b.op("ReduceSum", b.op("Mul", x, x), b.integers(1), keepdims=1)),
        ),
        lambda b, x: b.op("LpNormalization", x, axis=-1, p=2),
    ],
)
def test_length_is_left_to_the_caller(tmp_path, write):
    b = Builder()
    x = write(b, FIRSTS["gather"](b, b.embeddings()))
    graph = import_onnx(tiny_onnx.save(b.model(x), tmp_path / "m.onnx"))
    assert kinds(graph) == ["pool"] and graph.outputs == [x]
    assert f"each row of {x!r} by its length" in graph.metadata["notes"][0]


# Embeddings.


def test_positions_from_the_third_row_on(tmp_path):
    b = Builder()
    words = b.op("Gather", b.normal(20, WIDTH), "input_ids")
    tokens = b.op("Gather", b.op("Shape", "input_ids"), b.constant(1, np.int64))
    two = b.constant(2, np.int64)
    places = b.op("Range", two, b.op("Add", tokens, two), b.constant(1, np.int64))
    graph = imported(tmp_path, b, b.op("Add", b.op("Gather", b.normal(12, WIDTH), places), words))
    assert kinds(graph) == [] and graph.metadata["max_positions"] == 10


def test_positions_as_a_slice_and_one_row_of_types(tmp_path):
    b = Builder()
    words = b.op("Gather", b.normal(20, WIDTH), "input_ids")
    end = b.op("Slice", b.op("Shape", "input_ids"), b.integers(1), b.integers(2))
    places = b.op("Slice", b.normal(1, 12, WIDTH), b.integers(0), end, b.integers(1))
    total = b.op("Add", b.op("Add", words, places), b.normal(WIDTH))
    graph = imported(tmp_path, b, total)
    assert graph.nodes[0].weights["type"].shape == (1, WIDTH)
    assert [item.name for item in graph.inputs][:2] == ["input_ids", "token_type_ids"]


def test_positions_that_run_backwards(tmp_path):
    b = Builder()
    words = b.op("Gather", b.normal(20, WIDTH), "input_ids")
    tokens = b.op("Gather", b.op("Shape", "input_ids"), b.constant(1, np.int64))
    minus, zero = b.constant(-1, np.int64), b.constant(0, np.int64)
    places = b.op("Range", tokens, zero, minus)
    assert "(Add)" in refused(
        tmp_path, b, b.op("Add", words, b.op("Gather", b.normal(12, WIDTH), places))
    )
