"""List the operations that FastAPI's router does not know, as the OpenAPI document describes them.

A route that answers ahead of the router (see `app.py`) adds a `Described` to `PUBLIC`, and is in the document with its
types, headers and problems.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Struct

from models.contract.serving import BATCH_PATH, RERANK_PATH
from service.contract.batch import BatchRequest, BatchResponse
from service.contract.examples import ANSWERS, BATCH_ANSWERS, BATCHES, REQUESTS
from service.contract.schemas import RerankRequest, RerankResponse


@dataclass(frozen=True, kw_only=True)
class Described:
    """One operation: a POST of one JSON document that is answered by another."""

    path: str
    operation_id: str
    tag: str
    summary: str
    description: str
    request: type[Struct]
    answer: type[Struct]
    requests: Mapping[str, Any]
    """Examples of the body, by name: `{"summary": ..., "value": ...}`; all are valid."""
    answers: Mapping[str, Any]
    parameters: tuple[str, ...] = ()
    """Request headers, by their names in `headers.PARAMETERS`."""
    headers: tuple[str, ...] = ()
    """Headers of the answer, by their names in `headers.HEADERS`."""


RERANK: Final = Described(
    path=RERANK_PATH,
    operation_id="rerank",
    tag="rerank",
    summary="Re-rank candidates",
    description="Returns min(top_n, candidates) items, each from the request and none twice. The deadline is the "
    "shortest of the service's budget, `timeout_ms` and the headers; what the model cannot do in time, the score "
    "formula does, and `degraded` says so. The body may be compressed (`Content-Encoding`: gzip or zstd).",
    request=RerankRequest,
    answer=RerankResponse,
    requests=REQUESTS,
    answers=ANSWERS,
    parameters=("RequestId", "Traceparent", "RequestTimeoutMs", "EnvoyExpectedTimeoutMs", "GrpcTimeout"),
    headers=("x-request-id", "traceparent", "server-timing", "x-listwright-degraded"),
)

RERANK_BATCH: Final = Described(
    path=BATCH_PATH,
    operation_id="rerank_batch",
    tag="rerank",
    summary="Re-rank the candidates of several requests",
    description="Answers each request on its own, in order: a request that is refused spoils no other. They give way "
    "to single requests and have a latency budget of their own (LISTWRIGHT_BATCH_BUDGET_MS). The body may be four "
    "times as large as that of one, and compressed (`Content-Encoding`: gzip or zstd). 503: neither it nor any of them "
    "had a place.",
    request=BatchRequest,
    answer=BatchResponse,
    requests=BATCHES,
    answers=BATCH_ANSWERS,
    parameters=RERANK.parameters,
    headers=("x-request-id", "traceparent", "server-timing"),
)

PUBLIC: Final = (RERANK, RERANK_BATCH)
"""All of the public port."""
