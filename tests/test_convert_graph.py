"""The rules of a graph, and the passes that rewrite it."""

from dataclasses import replace

import numpy as np
import pytest

import tiny_bert
from csc_convert import ConvertError
from csc_convert.graph import Graph, Input, Node, check
from csc_convert.import_hf import import_hf
from csc_convert.reference import evaluate
from csc_convert.simplify import (
    PASSES,
    drop_identities,
    drop_unused,
    fuse_activations,
    fuse_qkv,
    hoist_one_row,
    simplify,
)

RNG = np.random.default_rng(0)


def matrix(*shape):
    return RNG.normal(0, 0.3, shape).astype(np.float32)


def small_graph():
    """Embed 6 wide, project, attend with 2 heads, add, normalize."""
    tables = {"word": matrix(9, 6), "position": matrix(5, 6)}
    norm = {"gain": matrix(6), "offset": matrix(6)}
    nodes = [
        Node("embed", "e", ["ids"], ["x"], {}, tables),
        Node("linear", "p", ["x"], ["qkv"], {}, {"weight": matrix(18, 6), "bias": matrix(18)}),
        Node(
            "attention",
            "a",
            ["qkv", "qkv", "qkv", "mask"],
            ["c"],
            {"heads": 2, "head_dim": 3, "k_column": 6, "v_column": 12},
        ),
        Node("add", "s", ["c", "x"], ["sum"]),
        Node("layernorm", "n", ["sum"], ["y"], {"epsilon": 1e-5}, norm),
        Node("activation", "t", ["y"], ["z"], {"function": "tanh"}),
        Node("pool", "m", ["z", "mask"], ["out"], {"mode": "mean"}),
    ]
    return Graph([Input("ids", "ids"), Input("mask", "mask", 1)], nodes, ["out"])


def test_a_good_graph_passes():
    values = check(small_graph(), after="test")
    assert values["qkv"].width == 18
    assert not values["out"].tokens


def change(which, /, **fields):
    def apply(graph):
        nodes = [
            replace(n, **{k: v(n) for k, v in fields.items()}) if n.name == which else n
            for n in graph.nodes
        ]
        return replace(graph, nodes=nodes)

    return apply


def without(key, source="weights"):
    return lambda node: {k: v for k, v in getattr(node, source).items() if k != key}


def having(source="weights", **changes):
    return lambda node: {**getattr(node, source), **changes}


BROKEN = [
    ("p", "op 'matmul' is unknown", change("p", op=lambda _: "matmul")),
    ("p", "input 'gone' is not defined", change("p", inputs=lambda _: ["gone"])),
    ("p", "input 'y' is not defined before", change("p", inputs=lambda _: ["y"])),
    ("p", "must be rows, not mask", change("p", inputs=lambda _: ["mask"])),
    ("p", "takes 1 to 1 inputs", change("p", inputs=lambda _: ["x", "x"])),
    ("p", "output 'x' is defined twice", change("p", outputs=lambda _: ["x"])),
    ("p", "exactly one output", change("p", outputs=lambda _: ["q", "k"])),
    ("p", "weight 'weight' is missing", change("p", weights=without("weight"))),
    ("p", "'scale' does not belong here", change("p", weights=having(scale=matrix(3)))),
    ("p", "takes 5 inputs, the value has 6", change("p", weights=having(weight=matrix(18, 5)))),
    ("p", "bias must have 18 elements", change("p", weights=having(bias=matrix(17)))),
    ("p", "rank 2, not 1", change("p", weights=having(weight=matrix(18)))),
    ("p", "must be float32", change("p", weights=having(bias=np.zeros(18)))),
    ("p", "must be finite", change("p", weights=having(bias=matrix(18) * np.float32(np.nan)))),
    (
        "p",
        "activation 'sine' is unknown",
        change("p", attributes=having("attributes", activation="sine")),
    ),
    ("e", "table position is 7 wide", change("e", weights=having(position=matrix(5, 7)))),
    ("e", "go together", change("e", weights=having(type=matrix(2, 6)))),
    ("a", "leave its 18 columns", change("a", attributes=having("attributes", v_column=13))),
    ("a", "must be positive", change("a", attributes=having("attributes", heads=0))),
    ("a", "attribute 'heads' is missing", change("a", attributes=without("heads", "attributes"))),
    ("a", "must be int", change("a", attributes=having("attributes", heads=2.0))),
    ("s", "operands differ", change("s", inputs=lambda _: ["qkv", "x"])),
    ("n", "gain has 5 elements", change("n", weights=having(gain=matrix(5)))),
    ("n", "epsilon must be positive", change("n", attributes=having("attributes", epsilon=0.0))),
    ("t", "'sine' is unknown", change("t", attributes=having("attributes", function="sine"))),
    ("m", "mode 'max' is unknown", change("m", attributes=having("attributes", mode="max"))),
    ("m", "first takes no mask", change("m", attributes=having("attributes", mode="first"))),
    ("n", "taken by another node", change("s", name=lambda _: "n")),
]


