"""The tiny bundle with a graph that runs for days on a request that asks for it, and else as it always did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.contract import manifest as m
from tests.service.requests import request
from tests.service.tiny_bundle import (
    Options,
    golden_arrays,
    make_manifest,
    save_golden,
    with_checksums,
    write_bundle,
    write_manifest,
)

LAMBDA = 0.125
"""The trade-off that makes it hang; no recorded or made-up request has it."""

_TRIPS = 2**50


def hanging_request(**changes: Any) -> dict[str, Any]:
    """A request whose run does not end."""
    return request(**changes, diversity={"lambda": LAMBDA})


def write_hanging_bundle(root: Path, options: Options | None = None) -> Path:
    """Write ``root/name/version`` and return it."""
    o = options or Options()
    folder = write_bundle(root, o)
    model = onnx.load(folder / m.MODEL_FILE)
    _add_loop(model.graph)
    onnx.checker.check_model(model)
    onnx.save(model, folder / m.MODEL_FILE)
    manifest = make_manifest(o)
    save_golden(folder, golden_arrays(folder / m.MODEL_FILE, manifest))
    write_manifest(folder, with_checksums(folder, manifest))
    return folder


def _add_loop(graph: onnx.GraphProto) -> None:
    """Add to the score what a loop carries along, which is 0 however long it takes."""
    info, node = helper.make_tensor_value_info, helper.make_node
    constants = {"hang.lambda": np.float32(LAMBDA), "hang.trips": np.int64(_TRIPS), "hang.zero": np.float32(0)}
    graph.initializer.extend(numpy_helper.from_array(np.array(v), name) for name, v in constants.items())
    body = helper.make_graph(
        [node("Identity", ["go"], ["still"]), node("Identity", ["before"], ["after"])],
        "body",
        [
            info("i", TensorProto.INT64, []),
            info("go", TensorProto.BOOL, []),
            info("before", TensorProto.FLOAT, []),
        ],
        [info("still", TensorProto.BOOL, []), info("after", TensorProto.FLOAT, [])],
    )
    (score,) = (n for n in graph.node if "score" in n.output)
    score.output[0] = "hang.score"
    graph.node.extend(
        [
            node("Equal", ["trade_off", "hang.lambda"], ["hang.asked"]),
            node("Cast", ["hang.asked"], ["hang.each"], to=TensorProto.INT64),
            node("ReduceMax", ["hang.each"], ["hang.any"], keepdims=0),
            node("Mul", ["hang.any", "hang.trips"], ["hang.count"]),
            node("Loop", ["hang.count", "", "hang.zero"], ["hang.nothing"], body=body),
            node("Add", ["hang.score", "hang.nothing"], ["score"]),
        ]
    )
