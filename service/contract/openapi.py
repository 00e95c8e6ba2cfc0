"""Describe `POST /v1/rerank` from the types that decode and encode it, and all problems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from models.contract.serving import RERANK_PATH
from service.contract.problems import KINDS, MEDIA_TYPE, ProblemDocument
from service.contract.schemas import RerankRequest, RerankResponse

_TEMPLATE: Final = "#/components/schemas/{name}"
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
_EVERYWHERE: Final = frozenset({400, 414, 431, 500, 501, 503})
_WITH_A_BODY: Final = frozenset({408, 413, 415, 422})
_FASTAPIS: Final = ("HTTPValidationError", "ValidationError")


def add_rerank(document: dict[str, Any], *, max_candidates: int) -> None:
    """Add `POST /v1/rerank` to FastAPI's OpenAPI document, and problems to all its operations."""
    (request, response, problem), schemas = msgspec.json.schema_components(
        [RerankRequest, RerankResponse, ProblemDocument], ref_template=_TEMPLATE
    )
    schemas["RerankRequest"]["properties"]["candidates"]["maxItems"] = max_candidates
    _schemas_of(document).update(schemas)
    document["paths"][RERANK_PATH] = {"post": _operation(request, response)}
    _add_problems(document, problem, lambda path: _v1_problems(path) if path.startswith("/v1/") else set())


def _v1_problems(path: str) -> set[int]:
    return {401, 404} if path.endswith("}") else {401}


def add_admin_problems(document: dict[str, Any]) -> None:
    """Add the problems of the admin port to all operations of its OpenAPI document."""
    (problem,), schemas = msgspec.json.schema_components([ProblemDocument], ref_template=_TEMPLATE)
    _schemas_of(document).update(schemas)
    _add_problems(document, problem, lambda path: {401, 421, 409} if path.endswith("/reload") else {401, 421})


def _schemas_of(document: dict[str, Any]) -> dict[str, Any]:
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    return schemas


def _add_problems(document: dict[str, Any], problem: dict[str, Any], more: Callable[[str], set[int]]) -> None:
    """Say which problems each operation may answer, instead of what FastAPI says."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            statuses = _EVERYWHERE | more(path) | (_WITH_A_BODY if "requestBody" in operation else set())
            operation["responses"].pop("422", None)
            operation["responses"].update((str(status), _refusal(status, problem)) for status in sorted(statuses))
    for name in _FASTAPIS:
        _schemas_of(document).pop(name, None)


def _refusal(status: int, problem: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": " or ".join(kind.title for kind in KINDS if kind.status == status),
        "content": {MEDIA_TYPE: {"schema": problem}},
    }


def _operation(request: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    return {
        "tags": ["rerank"],
        "summary": "Re-rank candidates",
        "description": "Returns min(top_n, candidates) items, each from the request and none twice.",
        "operationId": "rerank",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": request, "example": EXAMPLE_REQUEST}},
        },
        "responses": {"200": {"description": "The list", "content": {"application/json": {"schema": response}}}},
    }
