"""Run a session in fixed shapes, on device buffers that never move.

Every shape has its own inputs, outputs and binding, made once. A shape that was captured as a CUDA graph is replayed
under its own graph id; all others run node by node. `cuda.py` makes the session; this works on CPU too, which is how
most of it is tested.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnxruntime as ort

from models.contract.arrays import AnyArray, Arrays
from models.contract.manifest import SORT_SLOTS
from models.contract.tensor_specs import TensorSpec
from service.inference.engine import BatchArrays
from service.inference.onnx.session import GraphFacts
from service.inference.onnx.shapes import Shape, Shapes

_log = logging.getLogger(__name__)

GRAPH_ID: Final = "gpu_graph_id"
NOT_CAPTURED: Final = -1
_WARM_RUNS: Final = 3
_TOLERANCE: Final = 1e-3
_NO_ANSWER: Final = -99


class CaptureError(RuntimeError):
    """A captured graph that does not answer as its nodes do one by one."""


@dataclass(frozen=True, slots=True)
class _Buffers:
    """One shape's memory: arrays on the host, and values bound on the device."""

    host: Arrays
    inputs: dict[str, ort.OrtValue]
    outputs: dict[str, ort.OrtValue]
    binding: ort.IOBinding


class StaticEngine:
    """Run a graph on a device that wants fixed shapes."""

    thread_safe: Final = False

    def __init__(
        self, session: ort.InferenceSession, *, provider: str, largest_batch: int, device: str, graphs: bool
    ) -> None:
        """Take the name of the buffers' memory, and whether the session captures."""
        self.provider = provider
        self.largest_batch = largest_batch
        self.facts = GraphFacts.of(session)
        self.shapes = Shapes(self.facts.inputs, largest_batch)
        self._session = session
        self._device = device
        self.graphs = graphs
        self._buffers: dict[Shape, _Buffers] = {}
        self._graph_ids: dict[Shape, int] = {}
        self._options: dict[int, ort.RunOptions] = {}

    @property
    def captured(self) -> int:
        """Number of shapes that are replayed as one graph."""
        return len(self._graph_ids)

    def run(self, batch: BatchArrays) -> Arrays:
        """Return outputs by name, one row each. Raises `ValueError` past `largest_batch`."""
        shape = self.shapes.fit(batch)
        return self._run(shape, batch, self._graph_ids.get(shape, NOT_CAPTURED))

    def warm_runs(self, batch: BatchArrays) -> Iterator[None]:
        """Run every served shape, made from one request, and capture it if graphs are on.

        Every step is one run, but for a check, which takes two. Must be called on the thread that will run the engine.
        Raises `CaptureError` if a replay answers otherwise than the nodes do one by one.
        """
        batches = self._warm_batches(batch)
        # Node by node first, so that all memory is allocated and every kernel loaded before anything is captured.
        for shape, rows in batches.items():
            for _ in range(_WARM_RUNS):
                self._run(shape, rows, NOT_CAPTURED)
                yield
        if self.graphs:
            yield from self._capture(batches)

    def _warm_batches(self, batch: BatchArrays) -> dict[Shape, Arrays]:
        """Make a full batch for every shape out of one request."""
        # The request's own free sizes come first, in case they are past the sizes that are always warmed.
        free = self.shapes.fit(batch).free
        shapes = dict.fromkeys([*(Shape(rows, free) for rows in self.shapes.rows), *self.shapes.to_warm()])
        return {shape: _copies(cut(batch, self.facts.inputs, shape), shape.rows) for shape in shapes}

    def _capture(self, batches: Mapping[Shape, Arrays]) -> Iterator[None]:
        """Capture every shape as a CUDA graph, then check every replay."""
        # ONNX Runtime captures in the first runs under an id, and replays in later ones.
        for number, (shape, rows) in enumerate(batches.items(), start=1):
            for _ in range(_WARM_RUNS):
                self._run(shape, rows, number)
                yield
            self._graph_ids[shape] = number
        # Checked after all captures: memory that a graph wrongly shares with a later run differs only then.
        for shape, rows in batches.items():
            for request in (rows, _without_candidates(rows)):
                self._check_replay(shape, request)
                yield
        _log.info("captured %d shapes as CUDA graphs", self.captured)

    def _check_replay(self, shape: Shape, batch: BatchArrays) -> None:
        """Compare the shape's graph with its nodes run one by one. Raises `CaptureError`."""
        expected = self._run(shape, batch, NOT_CAPTURED)
        # Overwrite the outputs, or those of the run before would pass for the replay's.
        for name, value in self._buffers[shape].outputs.items():
            value.update_inplace(_no_answer(expected[name]))
        found = self._run(shape, batch, self._graph_ids[shape])
        for name, array in expected.items():
            if not np.allclose(found[name], array, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
                raise CaptureError(f"the CUDA graph of {shape} gives another {name!r} than its nodes one by one")

    def _run(self, shape: Shape, batch: BatchArrays, graph_id: int) -> Arrays:
        """Pad `batch` to `shape`, run it and return the outputs of its own rows."""
        buffers = self._buffers.get(shape) or self._allocate(shape)
        # Host to device, into the very buffers that the graph was captured with.
        self.shapes.pad(batch, buffers.host)
        for name, value in buffers.inputs.items():
            value.update_inplace(buffers.host[name])
        self._session.run_with_iobinding(buffers.binding, self._run_options(graph_id))
        # Back to the host. Copied, because the next run overwrites the buffers; rows of padding are left out.
        rows = len(next(iter(batch.values())))
        return {name: value.numpy()[:rows].copy() for name, value in buffers.outputs.items()}

    def _run_options(self, graph_id: int) -> ort.RunOptions:
        """Return the options that capture or replay under `graph_id`, made once."""
        if graph_id not in self._options:
            self._options[graph_id] = ort.RunOptions()
            self._options[graph_id].add_run_config_entry(GRAPH_ID, str(graph_id))
        return self._options[graph_id]

    def _allocate(self, shape: Shape) -> _Buffers:
        """Make the shape's buffers and bind them to the session, for good."""
        binding = self._session.io_binding()
        host = {t.name: np.zeros(self.shapes.sizes(t, shape), t.dtype) for t in self.facts.inputs}
        inputs = {name: ort.OrtValue.ortvalue_from_numpy(array, self._device, 0) for name, array in host.items()}
        make = ort.OrtValue.ortvalue_from_shape_and_type
        outputs = {
            t.name: make(list(self.shapes.sizes(t, shape)), np.dtype(t.dtype).type, self._device, 0)
            for t in self.facts.outputs
        }
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        self._buffers[shape] = _Buffers(host, inputs, outputs, binding)
        return self._buffers[shape]


def _no_answer(expected: AnyArray) -> AnyArray:
    """Make an array like `expected` that differs from it everywhere."""
    is_bool = expected.dtype == np.bool_
    other: AnyArray = np.logical_not(expected) if is_bool else np.full_like(expected, _NO_ANSWER)
    return other


def _copies(batch: BatchArrays, rows: int) -> Arrays:
    return {name: np.repeat(array, rows, axis=0) for name, array in batch.items()}


def _without_candidates(batch: BatchArrays) -> Arrays:
    """Make the same requests with no candidate in any slot."""
    nothing = {"valid": 0, SORT_SLOTS: -1}
    return {n: np.full_like(array, nothing[n]) if n in nothing else array for n, array in batch.items()}


def cut(batch: BatchArrays, inputs: tuple[TensorSpec, ...], shape: Shape) -> Arrays:
    """Cut one request down to the size of `shape` in its free axes."""
    free = dict(shape.free)
    kept = {
        t.name: batch[t.name][tuple(slice(free.get(a) if isinstance(a, str) else None) for a in t.shape)]
        for t in inputs
    }
    return kept if SORT_SLOTS not in kept else {**kept, SORT_SLOTS: _within(kept[SORT_SLOTS], kept["valid"].shape[1])}


def _within(sort_slots: AnyArray, slots: int) -> AnyArray:
    """Keep the places of the sort's lists [B, L] below `slots`, then −1."""
    rows = np.full_like(sort_slots, -1)
    for row, given in zip(rows, np.asarray(sort_slots, np.int64), strict=True):
        kept = given[given < slots]
        row[: len(kept)] = kept
    return rows
