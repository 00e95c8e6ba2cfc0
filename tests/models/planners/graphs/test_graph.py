"""The graph builder: its operations against NumPy, and the transformer block as nodes against the PyTorch one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from models.contract.tensor_specs import TensorSpec
from models.nets.blocks import Block
from models.planners.graphs.blocks import NEVER, Residual, block_rows, block_step, close, decode_step, normalise
from models.planners.graphs.graph import Graph
from models.planners.runtime import GraphPlanner

Array = NDArray[Any]


def run(g: Graph, **feeds: Array) -> dict[str, Array]:
    return GraphPlanner(g.build({}))(feeds)


def result(g: Graph, value: str, shape: list[int | str], dtype: str = "float32", **feeds: Array) -> Array:
    g.output("y", value, dtype, shape)
    return run(g, **feeds)["y"]


X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_slices_splits_and_joins_are_numpys() -> None:
    g = Graph("g")
    x = g.input("x", "float32", ["B", 3, 4])
    g.output("middle", g.slice(x, 2, 1, 3), "float32", ["B", 3, 2])
    a, b = g.split(x, 1, 1, 2)
    g.output("turned", g.concat(1, b, a), "float32", ["B", 3, 4])
    found = run(g, x=X)
    np.testing.assert_array_equal(found["middle"], X[:, :, 1:3])
    np.testing.assert_array_equal(found["turned"], np.concatenate([X[:, 1:], X[:, :1]], 1))


def test_rows_are_taken_per_request() -> None:
    g = Graph("g")
    x, i = g.input("x", "float32", ["B", 3, 4]), g.input("i", "int64", ["B", 2, 1])
    index = np.array([[[2], [0]], [[1], [1]]])
    found = result(g, g.take_rows(x, i), ["B", 2, 4], x=X, i=index)
    np.testing.assert_array_equal(found, np.stack([X[0, [2, 0]], X[1, [1, 1]]]))


def test_a_linear_layer_is_the_layer_without_a_bias() -> None:
    g, layer = Graph("g"), nn.Linear(4, 5, bias=False)
    x = g.input("x", "float32", ["B", 3, 4])
    expected = layer(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(result(g, g.linear(x, layer), ["B", 3, 5], x=X), expected, rtol=1e-5)


def test_joining_one_part_costs_no_node() -> None:
    g = Graph("g")
    assert g.concat(1, "x") == "x"
    assert g.size == 0


def test_equal_constants_are_stored_once_and_different_ones_apart() -> None:
    g = Graph("g")
    names = [
        g.constant([1.0, 2.0]),
        g.constant(np.array([1.0, 2.0])),
        g.weight(torch.tensor([1.0, 2.0])),
    ]
    assert len(set(names)) == 1
    others = [
        g.constant([[1.0, 2.0]]),
        g.constant([1.0, 2.5]),
        g.constant(1.0),
        g.constant([1.0]),
        g.ints(1),
        g.ints(0),
    ]
    assert len({*names, *others}) == 1 + len(others)
    # The same bytes, of another type.
    assert g.constant(0.0) != g.constant(0, np.int32)


def test_constants_keep_their_shape_and_layout() -> None:
    g = Graph("g")
    x = g.input("x", "float32", ["B", 3, 4])
    turned = np.arange(8, dtype=np.float32).reshape(2, 4).T
    y = g.op("MatMul", g.op("Add", x, g.constant(0.5)), g.constant(turned))
    np.testing.assert_allclose(result(g, y, ["B", 3, 2], x=X), (X + 0.5) @ turned)


def test_nodes_are_named_after_the_scopes_that_they_were_made_in() -> None:
    g = Graph("g")
    x = g.input("x", "float32", ["B"])
    with g.scope("step0"):
        with g.scope("block1"):
            inner = g.op("Relu", x)
        outer = g.op("Relu", inner)
    last = g.op("Relu", outer)
    assert [name.rpartition("_")[0] for name in (inner, outer, last)] == ["step0/block1/Relu", "step0/Relu", "Relu"]
    assert len({inner, outer, last}) == 3


def test_inputs_and_outputs_are_declared_in_the_model_as_in_the_specs() -> None:
    g = Graph("g")
    g.input("x", "float32", ["B", 3, "E"])
    g.input("i", "int64", ["B"])
    g.input("b", "bool", ["B", 3])
    g.output("y", g.op("Cast", "b", to=1), "float32", ["B", 3])
    assert g.inputs == (
        TensorSpec("x", "float32", ("B", 3, "E")),
        TensorSpec("i", "int64", ("B",)),
        TensorSpec("b", "bool", ("B", 3)),
    )
    assert g.outputs == (TensorSpec("y", "float32", ("B", 3)),)
    planner = GraphPlanner(g.build({}))
    assert (planner.inputs, planner.outputs) == (("x", "i", "b"), ("y",))


def test_metadata_stands_in_the_model() -> None:
    g = Graph("g")
    g.output("y", g.op("Relu", g.input("x", "float32", ["B"])), "float32", ["B"])
    model = g.build({"listwright.fingerprint": "abc", "other": "ü"})
    assert {p.key: p.value for p in model.metadata_props} == {"listwright.fingerprint": "abc", "other": "ü"}


def test_a_graph_that_is_not_sound_is_not_built() -> None:
    g = Graph("g")
    g.output("y", g.op("Add", g.input("x", "float32", ["B"]), "nowhere"), "float32", ["B"])
    with pytest.raises(onnx.checker.ValidationError, match="nowhere"):
        g.build({})


def test_normalising_closes_the_stream_and_is_the_layer_norm() -> None:
    torch.manual_seed(0)
    norm = nn.LayerNorm(4)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    g = Graph("g")
    normed, closed = normalise(g, Residual(g.input("x", "float32", ["B", 3, 4]), g.constant(X[0] / 7)), norm)
    g.output("normed", normed, "float32", ["B", 3, 4])
    g.output("closed", closed, "float32", ["B", 3, 4])
    found = run(g, x=X)
    np.testing.assert_allclose(found["closed"], X + X[0] / 7, rtol=1e-6)
    expected = norm(torch.from_numpy(X + X[0] / 7)).detach().numpy()
    np.testing.assert_allclose(found["normed"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("proposals", [1, 3])
@pytest.mark.parametrize("earlier", [0, 1, 4])
def test_a_block_step_values_each_alternative_as_the_block_values_the_whole_list(proposals: int, earlier: int) -> None:
    torch.manual_seed(earlier)
    block = Block(8, 2, feed_forward=12).eval()
    chosen, tokens = torch.randn(2, earlier, 8), torch.randn(2, proposals, 8)
    g = Graph("g")
    past = [_keys_and_values(g, block, f"chosen{t}") for t in range(earlier)]
    x = g.input("x", "float32", ["B", proposals, 8])
    own = np.where(np.eye(proposals) > 0, 0.0, NEVER)
    mask = g.constant(np.concatenate([np.zeros((proposals, earlier)), own], 1)[None, None])
    after, _ = block_step(g, block, Residual(x, g.constant(0.0)), mask, past)
    y = close(g, after)
    g.output("y", y, "float32", ["B", proposals, 8])
    past_feeds = {f"chosen{t}": chosen[:, t : t + 1].numpy() for t in range(earlier)}
    found = run(g, x=tokens.numpy(), **past_feeds)["y"]
    for p in range(proposals):
        whole = block(torch.cat([chosen, tokens[:, p : p + 1]], 1))[:, -1]
        np.testing.assert_allclose(found[:, p], whole.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_token_by_token_a_block_gives_what_it_gives_for_the_whole_list() -> None:
    torch.manual_seed(0)
    block = Block(8, 2, feed_forward=12).eval()
    tokens = torch.randn(2, 4, 8)
    g = Graph("g")
    past = None
    for t in range(4):
        x = Residual(g.input(f"x{t}", "float32", ["B", 1, 8]), g.constant(0.0))
        after, past = decode_step(g, block, x, past)
        g.output(f"y{t}", close(g, after), "float32", ["B", 1, 8])
    found = run(g, **{f"x{t}": tokens[:, t : t + 1].numpy() for t in range(4)})
    together = np.concatenate([found[f"y{t}"] for t in range(4)], axis=1)
    np.testing.assert_allclose(together, block(tokens).detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_a_block_over_all_rows_is_the_block(causal: bool) -> None:
    torch.manual_seed(0)
    block = Block(8, 2, feed_forward=12, causal=causal).eval()
    tokens = torch.randn(2, 5, 8)
    g = Graph("g")
    after = block_rows(g, block, Residual(g.input("x", "float32", ["B", 5, 8]), g.constant(0.0)))
    found = result(g, close(g, after), ["B", 5, 8], x=tokens.numpy())
    np.testing.assert_allclose(found, block(tokens).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_mask_hides_padding_from_all_rows_of_a_block() -> None:
    torch.manual_seed(0)
    block = Block(8, 2, feed_forward=12, causal=False).eval()
    tokens, keep = torch.randn(2, 5, 8), torch.tensor([[True] * 5, [True, False, True, False, False]])
    g = Graph("g")
    mask = g.input("mask", "float32", ["B", 1, 5, 5])
    after = block_rows(g, block, Residual(g.input("x", "float32", ["B", 5, 8]), g.constant(0.0)), mask)
    hidden = np.broadcast_to(np.where(keep.numpy(), 0, NEVER)[:, None, None], (2, 1, 5, 5)).astype(np.float32)
    found = result(g, close(g, after), ["B", 5, 8], x=tokens.numpy(), mask=hidden)
    np.testing.assert_allclose(found, block(tokens, keep).detach().numpy(), rtol=1e-4, atol=1e-5)


def _keys_and_values(g: Graph, block: Block, name: str) -> str:
    """What a step leaves behind of an earlier token [B, 1, D]."""
    token = Residual(g.input(name, "float32", ["B", 1, 8]), g.constant(0.0))
    _, keys_values = block_step(g, block, token, g.constant(np.zeros((1, 1, 1, 1))), [])
    return keys_values
