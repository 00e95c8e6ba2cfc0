"""Time the engine: generation graphs against their matrix products alone, and against the step-by-step reference.

Machines are shared and their speed drifts within minutes, so contestants run in interleaved blocks and every ratio is
the median over blocks of two neighbours in time. Weights are random: time does not depend on them.
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

from export.families.degre import Degre
from export.families.sort_gen import SortGen
from export.proof.requests import RequestShape, random_request, with_preferences
from models.contract.arrays import Arrays
from models.contract.manifest import Limits
from models.contract.spec import OBJECTIVES, Category, FeatureSpec, Hashed, Number
from models.files import write_json
from models.nets.checkpoint import Checkpoint, GeneratorCheckpoint
from models.nets.generator import GeneratorConfig, PointerGenerator
from models.nets.value import ListValueModel, ValueConfig
from models.planners.graphs.degre import pointer_graph
from models.planners.graphs.graph import IR_VERSION, OPSET
from models.planners.graphs.sort_gen import queue_graph
from models.planners.runtime import GraphPlanner, session_options

Run = Callable[[], object]
_SLOW_SECONDS = 0.02


def interleaved(contestants: Mapping[str, Run], *, blocks: int, runs: int) -> dict[str, list[float]]:
    """Return seconds per run of every contestant: one median of `runs` a block.

    The order is random and new in each block. A contestant that takes over 20 ms runs only once a block.
    """
    rng = np.random.default_rng(0)
    repeats = {name: 1 if _is_slow(run) else runs for name, run in contestants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(blocks):
        for name in rng.permutation(list(contestants)).tolist():
            run = contestants[name]
            run()  # The caches are another contestant's now.
            seconds[name].append(float(np.median([_timed(run) for _ in range(repeats[name])])))
    return seconds


def _is_slow(run: Run) -> bool:
    run()
    return _timed(run) > _SLOW_SECONDS


def _timed(run: Run) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


SPEC: Final = FeatureSpec(
    user=(Category("age", tuple("abcdef")), Hashed("user", 4096), Number("activity")),
    context=(Category("device", ("desktop", "mobile")), Number("hour")),
    item=(Category("category", tuple("abcdefghij")), Hashed("item", 16384), Hashed("brand", 1024), Number("stars")),
    scores=(Number("ctr", transform="logit"), Number("cvr", transform="logit")),
    price=Number("price", transform="log1p"),
)
UNITS: Final = {"click": 0.05, "conversion": 0.005, "gmv": 0.5}
_PAPER: Final = (5.0, 1.0, 1.0)
_CLICKS: Final = (1.0, 0.0, 0.0)
"""Weights α, β, γ of a request."""

_TARGETS: Final = {(12, 6): 2.5, (100, 10): 8.0}
"""Candidates and list length to the milliseconds that DeGRe's decoding should take at most."""


def run(arguments: argparse.Namespace) -> int:
    """Measure and print Markdown."""
    torch.set_num_threads(1)
    measured = (_bench_degre if arguments.family == "degre" else _bench_sort_gen)(arguments)
    versions = {"onnxruntime": onnxruntime.__version__, "torch": torch.__version__}
    host = {"host": f"{platform.machine()}, one thread", "versions": versions}
    if arguments.json is not None:
        write_json(arguments.json, {**host, "blocks": arguments.blocks, "runs": arguments.runs, **measured})
    return 0


