"""float16 reaches the blocks and nothing else, with a cast wherever the two meet and nowhere besides."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.families.family import ModelFamily
from export.proof.precision import to_half
from export.proof.requests import random_requests
from models.contract.manifest import Limits
from models.planners.graphs.graph import MICROSOFT
from models.planners.runtime import GraphPlanner
from tests.export.examples import DEGRE_OPTIONS, LIMITS, degre, sort_gen

FAMILIES = [pytest.param(sort_gen(), LIMITS, id="sort-gen"), pytest.param(degre(), DEGRE_OPTIONS.limits, id="degre")]


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """Every value, inputs and constants too, to its type. Nodes of ONNX Runtime's own domain give what they take."""
    typed = onnx.ModelProto()
    typed.CopyFrom(model)
    for node in (node for node in model.graph.node if node.domain == MICROSOFT and "/block" not in node.name):
        typed.graph.value_info.append(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None))
    graph = onnx.shape_inference.infer_shapes(typed).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    types = {v.name: v.type.tensor_type.elem_type for v in values}
    return types | {t.name: t.data_type for t in graph.initializer}


def small_graph(scale: float = 2.0) -> onnx.ModelProto:
    """x + one, outside; two nodes in a block; Relu, outside, and the block's middle given out by a third."""
    node = helper.make_node
    nodes = [
        node("Add", ["x", "one"], ["before"], name="prepare/Add"),
        node("Mul", ["before", "scale"], ["inside"], name="step0/block0/Mul"),
        node("Add", ["inside", "one"], ["after"], name="step0/block0/Add"),
        node("Relu", ["after"], ["y"], name="finish/Relu"),
        node("Abs", ["after"], ["z"], name="finish/Abs"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", 3]) for name in "xyz"]
    constants = [
        numpy_helper.from_array(np.array([value], np.float32), name) for name, value in (("one", 1.0), ("scale", scale))
    ]
    graph = helper.make_graph(nodes, "small", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)


def test_a_block_is_cast_once_on_the_way_in_and_once_on_the_way_out() -> None:
    half = to_half(small_graph())
    types = types_of(half)
    casts = [(types[n.input[0]], types[n.output[0]]) for n in half.graph.node if n.op_type == "Cast"]
    assert casts == [(TensorProto.FLOAT, TensorProto.FLOAT16), (TensorProto.FLOAT16, TensorProto.FLOAT)]
    assert types["inside"] == types["after"] == TensorProto.FLOAT16
    assert types["before"] == TensorProto.FLOAT


def test_constants_are_converted_and_kept_in_both_precisions_only_where_both_are_used() -> None:
    constants = {t.name: t.data_type for t in to_half(small_graph()).graph.initializer}
    assert sorted(constants.values()) == [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.FLOAT16]
    assert constants["one"] == TensorProto.FLOAT
    assert "scale" not in constants


def test_the_small_graph_computes_what_it_did() -> None:
    x = np.array([[-3.0, 0.25, 5.0]], np.float32)
    full, half = GraphPlanner(small_graph())({"x": x}), GraphPlanner(to_half(small_graph()))({"x": x})
    np.testing.assert_array_equal(half["y"], [[0.0, 3.5, 13.0]])
    np.testing.assert_array_equal(half["z"], full["z"])


def test_a_constant_that_does_not_fit_is_named_with_its_size() -> None:
    with pytest.raises(ValueError, match=r"^constant 'scale': 70000 does not fit into float16$"):
        to_half(small_graph(scale=7e4))
    assert to_half(small_graph(scale=6e4)).graph.node


@pytest.mark.parametrize(("family", "limits"), FAMILIES)
def test_every_float_of_a_block_is_half_and_choices_are_made_in_full(family: ModelFamily, limits: Limits) -> None:
    half = to_half(family.graph(limits).build({}))
    types = types_of(half)
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16)
    inside = [n for n in half.graph.node if "block" in n.name and n.op_type != "Cast"]
    assert {n.op_type for n in inside} >= {"Attention", "LayerNormalization", "MatMul", "Relu"}
    for node in inside:
        for name in node.input:
            assert types.get(name) not in floats or types[name] == TensorProto.FLOAT16, (node.name, name)
    for node in half.graph.node:
        if node.op_type in ("ArgMax", "Sigmoid", "TopK", "ReduceSum"):
            assert TensorProto.FLOAT16 not in {types.get(name) for name in node.input}, node.name


@pytest.mark.parametrize(("family", "limits"), FAMILIES)
def test_no_value_is_cast_twice_or_to_what_it_is(family: ModelFamily, limits: Limits) -> None:
    full = family.graph(limits).build({})
    before = full.SerializeToString()
    half = to_half(full)
    types = types_of(half)
    own = {node.name for node in full.graph.node}
    made = [node for node in half.graph.node if node.op_type == "Cast" and node.name not in own]
    assert made
    assert max(Counter(node.input[0] for node in made).values()) == 1
    constants = {t.name for t in half.graph.initializer}
    for node in made:
        assert {types[node.input[0]], types[node.output[0]]} == {TensorProto.FLOAT, TensorProto.FLOAT16}
        assert node.input[0] not in constants, "a constant is converted beforehand"
    assert full.SerializeToString() == before


@pytest.mark.parametrize(("family", "limits"), FAMILIES)
def test_inputs_and_outputs_are_what_they_were_and_answers_nearly(family: ModelFamily, limits: Limits) -> None:
    full = family.graph(limits).build({"key": "value"})
    half = to_half(full)
    assert (list(half.graph.input), list(half.graph.output)) == (list(full.graph.input), list(full.graph.output))
    assert [(p.key, p.value) for p in half.metadata_props] == [("key", "value")]
    expected, found = GraphPlanner(full), GraphPlanner(half)
    same = 0
    requests = list(random_requests(family.spec, limits, 20, 3, any_slots=family.any_slots))
    for request in requests:
        a, b = expected(request), found(request)
        if (a["order"] == b["order"]).all():
            same += 1
            assert np.allclose(b["value"], a["value"], rtol=5e-3, atol=5e-3)
    assert same > len(requests) / 2
