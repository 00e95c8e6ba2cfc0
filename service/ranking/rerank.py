"""Take one decoded request to its list: plan, queues, features, engine, or the formula.

Everything runs on the event loop except the engine itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

from models.contract.arrays import Arrays
from service.bundles.model import Model
from service.bundles.registry import Registry
from service.catalogues.live import Catalogues
from service.catalogues.source import LiveSource
from service.contract.candidates import candidate_table
from service.contract.decoding import check_request
from service.contract.field_values import FieldCounts, FieldUse
from service.contract.rule_checks import NOTHING_INHERITED, Inherited
from service.contract.schemas import DegradedReason, RerankRequest, RerankResponse
from service.inference.dispatcher import DeadlineNear, Dispatcher
from service.inference.engine import EngineError
from service.ranking.answer import read_timings
from service.ranking.dealt import DealtRequest, deal_request, encode_request, graph_inputs
from service.ranking.lists import Listing, bypass_list, degraded_list, model_list
from service.ranking.live_reading import live_limit, read_ahead, read_encoded
from service.ranking.merging import MergedRequest, apply_scene
from service.ranking.request_items import RequestItems, join_items
from service.ranking.ruling import check_own_positions
from service.ranking.unknown_items import UnknownItems, find_unknown
from service.ranking.warnings import answer_warnings
from service.scenes.live import Scenes
from service.telemetry.records import ItemCounts, ListHealth, Stopwatch, list_health
from service.timing.deadline import Deadline, in_time
from service.timing.limiter import LogLimiter, left_out
from service.transport.asgi import Presence

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reranked:
    """One answer, with the facts that its record needs.

    `foreseen_wait` is how many seconds the model was expected to take when the request was ready for it, and
    `would_degrade` why the list would not be the model's, had deadlines been enforced. `queue_count` queues were dealt.
    `fields` counts the values of what was encoded; None: nothing was. `items` counts the encoded candidates that the
    catalogue knows; None: there is none, or nothing was encoded. `ignored_pins` counts the pins of the request's scene
    that could not be kept.
    """

    response: RerankResponse
    listing: Listing
    foreseen_wait: float
    would_degrade: DegradedReason | None
    batch_size: int
    queue_count: int
    fields: FieldCounts | None
    ignored_pins: int = 0
    items: ItemCounts | None = None

    def health(self) -> ListHealth | None:
        """Compute the figures of a list that has been sent; None for an empty one."""
        listing = self.listing
        if not listing.items:
            return None
        return list_health(listing.items, listing.queues, self.queue_count, listing.embeddings)


class _Attempt(NamedTuple):
    """The model's list, or the reason why there is none."""

    found: Listing | DegradedReason
    would_degrade: DegradedReason | None = None
    batch_size: int = 0
    use: FieldUse | None = None
    unknown: UnknownItems | None = None