@pytest.mark.parametrize(("node", "rule", "spoil"), BROKEN, ids=[text for _, text, _ in BROKEN])
def test_broken_rules_name_pass_node_and_rule(node, rule, spoil):
    with pytest.raises(ConvertError) as caught:
        check(spoil(small_graph()), after="the test pass")
    text = str(caught.value)
    assert text.startswith("After the test pass: node ")
    assert repr(node) in text
    assert rule in text


def test_outputs_must_be_written():
    with pytest.raises(ConvertError, match="'nothing'"):
        check(replace(small_graph(), outputs=["nothing"]), after="test")
    with pytest.raises(ConvertError, match="'ids'"):
        check(replace(small_graph(), outputs=["ids"]), after="test")


def test_simplify_names_the_pass(monkeypatch):
    def forget_everything(graph):
        return replace(graph, nodes=[])

    monkeypatch.setattr("csc_convert.simplify.PASSES", (forget_everything,))
    with pytest.raises(ConvertError, match="After forget_everything"):
        simplify(small_graph())


def run(graph):
    data = tiny_bert.inputs(5)
    data["attention_mask"][:] = 1
    return evaluate(graph, data)


@pytest.mark.parametrize("activation", ["gelu", "linear"])
@pytest.mark.parametrize("kind", ["classifier", "encoder"])
def test_every_pass_keeps_the_outputs(tmp_path, kind, activation):
    graph = import_hf(
        getattr(tiny_bert, kind)(tmp_path / "m", hidden_act=activation),
        "cls" if kind == "encoder" else "none",
    )
    wanted = run(graph)
    for simplification in PASSES:
        graph = simplification(graph)
        check(graph, after=simplification.__name__)
        found = run(graph)
        assert found.keys() == wanted.keys()
        for name in wanted:
            np.testing.assert_allclose(found[name], wanted[name], atol=3e-5)


def ops(graph):
    return [node.op for node in graph.nodes]


def test_activations_are_fused(tmp_path):
    graph = fuse_activations(import_hf(tiny_bert.encoder(tmp_path / "m")))
    assert "activation" not in ops(graph)
    node = graph.producer("layer.0.ffn.hidden")
    assert (node.name, node.attributes) == ("layer.0.ffn.up", {"activation": "gelu"})


def test_activation_of_a_shared_value_stays():
    graph = small_graph()
    graph.nodes[5] = replace(graph.nodes[5], inputs=["qkv"])
    graph.outputs = ["out", "y"]
    assert "activation" in ops(fuse_activations(graph))


def test_qkv_is_fused(tmp_path):
    graph = import_hf(tiny_bert.encoder(tmp_path / "m", layers=1))
    fused = fuse_qkv(graph)
    assert ops(fused).count("linear") == ops(graph).count("linear") - 2
    attention = next(node for node in fused.nodes if node.op == "attention")
    assert attention.inputs == ["layer.0.attention.qkv"] * 3 + ["attention_mask"]
    assert (attention.attributes["k_column"], attention.attributes["v_column"]) == (24, 48)


def test_shared_projections_are_not_fused(tmp_path):
    graph = import_hf(tiny_bert.encoder(tmp_path / "m", layers=1))
    for node in graph.nodes:
        if node.op == "attention":
            node.inputs[1] = node.inputs[0]
    assert ops(fuse_qkv(graph)) == ops(graph)


def test_identities_disappear(tmp_path):
    graph = import_hf(tiny_bert.encoder(tmp_path / "m", hidden_act="linear"))
    assert [n.name for n in drop_identities(graph).nodes if n.op == "activation"] == [
        "pooler_output"
    ]


def test_unused_nodes_disappear(tmp_path):
    graph = import_hf(tiny_bert.encoder(tmp_path / "m"))
    graph.outputs = ["pooler_output"]
    assert "sentence_embedding" not in [n.name for n in drop_unused(graph).nodes]
    graph.outputs = ["last_hidden_state"]
    assert not [n for n in drop_unused(graph).nodes if "pooler" in n.name]


def test_first_row_of_a_classifier_comes_early(tmp_path):
    graph = simplify(import_hf(tiny_bert.classifier(tmp_path / "m", layers=2)))
    values = check(graph, after="test")
    one_row = {node.name for node in graph.nodes if not values[node.output].tokens}
    assert {
        "layer.1.attention.output",
        "layer.1.ffn.up",
        "layer.1.ffn.output",
        "layer.1.norm",
        "pooler.dense",
        "logits",
    } <= one_row
    assert not any(
        name.startswith(("layer.0", "embeddings", "layer.1.attention.qkv"))
        and not name.endswith(".first")
        for name in one_row
    )
    assert ops(graph).count("pool") == 2


def test_first_row_stays_where_all_rows_are_an_output(tmp_path):
    graph = import_hf(tiny_bert.encoder(tmp_path / "m"))
    assert ops(hoist_one_row(graph)) == ops(graph)
