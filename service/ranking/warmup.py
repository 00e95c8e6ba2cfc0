"""Send made-up requests through a model before it serves.

They take the very path of real ones. The first request through cold code and a cold graph takes longer than the whole
budget; no client should be the one to find out. Nothing here is counted or logged.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any, Final

from starlette.types import Message

from models.contract.manifest import Manifest
from models.contract.spec import OBJECTIVES
from service.bundles.model import BundleError, Model
from service.bundles.registry import Registry
from service.contract.decoding import decode_request
from service.inference.dispatcher import Dispatcher
from service.inference.engine import stack_rows
from service.ranking.endpoint import EndpointOptions, RerankEndpoint
from service.ranking.example import CANDIDATES, example_request
from service.ranking.rerank import Reranker, deal_request, degraded_list, encode_request, graph_inputs
from service.timing.admission import Admission, AdmissionOptions
from service.timing.deadline import NEVER, Deadline
from service.transport.auth import ApiKeys

_REQUESTS: Final = 20
_FULL_BATCHES: Final = 3
_TIMEOUT_SECONDS: Final = 5.0


async def warm_up(dispatcher: Dispatcher, model: Model) -> None:
    """Warm a model. Raises `BundleError` if its defaults do not lead to a list."""
    await _warm_engine(dispatcher, model)
    most = model.engine.largest_batch
    registry = Registry()
    registry.publish(model)
    bodies = [json.dumps(request).encode() for request in _requests(model.manifest)]
    endpoint = RerankEndpoint(
        options=EndpointOptions(
            max_body_bytes=max(map(len, bodies)), read_timeout_seconds=_TIMEOUT_SECONDS, budget_seconds=NEVER
        ),
        keys=ApiKeys(()),
        admission=Admission(AdmissionOptions(limit=most)),
        reranker=Reranker(registry=registry, dispatcher=dispatcher, max_candidates=CANDIDATES),
        observers=(),
    )
    # One at a time first, then as many together as one run can hold.
    for body, together in itertools.product(bodies, (*[1] * _REQUESTS, *[most] * _FULL_BATCHES)):
        for status, answer in await asyncio.gather(*(_post(endpoint, body) for _ in range(together))):
            if status != 200:
                raise BundleError(f"a warm-up request was answered {status}: {answer.decode()}")
            degraded = json.loads(answer)["degraded"]
            if degraded is not None:
                raise BundleError(f"a warm-up request was answered without the model: {degraded['reason']}")


async def _warm_engine(dispatcher: Dispatcher, model: Model) -> None:
    request = decode_request(json.dumps(example_request(model.manifest)).encode())
    try:
        dealt = deal_request(request, model)
        await dispatcher.warm(model.engine, stack_rows([graph_inputs(model, encode_request(dealt))]))
        for _ in range(_REQUESTS):  # The formula answers when time is short, so it must be warm too.
            degraded_list(dealt, "deadline", Deadline())
    except Exception as error:
        raise BundleError(f"a warm-up request cannot be run: {error}") from error


def _requests(manifest: Manifest) -> list[dict[str, Any]]:
    """Make a request with the bundle's defaults, and one that runs the model."""
    first = example_request(manifest)
    if not manifest.bypassed(manifest.objectives):
        return [first]
    alone = [dict.fromkeys(OBJECTIVES, 0.0) | {name: 1.0} for name in manifest.valued]
    return [first, *({**first, "objectives": mix} for mix in alone if not manifest.bypassed(mix))][:2]


async def _post(endpoint: RerankEndpoint, body: bytes) -> tuple[int, bytes]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await endpoint({"type": "http", "headers": [(b"content-type", b"application/json")]}, receive, send)
    return sent[0]["status"], sent[1]["body"]
