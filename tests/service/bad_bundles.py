"""Bundles whose graph ends or stops the process that opens it, though all their checksums are right."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.contract import manifest as m
from tests.service.tiny_bundle import Options, with_checksums, write_bundle, write_manifest

_SMALLEST: Final = np.iinfo(np.int64).min
# On x86 the division of the smallest integer by -1 is a fault of the processor, which ONNX Runtime does not catch.
needs_x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="no such fault on this processor")


def write_crashing(root: Path, options: Options | None = None, *, at_load: bool = True) -> Path:
    """Write a bundle that crashes the process, while it is loaded or when it runs."""
    folder = write_bundle(root, options)
    # Constants are divided while the graph is optimised, inputs when it runs.
    first = [] if at_load else [helper.make_node("Min", ["window", "smallest"], ["divided"])]
    divided = "smallest" if at_load else "divided"
    nodes = [
        *first,
        helper.make_node("Div", [divided, "minus_one"], ["crash"]),
        helper.make_node("Add", ["window", "crash"], ["extra"]),
    ]
    _add(folder, nodes, smallest=np.array([_SMALLEST]), minus_one=np.array([-1]))
    return folder


def write_hanging(root: Path, options: Options | None = None) -> Path:
    """Write a bundle that loads, and then runs for years."""
    folder = write_bundle(root, options)
    values = [helper.make_tensor_value_info(name, TensorProto.INT64, [1]) for name in ("turn_in", "turn_out")]
    scalars = [
        helper.make_tensor_value_info("turn", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
    ]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["turn_in", "one_turn"], ["turn_out"]),
        ],
        "body",
        [*scalars, values[0]],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), values[1]],
    )
    nodes = [
        helper.make_node("Loop", ["turns", "", "one_turn"], ["turned"], body=body),
        helper.make_node("Add", ["window", "turned"], ["extra"]),
    ]
    _add(folder, nodes, turns=np.array(2**62), one_turn=np.array([1]))
    return folder


def _add(folder: Path, nodes: list[onnx.NodeProto], **constants: np.ndarray) -> None:
    """Add nodes that end in ``extra``, which is then added to an output; the manifest's checksums follow."""
    path = folder / m.MODEL_FILE
    model = onnx.load(path)
    (last,) = (node for node in model.graph.node if "runner_up" in node.output)
    last.output[0] = "runner_up_before"
    joined = [
        helper.make_node("Unsqueeze", ["extra", "axis1"], ["extra_column"]),
        helper.make_node("Add", ["runner_up_before", "extra_column"], ["runner_up"]),
    ]
    model.graph.node.extend([*nodes, *joined])
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    onnx.save(model, path)
    write_manifest(folder, with_checksums(folder, m.Manifest.read(folder)))