class Reranker:
    """Answer decoded requests with the models of a registry.

    Without `warnings` its answers do not say what the models could not use. Without `scenes`, a
    request that names one is told that they are still being loaded. `catalogues` are those of items, by default none.
    `on_error` is told the name and version of a model whose run failed, or whose answer cannot be used.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        dispatcher: Dispatcher,
        max_candidates: int,
        warnings: bool = True,
        scenes: Scenes | None = None,
        catalogues: Catalogues | None = None,
        live: LiveSource | None = None,
        on_error: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._registry = registry
        self._dispatcher = dispatcher
        self._max_candidates = max_candidates
        self._warnings = warnings
        self._scenes = Scenes() if scenes is None else scenes
        self._catalogues = Catalogues() if catalogues is None else catalogues
        self._live = live
        self._on_error = on_error
        self._limiter = LogLimiter()

    def merge(self, request: RerankRequest) -> MergedRequest:
        """Fill in what the request leaves to its scene, if any. Raises `Problem` (422, 503)."""
        if request.scene is None:
            return MergedRequest(request)
        return apply_scene(request, self._scenes.find(request.scene))

    def select(self, request: RerankRequest) -> Model:
        """Return the model that the request asks for. Raises `Problem` (422, 503)."""
        return self._registry.select(request.model, request.version)

    async def rerank(
        self,
        request: RerankRequest,
        model: Model,
        clock: Stopwatch,
        *,
        request_id: str,
        deadline: Deadline = Deadline(),  # noqa: B008 - frozen
        presence: Presence | None = None,
        background: bool = False,
        inherited: Inherited = NOTHING_INHERITED,
    ) -> Reranked:
        """Return the answer to a merged request and time its stages.

        Raises `Problem` (422) or `ClientDisconnect`. In the `background` it gives way to other requests. The rules in
        `inherited` are those of its scene.
        """
        own = candidate_table(request)
        check_request(request, own, max_candidates=self._max_candidates, inherited=inherited)
        check_own_positions(request, model.manifest, inherited)
        items = join_items(own, model, self._catalogues, self._live)
        if self._live is not None:
            await self._read_ahead(request, items, model, clock, deadline, background)
        dealt = deal_request(request, model, items)
        clock.lap("deal")
        wait = self._dispatcher.seconds_until_done(model.engine, background=background)
        sorted_list = bypass_list(dealt)
        if sorted_list is not None:
            attempt = _Attempt(sorted_list)
        else:
            attempt = await self._ask(dealt, wait, clock, request_id, deadline, presence, background)
        found, use, unknown = attempt.found, attempt.use, attempt.unknown
        listing = found if isinstance(found, Listing) else degraded_list(dealt, found, deadline)
        response = RerankResponse(
            request_id=request_id,
            model=model.name,
            version=model.version,
            items=listing.items,
            value=listing.value,
            degraded=listing.degraded,
            timings_ms=read_timings(clock),
            warnings=answer_warnings(dealt, use, unknown, inherited) if self._warnings else [],
            relaxed=[*listing.relaxed],
        )
        return Reranked(
            response=response,
            listing=listing,
            foreseen_wait=wait,
            would_degrade=attempt.would_degrade,
            batch_size=attempt.batch_size,
            queue_count=model.manifest.limits.queues,
            fields=None if use is None else use.counts,
            ignored_pins=0 if dealt.plan.ruling is None else len(dealt.plan.ruling.ignored_pins),
            items=None if unknown is None else unknown.counts,
        )

    async def _read_ahead(
        self,
        request: RerankRequest,
        items: RequestItems,
        model: Model,
        clock: Stopwatch,
        deadline: Deadline,
        background: bool,
    ) -> None:
        """Read the live values that dealing needs, as a stage of its own."""
        clock.lap("deal")
        wait = self._dispatcher.seconds_until_done(model.engine, background=background)
        await read_ahead(request, items, model.manifest, live_limit(deadline, wait))
        clock.lap("live")

    async def _ask(
        self,
        dealt: DealtRequest,
        wait: float,
        clock: Stopwatch,
        request_id: str,
        deadline: Deadline,
        presence: Presence | None,
        background: bool,
    ) -> _Attempt:
        """Ask the model, unless it cannot be in time. Raises as `rerank` does."""
        model, batch_size = dealt.model, 0
        late: DegradedReason | None = None if in_time(wait, deadline) else "wait"
        if late and deadline.enforced:
            return _Attempt("wait", "wait")
        if self._live is not None:
            await read_encoded(dealt, live_limit(deadline, wait))
            clock.lap("live")
        row = encode_request(dealt)
        use, unknown = _field_use(dealt, row), find_unknown(dealt)
        clock.lap("encode")
        try:
            answer = await self._dispatcher.run(
                model.engine,
                graph_inputs(model, row),
                deadline=deadline.limit,
                presence=presence,
                background=background,
            )
            clock.engine_ran(answer.started, answer.wait_seconds, answer.infer_seconds)
            batch_size = answer.batch_size
            listing = model_list(dealt, row, answer)
        except DeadlineNear:
            clock.engine_missed()
            return _Attempt("deadline", "deadline", use=use, unknown=unknown)
        except EngineError as error:
            clock.engine_missed()
            self._complain(model, request_id, error)
            return _Attempt("model-error", late, batch_size, use, unknown)
        if late is None and perf_counter() > deadline.at:
            late = "deadline"
        return _Attempt(listing, late, batch_size, use, unknown)

    def _complain(self, model: Model, request_id: str, error: EngineError) -> None:
        """Count a failure of the model, and log it, but not every time."""
        self._on_error(model.name, model.version)
        suppressed = self._limiter.ready((model.name, model.version))
        if suppressed is not None:
            what = f"model {model.name} {model.version} failed on request {request_id}: {error}"
            _log.error("%s%s", what, left_out(suppressed), extra={"request_id": request_id})


def _field_use(dealt: DealtRequest, row: Arrays) -> FieldUse:
    """Find what the model can use of the candidates that were encoded to `row`."""
    request, plan = dealt.request, dealt.plan
    formulas = [queue.score for queue in plan.queues] if plan.queues_requested else ()
    return dealt.model.fields.read(request.user, request.context, dealt.candidates, dealt.places, row, formulas)
