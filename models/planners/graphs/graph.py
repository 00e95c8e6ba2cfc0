"""Build ONNX graphs node by node.

Planners are unrolled into graphs node by node, because their time is that of their nodes: at these sizes every node
takes about a third of a microsecond whatever it computes. Tracing the same loop with `torch.onnx` took 25 s for ten
steps, not under one, and gave more nodes. `export/proof/verify.py` proves a graph against the PyTorch model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from models.contract.tensor_specs import TensorSpec

OPSET: Final = 23
"""The first ONNX opset with an Attention operator."""

IR_VERSION: Final = 11
MICROSOFT: Final = "com.microsoft"

Axes = Sequence[int | str]


class Graph:
    """Collect the nodes of a graph. Values are names; equal constants are stored once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._scope = ""
        self._counter = 0
        self._nodes: list[onnx.NodeProto] = []
        self.inputs: tuple[TensorSpec, ...] = ()
        self.outputs: tuple[TensorSpec, ...] = ()
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[TensorProto] = []

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Prefix the names of nodes made inside, so that a profile reads ``step3/block1/MatMul``."""
        outer = self._scope
        self._scope = f"{outer}{name}/"
        yield
        self._scope = outer

    def input(self, name: str, dtype: str, shape: Axes) -> str:
        """Declare an input; a string in `shape` is a dynamic axis."""
        self.inputs += (TensorSpec(name, dtype, tuple(shape)),)
        return name

    def output(self, name: str, value: str, dtype: str, shape: Axes) -> None:
        """Give `value` out under `name`."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=f"output/{name}"))
        self.outputs += (TensorSpec(name, dtype, tuple(shape)),)

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output and return that output."""
        return self.ops(kind, 1, *inputs, domain=domain, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: str, domain: str = "", **attributes: Any) -> list[str]:
        """Add a node with several outputs. An empty input name leaves an optional input out."""
        self._counter += 1
        name = f"{self._scope}{kind}_{self._counter}"
        names = [name if outputs == 1 else f"{name}.{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, name=name, domain=domain, **attributes))
        return names

    def constant(self, value: object, dtype: type[np.generic] = np.float32) -> str:
        """Store a constant tensor and return its name."""
        array = np.ascontiguousarray(np.asarray(value, dtype))
        key = (array.dtype.str, np.shape(np.asarray(value)), array.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._initializers.append(numpy_helper.from_array(array.reshape(key[1]), name))
            self._constants[key] = name
        return self._constants[key]

    def ints(self, *values: int) -> str:
        """Store a constant int64 vector: axes, shapes, bounds."""
        return self.constant(values, np.int64)

    def weight(self, weight: Tensor) -> str:
        """Store a model's weight as a constant."""
        return self.constant(weight.detach().cpu().float().numpy())

    def linear(self, x: str, layer: nn.Linear) -> str:
        """Multiply x [..., in] by the weight of a layer without bias: [..., out]."""
        return self.op("MatMul", x, self.weight(layer.weight.T))

    def slice(self, x: str, axis: int, start: int, stop: int) -> str:
        """Take x[..., start:stop, ...] along one axis."""
        return self.op("Slice", x, self.ints(start), self.ints(stop), self.ints(axis))

    def split(self, x: str, axis: int, *sizes: int) -> list[str]:
        """Cut x along an axis into pieces of these sizes."""
        return self.ops("Split", len(sizes), x, self.ints(*sizes), axis=axis)

    def concat(self, axis: int, *parts: str) -> str:
        """Join parts along an axis; a single part is returned as it is."""
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=axis)

    def take_rows(self, rows: str, index: str) -> str:
        """Take from rows [B, N, C] by index [B, K, 1]: out[b, k] = rows[b, index[b, k, 0]]."""
        return self.op("GatherND", rows, index, batch_dims=1)

    @property
    def size(self) -> int:
        """Count the nodes so far."""
        return len(self._nodes)

    def build(self, metadata: Mapping[str, str]) -> onnx.ModelProto:
        """Make the finished, checked model, with `metadata` as its properties."""
        inputs, outputs = (list(map(_value_info, tensors)) for tensors in (self.inputs, self.outputs))
        graph = helper.make_graph(self._nodes, self._name, inputs, outputs, self._initializers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="listwright")
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        return model


def _value_info(tensor: TensorSpec) -> onnx.ValueInfoProto:
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    return helper.make_tensor_value_info(tensor.name, dtype, list(tensor.shape))
