"""Time the engine: generation graphs against their matrix products alone, and against the step-by-step reference.

Machines are shared and their speed drifts within minutes, so contestants run in interleaved blocks and every ratio is
the median over blocks of two neighbours in time. Weights are random: time does not depend on them. DeGRe's graphs are
in `export.bench.degre`.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tabulate import tabulate

from export.bench.degre import bench_degre
from export.bench.timing import Run, interleaved
from export.families.sort_gen import SortGen
from export.proof.requests import RequestShape, random_request, with_preferences
from models.contract.features import Arrays
from models.contract.manifest import Limits
from models.contract.spec import Category, FeatureSpec, Hashed, Number
from models.files import write_json
from models.nets.checkpoint import Checkpoint
from models.nets.value import ListValueModel, ValueConfig
from models.planners.graphs.graph import IR_VERSION, OPSET
from models.planners.graphs.sort_gen import queue_graph
from models.planners.runtime import GraphPlanner, session_options

SPEC: Final = FeatureSpec(
    user=(Category("age", tuple("abcdef")), Hashed("user", 4096), Number("activity")),
    context=(Category("device", ("desktop", "mobile")), Number("hour")),
    item=(Category("category", tuple("abcdefghij")), Hashed("item", 16384), Hashed("brand", 1024), Number("stars")),
    scores=(Number("ctr", transform="logit"), Number("cvr", transform="logit")),
    price=Number("price", transform="log1p"),
)
UNITS: Final = {"click": 0.05, "conversion": 0.005, "gmv": 0.5}


def run(arguments: argparse.Namespace) -> int:
    """Measure and print Markdown."""
    torch.set_num_threads(1)
    report = bench_degre(SPEC, UNITS, arguments) if arguments.family == "degre" else _bench_queues(arguments)
    report = {
        "host": f"{platform.machine()}, one thread",
        "versions": {"onnxruntime": onnxruntime.__version__, "torch": torch.__version__},
        "blocks": arguments.blocks,
        "runs": arguments.runs,
        **report,
    }
    if arguments.json is not None:
        write_json(arguments.json, report)
    return 0


def _bench_queues(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time SORT-Gen's graphs, print the table and return the figures."""
    layers = arguments.layers
    model = _model(arguments.dim, layers, 10)
    first = Limits(10, arguments.queues, arguments.head_widths[0])
    contestants: dict[str, Run] = {"matrix products alone": _products(model, first)}
    for width in arguments.head_widths:
        contestants[f"L=10, h={width}"] = _engine(model, Limits(10, arguments.queues, width))
        if arguments.beam_width > 1:
            limits = Limits(10, arguments.queues, width, beam_width=arguments.beam_width)
            contestants[f"L=10, h={width}, W={arguments.beam_width}"] = _engine(model, limits)
    long_name = f"L={arguments.long}, h=1"
    started = time.perf_counter()
    contestants[long_name] = _engine(
        _model(arguments.dim, layers, arguments.long), Limits(arguments.long, arguments.queues, 1)
    )
    contestants[long_name]()
    loaded = time.perf_counter() - started
    contestants["naive sequential (PyTorch reference)"] = _reference(model, first)
    seconds = interleaved(contestants, blocks=arguments.blocks, runs=arguments.runs)
    base = f"L=10, h={arguments.head_widths[0]}"
    rows = _rows(seconds, base)
    print(_table(rows, base))
    print(f"\n{long_name}: built, loaded and run once in {loaded:.2f} s")
    return {
        "model": {"dim": arguments.dim, "layers": layers, "heads": 4, "queues": arguments.queues},
        f"{long_name}: built, loaded and first run (s)": loaded,
        "rows": rows,
    }


