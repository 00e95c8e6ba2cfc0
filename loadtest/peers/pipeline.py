"""Turn a decoded request into arrays, and arrays into a response, for every peer.

It follows the service step for step over the same contract (`models/contract`: slots, features, session options). It
reads scores leniently, so that a peer does not lose time to the service's checks.
Axis letters: n candidates, N slots, L steps, B rows of a batch.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from loadtest.peers.schemas import PeerRequest
from loadtest.peers.tables import newest_catalogue, own_table
from models.contract.arrays import Arrays, Ints
from models.contract.candidates import CandidateTable
from models.contract.features import Encoder, encode_preferences
from models.contract.layers import LayeredTable
from models.contract.manifest import MODEL_FILE, SORT_SLOTS, Manifest
from models.contract.partition import sorted_slots
from models.contract.serving import set_session_options
from models.contract.slots import ScoreTable, fill_slots, sort_slots
from models.contract.spec import OBJECTIVES

if TYPE_CHECKING:
    from loadtest.peers.pydantic_schemas import RerankRequest  # Not every peer has pydantic.

Outputs = dict[str, NDArray[Any]]

UVICORN: Final[dict[str, Any]] = {
    "host": "127.0.0.1",
    "http": "httptools",
    "loop": "uvloop",
    "ws": "none",
    "access_log": False,
    "proxy_headers": False,
    "server_header": False,
    "date_header": False,
    "backlog": 2048,
    "timeout_keep_alive": 75,
}
"""The options of uvicorn for every peer that runs on it."""


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """Hold one request's graph arrays, without a batch axis, and its answer's parts."""

    request: PeerRequest | RerankRequest
    ids: Sequence[str]
    row: Arrays
    slots: Ints
    table: ScoreTable
    top_n: int


@dataclass(frozen=True, slots=True)
class Inferred:
    """Hold the graph's outputs for a whole batch [B, …], and the run's time."""

    outputs: Outputs
    seconds: float


class Pipeline:
    """Answer requests with a bundle.

    `prepare` and `finish` may run in any thread; `infer` is one `session.run`.
    """

    def __init__(self, folder: Path, catalogues: Path | None = None) -> None:
        """Load a bundle, and open the newest of its `catalogues`, if they are given.

        Raises `SpecError` for a broken manifest, `ValueError` for a graph of any slots or no catalogue.
        """
        self.manifest = Manifest.read(folder)
        if self.manifest.any_slots:
            raise ValueError(f"{folder}: the peers batch requests of equal size, and this graph takes any slots")
        self._encoder = Encoder(self.manifest.spec)
        self._catalogue = None if catalogues is None else newest_catalogue(catalogues, self.manifest.spec)
        self._session = ort.InferenceSession(
            str(folder / MODEL_FILE),
            sess_options=set_session_options(ort.SessionOptions()),
            providers=["CPUExecutionProvider"],
        )
        self._inputs = [tensor.name for tensor in self._session.get_inputs()]
        self._outputs = [tensor.name for tensor in self._session.get_outputs()]

    def prepare(self, request: PeerRequest | RerankRequest) -> PreparedRequest:
        """Deal and encode one request. Raises `models.contract.features.FeatureError` naming the field."""
        manifest, candidates = self.manifest, self._candidates(request)
        weights = self._weights(request)
        queues = request.queues or manifest.queues
        table = ScoreTable(candidates, weights, manifest.spec, lenient=True)
        shape = manifest.limits.queues, manifest.places(len(queues))
        slots = fill_slots(table, queues, request.partition or manifest.partition, shape).candidates
        diversity, default = request.diversity, manifest.diversity
        trade_off = default.trade_off if diversity is None or diversity.trade_off is None else diversity.trade_off
        window = default.window if diversity is None or diversity.window is None else diversity.window
        row = {
            **self._encoder.encode_user(request.user, request.context),
            **self._encoder.encode_slots(candidates, slots),
            **encode_preferences(weights, trade_off, window),
        }
        if SORT_SLOTS in self._inputs:
            row[SORT_SLOTS] = sort_slots(table, manifest.fallback, slots, manifest.limits.list_length)
        top_n = min(request.top_n or manifest.limits.list_length, len(candidates))
        return PreparedRequest(request, candidates.ids, row, slots, table, top_n)

    def _candidates(self, request: PeerRequest | RerankRequest) -> CandidateTable:
        """Return what the request says of its candidates, over what the catalogue has."""
        own = own_table(request)
        if self._catalogue is None:
            return own
        return LayeredTable(own, [self._catalogue.layer(own.ids, self._encoder)])

    def infer(self, batch: Sequence[PreparedRequest]) -> Inferred:
        """Run the model once for all rows of `batch`."""
        feeds = self.stack(batch)
        start = perf_counter()
        values = self._session.run(self._outputs, feeds)
        return Inferred(dict(zip(self._outputs, values, strict=True)), perf_counter() - start)

    def stack(self, batch: Sequence[PreparedRequest]) -> Arrays:
        """Stack the graph's inputs [B, …]; embeddings are padded with zeros to the widest."""
        if len(batch) == 1:
            return {name: batch[0].row[name][None] for name in self._inputs}
        feeds: Arrays = {name: np.stack([p.row[name] for p in batch]) for name in self._inputs if name != "embeddings"}
        if "embeddings" in self._inputs:
            feeds["embeddings"] = _stack_padded([p.row["embeddings"] for p in batch])
        return feeds

    def finish(self, prepared: PreparedRequest, inferred: Inferred, i: int = 0) -> dict[str, Any]:
        """Make a response's JSON of row `i`; ``timings_ms.infer`` is the time of the batch's run."""
        order = inferred.outputs["order"][i]
        steps = order[: np.count_nonzero(order >= 0)][: prepared.top_n]
        picked = prepared.slots[steps].tolist()
        places = [(place, "model") for place in picked]
        if len(picked) < prepared.top_n:
            places += self._rest(prepared, picked)
        value = inferred.outputs["value"][i][: len(picked)].sum(axis=0, dtype=np.float64).tolist()
        return {
            "request_id": prepared.request.request_id,
            "model": self.manifest.name,
            "version": self.manifest.version,
            "items": [
                {"id": prepared.ids[place], "index": place, "position": position, "source": source}
                for position, (place, source) in enumerate(places, start=1)
            ],
            "value": dict(zip(OBJECTIVES, value, strict=True)),
            "degraded": None,
            "timings_ms": {"infer": round(inferred.seconds * 1e3, 3)},
        }

    def rerank(self, request: PeerRequest | RerankRequest) -> dict[str, Any]:
        return self.rerank_batch([request])[0]

    def rerank_batch(self, requests: Sequence[PeerRequest | RerankRequest]) -> list[dict[str, Any]]:
        """Prepare and finish each request, and infer all in one run."""
        batch = [self.prepare(request) for request in requests]
        inferred = self.infer(batch)
        return [self.finish(prepared, inferred, i) for i, prepared in enumerate(batch)]

    def _weights(self, request: PeerRequest | RerankRequest) -> list[float]:
        defaults, asked = self.manifest.objectives, request.objectives
        given = (None, None, None) if asked is None else (asked.click, asked.conversion, asked.gmv)
        return [defaults[name] if weight is None else weight for name, weight in zip(OBJECTIVES, given, strict=True)]

    def _rest(self, prepared: PreparedRequest, picked: Sequence[int]) -> list[tuple[int, str]]:
        """Order the candidates past the model's reach by the bundle's formula."""
        left, count = np.delete(np.arange(len(prepared.table)), picked), prepared.top_n - len(picked)
        scores = prepared.table.sort_scores(self.manifest.fallback)
        if scores is None:
            return [(i, "input") for i in left[:count].tolist()]
        best = left[sorted_slots(scores, left, count)].tolist()
        return [(i, "formula" if np.isfinite(scores[i]) else "input") for i in best]


def _stack_padded(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    width = max(row.shape[-1] for row in rows)
    if all(row.shape[-1] == width for row in rows):
        return np.stack(rows)
    stacked = np.zeros((len(rows), len(rows[0]), width), rows[0].dtype)
    for target, row in zip(stacked, rows, strict=True):
        target[:, : row.shape[-1]] = row
    return stacked


def server_parser(description: str | None) -> argparse.ArgumentParser:
    """Make a parser with ``--bundle`` and ``--port``; a peer adds the options that tune it."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder to serve")
    parser.add_argument("--catalogue", type=Path, help="folder of catalogues of items (none)")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    return parser
