"""Time DeGRe's greedy decoding graph, with and without the pass that values the finished list.

Weights are random: time does not depend on them. `export.bench.engine` says how time is taken.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from tabulate import tabulate

from export.bench.timing import Run, interleaved
from export.families.degre import Degre
from export.proof.requests import RequestShape, random_request, with_preferences
from models.contract.manifest import Limits
from models.contract.spec import FeatureSpec
from models.nets.checkpoint import GeneratorCheckpoint
from models.nets.generator import GeneratorConfig, PointerGenerator
from models.nets.value import ListValueModel, ValueConfig
from models.planners.graphs.degre import pointer_graph
from models.planners.runtime import GraphPlanner

_TARGETS: Final = {(12, 6): 2.5, (100, 10): 8.0}
"""Candidates and list length to the milliseconds that decoding should take at most."""

_CLICKS: Final = {"click": 1.0, "conversion": 0.0, "gmv": 0.0}


def bench_degre(spec: FeatureSpec, units: Mapping[str, float], arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure, print Markdown, and return the figures."""
    layers = arguments.layers
    contestants: dict[str, Run] = {}
    targets: dict[str, float] = {}
    for (n, length), target in _TARGETS.items():
        checkpoint = _checkpoint(spec, units, arguments.dim, layers, arguments.evaluator_layers, length)
        limits = Limits(length, queues=1, queue_length=n)
        request = random_request(spec, limits, 0, RequestShape(full=True))
        request = with_preferences(request, (1.0, 0.0, 0.0), 0.8, 4)
        named = {f"{n} → {length}": True, f"{n} → {length}, order only": False}
        for name, valued in named.items():
            graph = pointer_graph(checkpoint.generator, checkpoint.evaluator, limits, valued=valued)
            contestants[name] = _bind(GraphPlanner(graph.build({})), request)
            targets[name] = target
        contestants[f"{n} → {length}, naive (PyTorch reference)"] = _bind(Degre(checkpoint).reference(limits), request)
    seconds = interleaved(contestants, blocks=arguments.blocks, runs=arguments.runs)
    rows = [_row(name, values, targets.get(name)) for name, values in seconds.items()]
    print(_table(rows))
    sizes = {"dim": arguments.dim, "layers": layers, "evaluator layers": arguments.evaluator_layers, "heads": 4}
    return {"model": sizes, "rows": rows}


def _bind(call: Any, request: Mapping[str, Any]) -> Run:
    return lambda: call(request)


def _checkpoint(
    spec: FeatureSpec, units: Mapping[str, float], dim: int, layers: int, evaluator_layers: int, length: int
) -> GeneratorCheckpoint:
    torch.manual_seed(0)
    return GeneratorCheckpoint(
        PointerGenerator(spec, GeneratorConfig(dim=dim, layers=layers, list_length=length)).eval(),
        ListValueModel(
            spec, ValueConfig(dim=dim, layers=evaluator_layers, list_length=length, input_block="fields")
        ).eval(),
        units,
        _CLICKS,
    )


def _row(name: str, seconds: Sequence[float], target: float | None) -> dict[str, Any]:
    """Return the median over blocks and their middle half, in milliseconds."""
    low, middle, high = (float(q) * 1e3 for q in np.quantile(seconds, [0.25, 0.5, 0.75]))
    return {"name": name, "ms": middle, "ms_low": low, "ms_high": high, "target_ms": target}


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = []
    for row in rows:
        target = "" if row["target_ms"] is None else f"{row['target_ms']:g}"
        cells.append((row["name"], f"{row['ms']:.3f} ({row['ms_low']:.3f} to {row['ms_high']:.3f})", target))
    head = ("decode", "p50 ms (middle half of blocks)", "target ms")
    return tabulate(cells, head, "pipe", disable_numparse=True, colalign=("left", "right", "right"))