def _rows(seconds: Mapping[str, Sequence[float]], base: str) -> list[dict[str, Any]]:
    """Return median milliseconds and paired ratios to `base`, with the middle half of the blocks."""
    rows = []
    for name, values in seconds.items():
        low, middle, high = np.quantile(np.array(values) / np.array(seconds[base]), [0.25, 0.5, 0.75])
        rows.append(
            {"name": name, "ms": float(np.median(values)) * 1e3, "ratio": middle, "ratio_low": low, "ratio_high": high}
        )
    return rows


def _table(rows: Sequence[Mapping[str, Any]], base: str) -> str:
    head = ("contestant", "median ms", f"ratio to {base} (middle half of blocks)")
    cells = [
        (r["name"], f"{r['ms']:.3f}", f"{r['ratio']:.2f} ({r['ratio_low']:.2f} to {r['ratio_high']:.2f})") for r in rows
    ]
    table = tabulate(cells, head, "pipe", disable_numparse=True, colalign=("left", "right", "right"))
    return f"{table}\n\n{base} takes {1 / rows[0]['ratio']:.2f} times its matrix products alone."


def _model(dim: int, layers: int, length: int) -> ListValueModel:
    torch.manual_seed(0)
    return ListValueModel(SPEC, ValueConfig(dim=dim, layers=layers, list_length=length)).eval()


def _engine(model: ListValueModel, limits: Limits) -> Run:
    return _on_a_request(GraphPlanner(queue_graph(model, limits, UNITS).build({})), limits)


def _reference(model: ListValueModel, limits: Limits) -> Run:
    return _on_a_request(SortGen(Checkpoint(model, UNITS)).reference(limits), limits)


def _on_a_request(plan: Callable[[Arrays], object], limits: Limits) -> Run:
    request = with_preferences(random_request(SPEC, limits, 0, RequestShape(full=True)), (5.0, 1.0, 1.0), 0.8, 4)
    return lambda: plan(request)


def _products(model: ListValueModel, limits: Limits) -> Run:
    """Return a run of the graph's matrix products alone, in their order and shapes.

    Those with weights, and the two inside every Attention node (query by keys, and by values).
    """
    graph = queue_graph(model, limits, UNITS).build({}).graph
    constants = {t.name: t for t in graph.initializer}
    heads, proposals = model.config.heads, limits.queues * limits.head_width
    width = model.config.dim // heads
    nodes: list[onnx.NodeProto] = []
    feeds: dict[str, NDArray[np.float32]] = {}

    def feed(*shape: int) -> str:
        name = "x" + "x".join(map(str, shape))
        feeds[name] = np.ones((1, *shape), np.float32)
        return name

    for node in graph.node:
        at_once = {"prepare": limits.slots, "sort": limits.list_length}.get(node.name.split("/")[0], proposals)
        if node.op_type == "MatMul" and len(constants.get(node.input[1], TensorProto()).dims) == 2:
            pairs = [(feed(at_once, constants[node.input[1]].dims[0]), node.input[1])]
        elif node.op_type == "Attention":
            # A list that is valued whole needs no mask.
            seen = constants[node.input[3]].dims[3] if node.input[3:] else at_once
            query, attention = feed(heads, at_once, width), feed(heads, at_once, seen)
            pairs = [(query, feed(heads, width, seen)), (attention, feed(heads, seen, width))]
        else:
            continue
        nodes += [helper.make_node("MatMul", pair, [f"y{len(nodes) + i}"]) for i, pair in enumerate(pairs)]
    used = [t for t in graph.initializer if t.name in {n.input[1] for n in nodes}]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name, x in feeds.items()]
    outputs = [helper.make_tensor_value_info(n.output[0], TensorProto.FLOAT, None) for n in nodes]
    products = helper.make_graph(nodes, "products", inputs, outputs, used)
    proto = helper.make_model(products, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return _fetching_last(proto, feeds)


def _fetching_last(model: onnx.ModelProto, feeds: Mapping[str, Any]) -> Run:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
    )
    # All nodes run whatever is fetched; fetching them all would time copies instead.
    last = [session.get_outputs()[-1].name]
    return lambda: session.run(last, feeds)