def _bench_sort_gen(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time SORT-Gen's graphs, print the table and return the figures."""
    layers, queues = arguments.layers, arguments.queues
    model = value_model(arguments.dim, layers, 10)
    first = Limits(10, queues, arguments.head_widths[0])
    contestants: dict[str, Run] = {"matrix products alone": _products(model, first)}
    for width in arguments.head_widths:
        contestants[f"L=10, h={width}"] = _queue_engine(model, Limits(10, queues, width))
        if arguments.beam_width > 1:
            limits = Limits(10, queues, width, beam_width=arguments.beam_width)
            contestants[f"L=10, h={width}, W={arguments.beam_width}"] = _queue_engine(model, limits)
    long_name = f"L={arguments.long}, h=1"
    started = time.perf_counter()
    long_model = value_model(arguments.dim, layers, arguments.long)
    contestants[long_name] = _queue_engine(long_model, Limits(arguments.long, queues, 1))
    contestants[long_name]()
    loaded = time.perf_counter() - started
    reference = SortGen(Checkpoint(model, UNITS)).reference(first)
    contestants["naive sequential (PyTorch reference)"] = _on_a_request(reference, first, _PAPER)
    seconds = interleaved(contestants, blocks=arguments.blocks, runs=arguments.runs)
    base = f"L=10, h={arguments.head_widths[0]}"
    rows = [_ratio_row(name, values, seconds[base]) for name, values in seconds.items()]
    print(_ratio_table(rows, base))
    print(f"\n{long_name}: built, loaded and run once in {loaded:.2f} s")
    sizes = {"dim": arguments.dim, "layers": layers, "heads": 4, "queues": queues}
    return {"model": sizes, f"{long_name}: built, loaded and first run (s)": loaded, "rows": rows}


def _ratio_row(name: str, values: Sequence[float], base: Sequence[float]) -> dict[str, Any]:
    """Return median milliseconds and paired ratios to `base`, with the middle half of the blocks."""
    low, middle, high = middle_half(np.array(values) / np.array(base))
    return {"name": name, "ms": float(np.median(values)) * 1e3, "ratio": middle, "ratio_low": low, "ratio_high": high}


def _ratio_table(rows: Sequence[Mapping[str, Any]], base: str) -> str:
    head = ("contestant", "median ms", f"ratio to {base} (middle half of blocks)")
    cells = [
        (r["name"], f"{r['ms']:.3f}", f"{r['ratio']:.2f} ({r['ratio_low']:.2f} to {r['ratio_high']:.2f})") for r in rows
    ]
    return f"{_markdown(head, cells)}\n\n{base} takes {1 / rows[0]['ratio']:.2f} times its matrix products alone."


def _bench_degre(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time DeGRe's greedy decoding, with and without the pass that values the finished list."""
    contestants: dict[str, Run] = {}
    targets: dict[str, float] = {}
    for (n, length), target in _TARGETS.items():
        checkpoint = pointer_checkpoint(arguments, length)
        limits = Limits(length, queues=1, queue_length=n)
        for name, valued in {f"{n} → {length}": True, f"{n} → {length}, order only": False}.items():
            graph = pointer_graph(checkpoint.generator, checkpoint.evaluator, limits, valued=valued)
            contestants[name] = _on_a_request(GraphPlanner(graph.build({})), limits, _CLICKS)
            targets[name] = target
        reference = Degre(checkpoint).reference(limits)
        contestants[f"{n} → {length}, naive (PyTorch reference)"] = _on_a_request(reference, limits, _CLICKS)
    seconds = interleaved(contestants, blocks=arguments.blocks, runs=arguments.runs)
    rows = [_target_row(name, values, targets.get(name)) for name, values in seconds.items()]
    cells = []
    for row in rows:
        shown = "" if row["target_ms"] is None else f"{row['target_ms']:g}"
        cells.append((row["name"], f"{row['ms']:.3f} ({row['ms_low']:.3f} to {row['ms_high']:.3f})", shown))
    print(_markdown(("decode", "p50 ms (middle half of blocks)", "target ms"), cells))
    sizes = {"dim": arguments.dim, "layers": arguments.layers, "evaluator layers": arguments.evaluator_layers}
    return {"model": {**sizes, "heads": 4}, "rows": rows}


def pointer_checkpoint(arguments: argparse.Namespace, length: int) -> GeneratorCheckpoint:
    """Make a generator with its evaluator, of random weights and the sizes asked for."""
    torch.manual_seed(0)
    generator = GeneratorConfig(dim=arguments.dim, layers=arguments.layers, list_length=length)
    evaluator = ValueConfig(
        dim=arguments.dim, layers=arguments.evaluator_layers, list_length=length, input_block="fields"
    )
    clicks = dict(zip(OBJECTIVES, _CLICKS, strict=True))
    return GeneratorCheckpoint(
        PointerGenerator(SPEC, generator).eval(), ListValueModel(SPEC, evaluator).eval(), UNITS, clicks
    )


def _target_row(name: str, seconds: Sequence[float], target: float | None) -> dict[str, Any]:
    """Return the median over blocks and their middle half, in milliseconds."""
    low, middle, high = middle_half(np.array(seconds) * 1e3)
    return {"name": name, "ms": middle, "ms_low": low, "ms_high": high, "target_ms": target}


def middle_half(values: NDArray[np.float64]) -> list[float]:
    """Return lower quartile, median and upper quartile."""
    quartiles: list[float] = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return quartiles


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, head, "pipe", disable_numparse=True, colalign=("left", "right", "right"))


def value_model(dim: int, layers: int, length: int) -> ListValueModel:
    """Make a value model of random weights."""
    torch.manual_seed(0)
    return ListValueModel(SPEC, ValueConfig(dim=dim, layers=layers, list_length=length)).eval()


def _queue_engine(model: ListValueModel, limits: Limits) -> Run:
    return _on_a_request(GraphPlanner(queue_graph(model, limits, UNITS).build({})), limits, _PAPER)


def _on_a_request(plan: Callable[[Arrays], object], limits: Limits, weights: tuple[float, float, float]) -> Run:
    request = with_preferences(random_request(SPEC, limits, 0, RequestShape(full=True)), weights, 0.8, 4)
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
