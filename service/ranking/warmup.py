"""Send made-up requests through a model before it serves.

They take the very path of real ones. The first request through cold code and a cold graph takes longer than the whole
budget; no client should be the one to find out. Nothing here is counted or logged.

Beside a model that serves it is done gently. What can run elsewhere than on the inference thread does, at the lowest
priority; the rest is a few requests, one at a time, with pauses, each of which gives way to real ones.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any, Final

from starlette.types import Message

from models.contract.catalogue.catalogue import Catalogue
from models.contract.manifest import Manifest
from models.contract.spec import OBJECTIVES
from service.access.keys import ApiKeys
from service.bundles.model import BundleError, Model
from service.bundles.registry import Registry
from service.catalogues.live import Catalogues
from service.contract.decoding import decode_request
from service.inference.aside import low_priority, run_aside
from service.inference.dispatcher import Dispatcher
from service.inference.engine import BatchArrays, Engine, EngineError, stack_rows, warm_fully
from service.ranking.dealt import DealtRequest, deal_request, encode_request, graph_inputs
from service.ranking.endpoint import EndpointOptions, RerankEndpoint
from service.ranking.example import CANDIDATES, example_request, with_rule_tensors, with_rules
from service.ranking.lists import degraded_list
from service.ranking.rerank import Reranker
from service.timing.admission import Admission, AdmissionOptions
from service.timing.deadline import NEVER, Deadline

_REQUESTS: Final = 20
_GENTLE_REQUESTS: Final = 3
_PAUSE_SECONDS: Final = 0.02
_FULL_BATCHES: Final = 3
_TIMEOUT_SECONDS: Final = 5.0


async def warm_up(
    dispatcher: Dispatcher, model: Model, *, gently: bool = False, catalogues: Catalogues | None = None
) -> None:
    """Warm a model, with its catalogue of items if there is one.

    Raises `BundleError` if its defaults do not lead to a list.
    """
    await warm_engine(dispatcher, model, gently)
    await _send_requests(dispatcher.in_background() if gently else dispatcher, model, gently, catalogues)


async def warm_engine(dispatcher: Dispatcher, model: Model, gently: bool) -> None:
    """Run every shape that the engine serves, and the formula. Raises `BundleError`."""
    try:
        dealt, batch = await _make_batch(model)
        if model.engine.thread_safe:
            await run_aside(lambda: _warm_aside(model.engine, batch, gently))
        else:
            await dispatcher.warm(model.engine, batch)
        # The formula answers when time is short, so it must be warm too.
        for _ in range(_GENTLE_REQUESTS if gently else _REQUESTS):
            degraded_list(dealt, "deadline", Deadline())
            await asyncio.sleep(0)
    except EngineError as error:
        raise BundleError(str(error)) from error
    except Exception as error:
        raise BundleError(f"a warm-up request cannot be run: {error}") from error


async def _make_batch(model: Model) -> tuple[DealtRequest, BatchArrays]:
    """Make a batch of one request; every step lets the event loop turn to others."""
    body = json.dumps(example_request(model.manifest)).encode()
    await asyncio.sleep(0)
    request = decode_request(body)
    await asyncio.sleep(0)
    dealt = deal_request(request, model)
    await asyncio.sleep(0)
    row, ruled = graph_inputs(model, encode_request(dealt)), model.manifest.ruled
    # From a batch with rules, the engine warms the graph for them and the plain one.
    return dealt, stack_rows([row if ruled is None else with_rule_tensors(row, model.manifest, ruled)])


def _warm_aside(engine: Engine, batch: BatchArrays, gently: bool) -> None:
    with low_priority(gently):
        warm_fully(engine, batch)


async def _send_requests(dispatcher: Dispatcher, model: Model, gently: bool, catalogues: Catalogues | None) -> None:
    """Send requests through the endpoint. Raises `BundleError` for one without the model's list."""
    most = model.engine.largest_batch
    registry = Registry()
    registry.publish(model)
    catalogue = None if catalogues is None else catalogues.find(model.manifest.spec.fingerprint)
    bodies = [json.dumps(request).encode() for request in _requests(model.manifest, catalogue)]
    endpoint = RerankEndpoint(
        options=EndpointOptions(
            max_body_bytes=max(map(len, bodies)), read_timeout_seconds=_TIMEOUT_SECONDS, budget_seconds=NEVER
        ),
        keys=ApiKeys(),
        admission=Admission(AdmissionOptions(limit=most)),
        reranker=Reranker(registry=registry, dispatcher=dispatcher, max_candidates=CANDIDATES, catalogues=catalogues),
        observers=(),
    )
    # One at a time first, then as many together as one run can hold.
    rounds = [1] * _GENTLE_REQUESTS if gently else [*[1] * _REQUESTS, *[most] * _FULL_BATCHES]
    for body, together in itertools.product(bodies, rounds):
        if gently:
            await asyncio.sleep(_PAUSE_SECONDS)
        for status, answer in await asyncio.gather(*(_post(endpoint, body) for _ in range(together))):
            if status != 200:
                raise BundleError(f"a warm-up request was answered {status}: {answer.decode()}")
            degraded = json.loads(answer)["degraded"]
            if degraded is not None:
                why = dispatcher.given_up or degraded["reason"]
                raise BundleError(f"a warm-up request was answered without the model: {why}")


def _requests(manifest: Manifest, catalogue: Catalogue | None) -> list[dict[str, Any]]:
    """Make a request with the bundle's defaults, and one that runs the model.

    With a catalogue there is one more, whose candidates have an id and scores only. If the bundle serves rules, one
    that has some comes last.
    """
    width = 0 if catalogue is None else catalogue.manifest.embedding_width
    found = [example_request(manifest, embedding_width=width)]
    if manifest.bypassed(manifest.objectives):
        alone = [dict.fromkeys(OBJECTIVES, 0.0) | {name: 1.0} for name in manifest.valued]
        found += [{**found[0], "objectives": mix} for mix in alone if not manifest.bypassed(mix)][:1]
    full = found[-1]
    if catalogue is not None:
        bare = [{"id": made["id"], "scores": made["scores"]} for made in full["candidates"]]
        found.append({**full, "candidates": bare})
    return found if manifest.ruled is None else [*found, with_rules(full)]


async def _post(endpoint: RerankEndpoint, body: bytes) -> tuple[int, bytes]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await endpoint({"type": "http", "headers": [(b"content-type", b"application/json")]}, receive, send)
    return sent[0]["status"], sent[1]["body"]
