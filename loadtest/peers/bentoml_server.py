"""Serve a bundle with BentoML, batching adaptively or not. Run by ``bentoml serve``.

``bentoml serve loadtest.peers.bentoml_server:Batching`` with ``PEERS_BUNDLE`` and the settings in the environment.
A batchable endpoint of BentoML takes a list of inputs, so its body is the request in brackets, and so is its answer.
"""

# No `from __future__ import annotations`: BentoML makes its models of requests from the annotations.
import os
from pathlib import Path
from typing import Any

import bentoml
import msgspec

from loadtest.peers import schemas
from loadtest.peers.pipeline import Pipeline
from models.contract.serving import RERANK_PATH

_SETTINGS: dict[str, Any] = {
    "workers": 1,
    "threads": 1,
    "metrics": {"enabled": False},
    "logging": {"access": {"enabled": False}},
    "traffic": {"timeout": 60},
}


def _convert(request: dict[str, Any]) -> schemas.PeerRequest:
    return msgspec.convert(request, schemas.PeerRequest)


def _pipeline() -> Pipeline:
    catalogue = os.environ.get("PEERS_CATALOGUE")
    return Pipeline(Path(os.environ["PEERS_BUNDLE"]), Path(catalogue) if catalogue else None)


@bentoml.service(**_SETTINGS)
class Batching:
    """Batch adaptively: collect requests while a batch runs, within a latency estimate."""

    def __init__(self) -> None:
        self._pipeline = _pipeline()

    @bentoml.api(
        route=RERANK_PATH,
        batchable=True,
        max_batch_size=int(os.environ.get("PEERS_MAX_BATCH_SIZE", "8")),
        max_latency_ms=int(os.environ.get("PEERS_MAX_LATENCY_MS", "1000")),
    )
    async def rerank(self, requests: list[dict[str, Any]], /) -> list[dict[str, Any]]:
        return self._pipeline.rerank_batch([_convert(request) for request in requests])


@bentoml.service(**_SETTINGS)
class Single:
    """Answer one request at a time, in the event loop."""

    def __init__(self) -> None:
        self._pipeline = _pipeline()

    @bentoml.api(route=RERANK_PATH)
    async def rerank(self, request: dict[str, Any], /) -> dict[str, Any]:
        return self._pipeline.rerank(_convert(request))
