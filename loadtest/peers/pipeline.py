"""Pre- and post-processing that every peer shares: a decoded request to arrays, arrays to the items of a response.

It follows the service step for step (queue formulas, partition, `models.contract.features.Encoder`, one `session.run`),
with the same session options and without the service's checks, so that a peer never loses for what is not its own.
Knows nothing about HTTP, JSON or any of the servers. Letters: n candidates, N slots, L steps, B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from loadtest.peers.schemas import AnyCandidate, AnyQueue, AnyRequest
from models.contract.features import Arrays, Encoder
from models.contract.formulas import WEIGHT_NAMES, Column, compile_formula
from models.contract.manifest import MODEL_FILE, Manifest, QueueSpec
from models.contract.partition import descending, partition
from models.contract.spec import OBJECTIVES

Outputs = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """One request on its way to the model: the graph's arrays without a batch axis, and what its answer needs."""

    request: AnyRequest
    row: Arrays
    slots: NDArray[np.int64]
    columns: _Columns
    top_n: int


@dataclass(frozen=True, slots=True)
class Inferred:
    """The graph's outputs for a whole batch [B, …], and how long the run took."""

    outputs: Outputs
    seconds: float


class Pipeline:
    """A bundle, loaded. `prepare` and `finish` may run in any thread; `infer` is one `session.run`."""

    def __init__(self, folder: Path) -> None:
        """Raises `models.contract.spec.SpecError` for a broken manifest, `ValueError` for a graph of any slots."""
        self.manifest = Manifest.read(folder)
        if self.manifest.any_slots:
            raise ValueError(f"{folder}: the peers batch requests of equal size, and this graph takes any slots")
        self._encoder = Encoder(self.manifest.spec)
        self._session = ort.InferenceSession(
            str(folder / MODEL_FILE), sess_options=session_options(), providers=["CPUExecutionProvider"]
        )
        self._inputs = [tensor.name for tensor in self._session.get_inputs()]
        self._outputs = [tensor.name for tensor in self._session.get_outputs()]

    def prepare(self, request: AnyRequest) -> Prepared:
        """Queues, slots and arrays of one request. Raises `models.contract.features.FeatureError` or `FormulaError`."""
        manifest, candidates = self.manifest, request.candidates
        weights = self._weights(request)
        columns = _Columns(candidates, weights, manifest)
        slots = _fill_slots(request.queues or manifest.queues, request.partition, columns, manifest)
        diversity, default = request.diversity, manifest.diversity
        trade_off = default.trade_off if diversity is None or diversity.trade_off is None else diversity.trade_off
        window = default.window if diversity is None or diversity.window is None else diversity.window
        row = {
            **self._encoder.encode_user(request.user, request.context),
            **self._encoder.encode_slots(candidates, slots),
            "objective_weights": np.array(weights, np.float32),
            "trade_off": np.array(trade_off, np.float32),
            "window": np.array(window, np.int64),
        }
        top_n = min(request.top_n or manifest.limits.list_length, len(candidates))
        return Prepared(request, row, slots, columns, top_n)

    def infer(self, batch: Sequence[Prepared]) -> Inferred:
        """One run for all rows of `batch`."""
        feeds = self.stack(batch)
        start = perf_counter()
        values = self._session.run(self._outputs, feeds)
        return Inferred(dict(zip(self._outputs, values, strict=True)), perf_counter() - start)

    def stack(self, batch: Sequence[Prepared]) -> Arrays:
        """The graph's inputs [B, …]; embeddings are padded with zeros to the widest."""
        if len(batch) == 1:
            return {name: batch[0].row[name][None] for name in self._inputs}
        feeds: Arrays = {name: np.stack([p.row[name] for p in batch]) for name in self._inputs if name != "embeddings"}
        if "embeddings" in self._inputs:
            feeds["embeddings"] = _stack_padded([p.row["embeddings"] for p in batch])
        return feeds

    def finish(self, prepared: Prepared, inferred: Inferred, i: int = 0) -> dict[str, Any]:
        """Row `i` of the batch as the JSON of a response; ``timings_ms.infer`` is the run that the request was in."""
        order = inferred.outputs["order"][i]
        steps = order[: np.count_nonzero(order >= 0)][: prepared.top_n]
        picked = prepared.slots[steps].tolist()
        places = [(place, "model") for place in picked]
        if len(picked) < prepared.top_n:
            places += self._rest(prepared, picked)
        candidates = prepared.request.candidates
        value = inferred.outputs["value"][i][: len(picked)].sum(axis=0, dtype=np.float64).tolist()
        return {
            "request_id": prepared.request.request_id,
            "model": self.manifest.name,
            "version": self.manifest.version,
            "items": [
                {"id": candidates[place].id, "index": place, "position": position, "source": source}
                for position, (place, source) in enumerate(places, start=1)
            ],
            "value": dict(zip(OBJECTIVES, value, strict=True)),
            "degraded": None,
            "timings_ms": {"infer": round(inferred.seconds * 1e3, 3)},
        }

    def rerank(self, request: AnyRequest) -> dict[str, Any]:
        """All three steps for one request."""
        prepared = self.prepare(request)
        return self.finish(prepared, self.infer([prepared]))

    def rerank_batch(self, requests: Sequence[AnyRequest]) -> list[dict[str, Any]]:
        """All three steps for several requests in one run."""
        batch = [self.prepare(request) for request in requests]
        inferred = self.infer(batch)
        return [self.finish(prepared, inferred, i) for i, prepared in enumerate(batch)]

    def _weights(self, request: AnyRequest) -> list[float]:
        defaults, asked = self.manifest.objectives, request.objectives
        given = (None, None, None) if asked is None else (asked.click, asked.conversion, asked.gmv)
        return [defaults[name] if weight is None else weight for name, weight in zip(OBJECTIVES, given, strict=True)]

    def _rest(self, prepared: Prepared, picked: Sequence[int]) -> list[tuple[int, str]]:
        """Candidates past what the model reaches, by the bundle's formula."""
        left = np.delete(np.arange(len(prepared.request.candidates)), picked)
        scores = prepared.columns.score(self.manifest.fallback)[left]
        return [(i, "formula") for i in left[descending(scores)][: prepared.top_n - len(picked)].tolist()]


