"""Describe `POST /v1/rerank` in OpenAPI, from the very types that decode and encode it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from models.contract.serving import RERANK_PATH
from service.contract.problems import KINDS, MEDIA_TYPE, ProblemDocument
from service.contract.schemas import RerankRequest, RerankResponse

EXAMPLE_REQUEST: Final[dict[str, Any]] = {
    "request_id": "r-1",
    "candidates": [
        {"id": "sku-1", "scores": {"ctr": 0.12, "cvr": 0.03}, "price": 59.0, "embedding": [0.1, -0.2]},
        {"id": "sku-2", "scores": {"ctr": 0.07, "cvr": 0.08}, "price": 24.5, "embedding": [0.4, 0.1]},
        {"id": "sku-3", "scores": {"ctr": 0.11, "cvr": 0.01}, "price": 120.0, "embedding": [0.1, -0.1]},
    ],
    "top_n": 2,
    "objectives": {"click": 5, "conversion": 1, "gmv": 1},
    "diversity": {"lambda": 0.8, "window": 4},
    "queues": [{"name": "click", "score": "ctr"}, {"name": "gmv", "score": "ctr*cvr*price"}],
    "partition": "bfs",
    "explain": False,
}
_STATUSES: Final = {400, 401, 408, 413, 414, 415, 422, 431, 500, 501, 503}


def add_rerank(document: dict[str, Any]) -> None:
    """Add `POST /v1/rerank` to FastAPI's OpenAPI document, with the schemas of its types."""
    (request, response, problem), schemas = msgspec.json.schema_components(
        [RerankRequest, RerankResponse, ProblemDocument], ref_template="#/components/schemas/{name}"
    )
    document.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
    document["paths"][RERANK_PATH] = {"post": _operation(request, response, problem)}


def _operation(request: dict[str, Any], response: dict[str, Any], problem: dict[str, Any]) -> dict[str, Any]:
    refusals = {
        str(status): {
            "description": " or ".join(kind.title for kind in KINDS if kind.status == status),
            "content": {MEDIA_TYPE: {"schema": problem}},
        }
        for status in sorted(_STATUSES)
    }
    return {
        "tags": ["rerank"],
        "summary": "Re-rank candidates",
        "description": "Returns min(top_n, candidates) items, each from the request and none twice.",
        "operationId": "rerank",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": request, "example": EXAMPLE_REQUEST}},
        },
        "responses": {
            "200": {"description": "The list", "content": {"application/json": {"schema": response}}},
            **refusals,
        },
    }
