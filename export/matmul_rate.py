"""How fast this host multiplies matrices: float32, one thread, in ONNX Runtime, as the graphs do it.

A large square product gives the rate that arithmetic could run at; products of a graph's own shapes give what is left
of it when there are only a few rows. Knows nothing about models.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from export.bench.timing import Run
from models.planners.graphs.graph import IR_VERSION, OPSET
from models.planners.runtime import session_options


class Product(NamedTuple):
    """[m, k] by [k, n], the second a weight that the session may lay out as it likes."""

    m: int
    k: int
    n: int

    @property
    def flops(self) -> int:
        """Operations: 2·m·k·n."""
        return 2 * self.m * self.k * self.n

    def __str__(self) -> str:
        return f"{self.m}×{self.k}×{self.n}"


LARGE: Final = Product(1024, 1024, 1024)
_REPEATS: Final = 64
_WEIGHTS: Final = 9
"""Different weights in a run, taken in turn: of [d, 4·d], as many numbers as three transformer layers have (12·d²
each), so that they are found in the same caches."""


def product_run(product: Product) -> Run:
    """One run of the product alone, ready to be timed; a small one is in it `repeats` times."""
    rng = np.random.default_rng(0)
    count = repeats(product)
    names = [f"w{i}" for i in range(min(count, _WEIGHTS))]
    weights = [
        numpy_helper.from_array(rng.normal(size=(product.k, product.n)).astype(np.float32), name) for name in names
    ]
    nodes = [helper.make_node("MatMul", ["x", names[i % len(names)]], [f"y{i}"]) for i in range(count)]
    shown = helper.make_tensor_value_info("x", TensorProto.FLOAT, [product.m, product.k])
    outputs = [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None) for node in nodes]
    graph = helper.make_graph(nodes, "product", [shown], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
    )
    feeds = {"x": rng.normal(size=(product.m, product.k)).astype(np.float32)}
    last = [nodes[-1].output[0]]  # all nodes run whatever is fetched
    return lambda: session.run(last, feeds)


def repeats(product: Product) -> int:
    """Products in one run of `product_run`: so many that calling the session, some 10 µs, is little beside them."""
    return 1 if product.flops > 10**8 else _REPEATS


def rate(product: Product, seconds: float) -> float:
    """Operations a second, from the time of one run."""
    return product.flops * repeats(product) / seconds
