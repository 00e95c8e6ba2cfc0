"""Describe `POST /v1/rerank/batch`, as `POST /v1/rerank` is described."""

from __future__ import annotations

from typing import Any

import msgspec

from models.contract.serving import BATCH_PATH, RERANK_PATH
from service.contract.batch import BatchRequest, BatchResponse
from service.contract.openapi import EXAMPLE_REQUEST

_DESCRIPTION = (
    "Answers each request on its own, in order: a request that is refused spoils no other. They give way to single "
    "requests and have a latency budget of their own (LISTWRIGHT_BATCH_BUDGET_MS). 503: none of them had a place."
)


def add_batch(document: dict[str, Any]) -> None:
    """Add `POST /v1/rerank/batch` to a document that describes `POST /v1/rerank`."""
    (request, response), schemas = msgspec.json.schema_components(
        [BatchRequest, BatchResponse], ref_template="#/components/schemas/{name}"
    )
    known = document["components"]["schemas"]
    known.update({name: schema for name, schema in schemas.items() if name not in known})
    single = document["paths"][RERANK_PATH]["post"]
    answer = {**single["responses"]["200"], "description": "The outcomes"}
    document["paths"][BATCH_PATH] = {
        "post": {
            **single,
            "summary": "Re-rank the candidates of several requests",
            "description": _DESCRIPTION,
            "operationId": "rerankBatch",
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": request, "example": {"requests": [EXAMPLE_REQUEST]}}},
            },
            "responses": {
                **single["responses"],
                "200": {**answer, "content": {"application/json": {"schema": response}}},
            },
        }
    }
