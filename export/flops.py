"""Floating-point operations of a graph's matrix products: the arithmetic that no implementation can avoid.

Counted are MatMul, FusedMatMul, Gemm, and the two products inside Attention; a product of [m, k] and [k, n] is 2·m·k·n
operations. Everything else (norms, softmax, additions, gathers) is left out, so a time made from this is a floor.

Shapes come from one real run on real inputs rather than from shape inference, which does not know FusedMatMul.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

Shape = tuple[int, ...]
Feeds = Mapping[str, NDArray[np.generic]]


def count_flops(model: onnx.ModelProto, feeds: Feeds) -> int:
    """Operations of all products for one run on `feeds`, which may hold more arrays than the graph takes.

    Raises `ValueError` for a graph with control flow (what a loop repeats cannot be read off its nodes).
    """
    products = [node for node in model.graph.node if node.op_type in _COUNTS]
    for node in model.graph.node:
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
            raise ValueError(f"node {node.name!r} ({node.op_type}): products inside control flow cannot be counted")
    shapes = _shapes(model, {name for node in products for name in node.input if name}, feeds)
    return sum(_COUNTS[node.op_type](node, [shapes.get(name, ()) for name in node.input]) for node in products)


def _shapes(model: onnx.ModelProto, names: set[str], feeds: Feeds) -> dict[str, Shape]:
    """The shapes that the values called `names` have in a run."""
    known = {t.name: tuple(t.dims) for t in model.graph.initializer if t.name in names}
    inputs = [i.name for i in model.graph.input if i.name not in {t.name for t in model.graph.initializer}]
    known |= {name: feeds[name].shape for name in inputs if name in names}
    wanted = sorted(names - known.keys())
    if not wanted:
        return known
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    options = onnxruntime.SessionOptions()
    # Nothing may be fused or renamed away; and planning buffer reuse over so many outputs takes minutes.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_mem_reuse = False
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run(wanted, {name: feeds[name] for name in inputs})
    return known | {name: value.shape for name, value in zip(wanted, values, strict=True)}


def _matmul(node: onnx.NodeProto, shapes: list[Shape]) -> int:
    left, right = (_matrix(shape, column=i == 1) for i, shape in enumerate(shapes[:2]))
    if _integer(node, "transA"):
        left = (*left[:-2], left[-1], left[-2])
    if _integer(node, "transB"):
        right = (*right[:-2], right[-1], right[-2])
    batch = np.broadcast_shapes(left[:-2], right[:-2])
    return 2 * prod(batch) * left[-2] * left[-1] * right[-1]


def _matrix(shape: Shape, *, column: bool) -> Shape:
    """A vector counts as a matrix of one row, or of one column on the right."""
    if len(shape) >= 2:
        return shape
    return (shape[0], 1) if column else (1, shape[0])


def _attention(node: onnx.NodeProto, shapes: list[Shape]) -> int:
    """Queries by keys, and the weights by values, each query with every key that it is given, masked or not."""
    query, key, value = shapes[:3]
    past = shapes[4] if len(shapes) > 4 else ()
    earlier = past[2] if past else 0
    if len(query) == 4:  # [B, H, T, D / H]
        batch, heads, tokens, width = query
        seen, value_width = key[2] + earlier, value[3]
    else:  # [B, T, H · D / H]
        batch, tokens, hidden = query
        heads = _integer(node, "q_num_heads")
        width, value_width = hidden // heads, value[2] // _integer(node, "kv_num_heads")
        seen = key[1] + earlier
    return 2 * batch * heads * tokens * seen * (width + value_width)


def _integer(node: onnx.NodeProto, name: str) -> int:
    """An integer attribute; 0 if it is not given."""
    return next((a.i for a in node.attribute if a.name == name), 0)


_COUNTS: Final[Mapping[str, Callable[[onnx.NodeProto, list[Shape]], int]]] = {
    "MatMul": _matmul,
    "FusedMatMul": _matmul,
    "Gemm": _matmul,
    "Attention": _attention,
}
