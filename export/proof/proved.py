"""Build a graph of a bundle, prove it, and record requests with its answers."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from export.families.family import ModelFamily
from export.proof.precision import Precision, to_half
from export.proof.requests import random_requests, stack
from export.proof.verify import Proof, prove
from export.proof.verify_value import ValueProof, prove_value
from models.contract import manifest
from models.contract.manifest import Limits
from models.planners.graphs.graph import Graph
from models.planners.runtime import GraphPlanner

GOLDEN_REQUESTS: Final = 24
_GOLDEN_RANKS: Final = 4


@dataclass(frozen=True, slots=True)
class Demands:
    """Say how a graph is made and proved.

    `most_lost` percent of list value may go with reduced precision.
    """

    precision: Precision
    most_lost: float
    requests: int
    seed: int
    groups: int = 0
    """Groups of the graph of requests with rules; 0: the plain graph."""


@dataclass(frozen=True, slots=True)
class ProvedGraph:
    """Hold a graph, its serialised model, its proof and its recorded requests (an ``.npz`` file)."""

    graph: Graph
    model: bytes
    proof: Proof | ValueProof
    golden: bytes


def prove_graph(family: ModelFamily, limits: Limits, demands: Demands) -> ProvedGraph:
    """Build and prove one graph of a family.

    Raises `ProofError` if the proof fails, and `ValueError` if the limits do not fit the model.
    """
    graph = family.graph(limits, groups=demands.groups)
    model = graph.build({manifest.FINGERPRINT_KEY: family.spec.fingerprint})
    half = demands.precision == "fp16"
    serialised = (to_half(model) if half else model).SerializeToString()
    planner = GraphPlanner(serialised)
    proof: Proof | ValueProof
    drawn = {"requests": demands.requests, "seed": demands.seed, "groups": demands.groups}
    with _one_thread():
        if half:
            proof = prove_value(planner, family, limits, most_lost=demands.most_lost, **drawn)
        else:
            proof = prove(planner, family, limits, **drawn)
        return ProvedGraph(graph, serialised, proof, _golden(planner, family, limits, demands))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep PyTorch on one thread.

    References plan one request at a time by small steps, between which threads only wait for each other: on a machine
    with other work, or fewer cores than it shows (as in a container), for longer than all the rest takes.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _golden(planner: GraphPlanner, family: ModelFamily, limits: Limits, demands: Demands) -> bytes:
    """Record ``input.*``, ``output.*``, the reference's ``output.margin`` [G, L] (infinite: no rival)."""
    # Every start of the service replays them, so they are small where their size is free.
    small = dataclasses.replace(limits, queue_length=min(limits.queue_length, _GOLDEN_RANKS * limits.list_length))
    drawn = random_requests(
        family.spec, small, GOLDEN_REQUESTS, demands.seed + 1, any_slots=family.any_slots, groups=demands.groups
    )
    requests = list(drawn)
    reference = family.reference(limits)
    margins = np.stack([reference(request).margins(limits.list_length) for request in requests]).astype(np.float32)
    batch = stack(requests)
    inputs = {name: batch[name] for name in planner.inputs}
    outputs = planner(inputs)
    arrays: dict[str, Any] = {f"input.{name}": array for name, array in inputs.items()}
    arrays |= {f"output.{name}": array for name, array in outputs.items()} | {"output.margin": margins}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
