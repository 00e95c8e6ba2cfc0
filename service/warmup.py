"""Sends made-up requests through a model before it serves, over the very path that real ones take.

The first request through cold code and a cold graph takes longer than the whole budget; a client should not be the one
to find out. Nothing here is counted or logged.
"""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.types import Message

from models.features import Scalar
from models.formulas import compile_formula
from models.manifest import Manifest
from models.spec import Category, Field, Hashed
from service.auth import ApiKeys
from service.batcher import Batcher
from service.endpoint import RerankEndpoint
from service.gate import Gate
from service.model import BundleError, Model
from service.registry import Registry
from service.rerank import Reranker

_REQUESTS: Final = 20
_CANDIDATES: Final = 100
_TIMEOUT_SECONDS: Final = 5.0
_NOT_SCORES: Final = frozenset(("alpha", "beta", "gamma", "price"))


async def warm_up(batcher: Batcher, model: Model) -> None:
    """Raises `BundleError` with the answer if the model's own defaults do not lead to a list."""
    registry = Registry()
    registry.publish(model)
    body = json.dumps(example_request(model.manifest)).encode()
    endpoint = RerankEndpoint(
        max_body_bytes=len(body),
        read_timeout_seconds=_TIMEOUT_SECONDS,
        keys=ApiKeys(()),
        gate=Gate(limit=1, retry_after_seconds=1),
        reranker=Reranker(registry=registry, batcher=batcher, max_candidates=_CANDIDATES),
        observers=(),
    )
    for _ in range(_REQUESTS):
        status, answer = await _post(endpoint, body)
        if status != 200:
            raise BundleError(f"a warm-up request was answered {status}: {answer.decode()}")


def example_request(manifest: Manifest) -> dict[str, Any]:
    """A request with a value for every field of the spec and every score that the bundle's formulas name."""
    spec = manifest.spec
    formulas = [q.score for q in manifest.queues] + [manifest.fallback]
    named = {name for text in formulas for name in compile_formula(text).names} - _NOT_SCORES
    scores = sorted(named | {f.name for f in spec.scores})
    features = {f.name: _value(f) for f in spec.item}
    return {
        "user": {f.name: _value(f) for f in spec.user},
        "context": {f.name: _value(f) for f in spec.context},
        "candidates": [
            {
                "id": str(i),
                "scores": dict.fromkeys(scores, (i + 1) / (_CANDIDATES + 1)),
                "price": 10.0 + i,
                "features": features,
            }
            for i in range(_CANDIDATES)
        ],
        "top_n": min(manifest.limits.list_length + 1, _CANDIDATES),
        "explain": True,
    }


def _value(field: Field) -> Scalar:
    if isinstance(field, Category):
        return field.vocabulary[0] if field.vocabulary else None
    return "warm-up" if isinstance(field, Hashed) else field.default


async def _post(endpoint: RerankEndpoint, body: bytes) -> tuple[int, bytes]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await endpoint({"type": "http", "headers": [(b"content-type", b"application/json")]}, receive, send)
    return sent[0]["status"], sent[1]["body"]
