"""The line through batch times, and the operations of a graph, against figures worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export.capacity import batch_of, engine_clock, fit_batch_time
from export.flops import count_flops
from models.contract.manifest import Limits, Manifest
from tests.service.tiny_bundle import Options, write_bundle

FLOAT = TensorProto.FLOAT


def test_a_line_is_found_again() -> None:
    fit = fit_batch_time({n: [0.002 + 0.0005 * n] * 3 for n in (1, 2, 4, 8)})
    assert (fit.fixed, fit.each) == pytest.approx((0.002, 0.0005))
    assert fit.seconds(3) == pytest.approx(0.0035)
    assert fit.r_squared == pytest.approx(1)
    assert fit.worst_residual == pytest.approx(0, abs=1e-9)


def test_one_slow_block_in_five_moves_nothing() -> None:
    fit = fit_batch_time({n: [0.001 * n, 0.001 * n, 0.001 * n, 0.001 * n, 1.0] for n in (1, 2, 3)})
    assert (fit.fixed, fit.each) == pytest.approx((0, 0.001), abs=1e-9)


def test_relative_errors_count_alike() -> None:
    # The weighted least squares solution for these three points, from its normal equations in exact fractions.
    times = {1: 1.0, 2: 2.0, 10: 8.0}
    fit = fit_batch_time({n: [t] for n, t in times.items()})
    w = {n: 1 / t**2 for n, t in times.items()}
    s0, s1, s2 = (sum(w[n] * n**k for n in times) for k in range(3))
    t0, t1 = (sum(w[n] * n**k * times[n] for n in times) for k in range(2))
    each = (s0 * t1 - s1 * t0) / (s0 * s2 - s1**2)
    assert fit.each == pytest.approx(each)
    assert fit.fixed == pytest.approx((t0 - each * s1) / s0)
    assert fit.residuals()[10] == pytest.approx(1 - (fit.fixed + 10 * each) / 8)
    assert 0 < fit.r_squared < 1


def test_a_batch_never_costs_less_than_nothing() -> None:
    convex = fit_batch_time({1: [1.0], 2: [2.5], 4: [7.0]})
    assert convex.fixed == 0
    assert convex.each == pytest.approx((1 / 1 + 2 / 2.5 + 4 / 7) / (1 + (2 / 2.5) ** 2 + (4 / 7) ** 2))
    falling = fit_batch_time({1: [2.0], 2: [1.0]})
    assert falling.each == 0
    assert falling.fixed == pytest.approx((1 / 2 + 1) / (1 / 4 + 1))


@pytest.mark.parametrize("seconds", [{}, {1: [1.0]}, {1: [1.0], 2: [0.0]}])
def test_what_gives_no_line_is_refused(seconds: dict[int, list[float]]) -> None:
    with pytest.raises(ValueError, match="at least two batch sizes"):
        fit_batch_time(seconds)


def test_a_bundles_graph_is_timed_at_every_batch_size(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, Options(limits=Limits(list_length=5, queues=3)))
    block = engine_clock(folder, [1, 2, 4], candidates=100, runs=2).block()
    assert set(block) == {"1", "2", "4"}
    assert min(block.values()) > 0
    assert batch_of(Manifest.read(folder), 4, 100)["valid"].shape == (4, 15)
    with pytest.raises(ValueError, match="batch sizes: must be at least 1"):
        engine_clock(folder, [0, 1], candidates=100, runs=2)


def graph(nodes: list[onnx.NodeProto], inputs: dict[str, list[int | str]], output: str) -> onnx.ModelProto:
    shown = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()]
    body = helper.make_graph(nodes, "g", shown, [helper.make_tensor_value_info(output, FLOAT, None)])
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(body, opset_imports=opsets, ir_version=11)


def ones(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


def test_a_chain_of_products_is_counted_by_its_shapes_and_scales_with_the_batch() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),  # [B, 5, 7] by [7, 3]
        helper.make_node("Relu", ["y"], ["z"]),
        helper.make_node("MatMul", ["z", "v"], ["o"]),  # [B, 5, 3] by [3]: a vector
    ]
    model = graph(nodes, {"x": ["B", 5, 7], "w": [7, 3], "v": [3]}, "o")
    for batch in (1, 4):
        feeds = ones(x=(batch, 5, 7), w=(7, 3), v=(3,))
        assert count_flops(model, feeds) == batch * (2 * 5 * 7 * 3 + 2 * 5 * 3)


def test_stacked_matrices_and_weights_in_the_graph_are_counted() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]  # [2, 4, 3, 6] by [4, 6, 5]
    model = graph(nodes, {"x": [2, 4, 3, 6]}, "y")
    model.graph.initializer.append(helper.make_tensor("w", FLOAT, [4, 6, 5], [0.0] * 120))
    assert count_flops(model, ones(x=(2, 4, 3, 6))) == 2 * (2 * 4) * 3 * 6 * 5


@pytest.mark.parametrize(("op", "domain"), [("Gemm", ""), ("FusedMatMul", "com.microsoft")])
def test_transposed_operands_are_turned_first(op: str, domain: str) -> None:
    nodes = [helper.make_node(op, ["a", "b"], ["c"], domain=domain, transA=1, transB=1)]
    model = graph(nodes, {"a": [7, 2], "b": [3, 7]}, "c")
    assert count_flops(model, ones(a=(7, 2), b=(3, 7))) == 2 * 2 * 7 * 3


def test_attention_is_two_products_over_all_keys_the_past_ones_too() -> None:
    heads, width, tokens, past, batch = 2, 4, 3, 5, 2
    attributes: dict[str, Any] = {"q_num_heads": heads, "kv_num_heads": heads}
    hidden = heads * width
    queries: dict[str, list[int | str]] = {"q": [batch, tokens, hidden]}
    plain = [helper.make_node("Attention", ["q", "q", "q"], ["y"], **attributes)]
    found = count_flops(graph(plain, queries, "y"), ones(q=(batch, tokens, hidden)))
    assert found == batch * heads * 2 * (tokens * width * tokens) * 2
    cached = [helper.make_node("Attention", ["q", "q", "q", "", "k", "v"], ["y", "pk", "pv"], **attributes)]
    inputs = queries | {"k": [batch, heads, past, width], "v": [batch, heads, past, width]}
    feeds = ones(q=(batch, tokens, hidden), k=(batch, heads, past, width), v=(batch, heads, past, width))
    found = count_flops(graph(cached, inputs, "y"), feeds)
    assert found == batch * heads * 2 * (tokens * width * (tokens + past)) * 2


def test_a_graph_without_products_costs_none_and_one_with_a_loop_is_refused() -> None:
    assert count_flops(graph([helper.make_node("Relu", ["x"], ["y"])], {"x": [2]}, "y"), ones(x=(2,))) == 0
    inner = helper.make_graph([], "inner", [], [])
    looping = helper.make_node("If", ["c"], ["y"], name="branch", then_branch=inner, else_branch=inner)
    with pytest.raises(ValueError, match=r"node 'branch' \(If\): products inside control flow"):
        count_flops(graph([looping], {"c": []}, "y"), {})