class _Columns:
    """What formulas may name, built when first asked for."""

    __slots__ = ("_candidates", "_defaults", "_known")

    def __init__(self, candidates: Sequence[AnyCandidate], weights: Sequence[float], manifest: Manifest) -> None:
        self._candidates = candidates
        self._defaults = {f.name: f.default for f in manifest.spec.scores}
        if manifest.spec.price is not None:
            self._defaults["price"] = manifest.spec.price.default
        self._known: dict[str, Column] = {n: np.asarray(w) for n, w in zip(WEIGHT_NAMES, weights, strict=True)}

    def score(self, formula: str) -> Column:
        """The formula's value [n]."""
        compiled = compile_formula(formula)
        for name in compiled.names - self._known.keys():
            self._known[name] = self._read(name)
        return compiled(self._known, len(self._candidates))

    def _read(self, name: str) -> Column:
        if name == "price":
            column = np.array([c.price for c in self._candidates], np.float64)
        else:
            column = np.array([c.scores.get(name) for c in self._candidates], np.float64)
        missing = np.isnan(column)
        return np.where(missing, self._defaults[name], column) if missing.any() else column


def session_options() -> ort.SessionOptions:
    """The service's own options on CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_mem_reuse = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _fill_slots(
    queues: Sequence[AnyQueue | QueueSpec], strategy: Any, columns: _Columns, manifest: Manifest
) -> NDArray[np.int64]:
    """Candidates of all slots [N], queue behind queue, −1 where a slot is empty."""
    places = manifest.places(len(queues))
    scores = np.stack([columns.score(queue.score) for queue in queues])
    filled = np.full((manifest.limits.queues, places), -1, np.int64)
    filled[: len(queues)] = partition(scores, places, strategy or manifest.partition)
    return filled.ravel()


def _stack_padded(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    width = max(row.shape[-1] for row in rows)
    if all(row.shape[-1] == width for row in rows):
        return np.stack(rows)
    stacked = np.zeros((len(rows), len(rows[0]), width), rows[0].dtype)
    for target, row in zip(stacked, rows, strict=True):
        target[:, : row.shape[-1]] = row
    return stacked
