"""Reduce the precision of a generation graph's transformer blocks to float16.

What stays in float32 is what choices are made of: the features' projection, the final norm, the heads with their
sums of probabilities, cosines, penalties, scores and everything that picks. A block's norms and softmax are half in
and out, and ONNX Runtime's CUDA kernels sum them in float32. bfloat16 is not offered: its 8 bits of mantissa are
fewer than lists differ by, and ONNX Runtime has no kernels for it on CPU, so no bundle could be proved here.

A block's nodes are known by the scope ``block<i>/`` that their builders give them.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.planners.graphs.graph import MICROSOFT

Precision = Literal["fp32", "fp16"]

_BLOCK: Final = re.compile(r"(^|/)block\d+/")
_MOVES: Final = frozenset(("Add", "Concat", "GatherND", "Identity", "Reshape", "Slice", "Split", "Transpose"))
"""Nodes that go along with a block if all floats that they take come from blocks: they keep its cache and stream."""


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model with its blocks in float16; inputs and outputs stay."""
    return _Halver(model).model


class _Halver:
    """Convert a model; `model` is complete after construction."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        graph = self.model.graph
        self._constants = {t.name: t for t in graph.initializer}
        self._floats = _float_values(model)
        self._half: set[str] = set()
        self._casts: dict[str, str] = {}
        self._nodes: list[onnx.NodeProto] = []
        for node in model.graph.node:
            self._add(node)
        del graph.node[:]
        graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input}
        kept = [t for t in self._constants.values() if t.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        onnx.checker.check_model(self.model)

    def _add(self, node: onnx.NodeProto) -> None:
        half = self._is_half(node)
        new = onnx.NodeProto()
        new.CopyFrom(node)
        new.input[:] = [self._as(name, half=half) for name in node.input]
        if half:
            self._half.update(name for name in node.output if name in self._floats)
        self._nodes.append(new)

    def _is_half(self, node: onnx.NodeProto) -> bool:
        if _BLOCK.search(node.name):
            return True
        floats = [name for name in node.input if name in self._floats]
        return node.op_type in _MOVES and bool(floats) and all(name in self._half for name in floats)

    def _as(self, name: str, *, half: bool) -> str:
        """Return the value under `name` in the wanted precision; a cast is made once."""
        if name not in self._floats or (name in self._half) == half:
            return name
        key = f"{name}/{'half' if half else 'float'}"
        if key not in self._casts:
            self._casts[key] = key
            if name in self._constants:
                array = _fitting(numpy_helper.to_array(self._constants[name]), name)
                self._constants[key] = numpy_helper.from_array(array, key)
            else:
                to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
                self._nodes.append(helper.make_node("Cast", [name], [key], name=key, to=to))
        return key


def _float_values(model: onnx.ModelProto) -> set[str]:
    """Return the names of all values and constants in float32."""
    typed = onnx.ModelProto()
    typed.CopyFrom(model)
    # Type inference does not know ONNX Runtime's own nodes, and would end at the first; all of ours give floats.
    own = [name for node in model.graph.node if node.domain == MICROSOFT for name in node.output]
    typed.graph.value_info.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in own)
    graph = onnx.shape_inference.infer_shapes(typed).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    found = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}


def _fitting(array: np.ndarray, name: str) -> np.ndarray:
    """Cast to float16. Raises `ValueError` naming a constant that does not fit into it."""
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError(f"constant {name!r}: {np.abs(array).max():g} does not fit into float16")
    return half
