"""Take one decoded request to its list: plan, queues, features, engine, or the formula.

Everything runs on the event loop except the engine itself.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from time import perf_counter
from typing import Final, NamedTuple

import numpy as np

from models.contract.arrays import AnyArray, Arrays, Ints
from models.contract.features import FeatureError, encode_preferences
from models.contract.manifest import SORT_SLOTS
from models.contract.slots import ScoreTable, Slots, sort_slots
from models.contract.spec import OBJECTIVES
from service.bundles.model import Model
from service.bundles.registry import Registry
from service.contract.decoding import check_request
from service.contract.field_values import FieldCounts, FieldUse
from service.contract.problems import invalid
from service.contract.schemas import Degraded, DegradedReason, Item, ObjectiveValues, RerankRequest, RerankResponse
from service.inference.dispatcher import DeadlineNear, Dispatcher
from service.inference.engine import Answer, EngineError
from service.ranking.answer import build_items, explain_items, read_timings
from service.ranking.fallback import Places, formula_list, input_list, rank_rest
from service.ranking.outputs import check_outputs
from service.ranking.plan import RequestPlan, deal, make_plan
from service.ranking.warnings import field_warnings
from service.telemetry.records import Choice, ListHealth, Stopwatch, list_health
from service.timing.deadline import Deadline, in_time
from service.timing.limiter import LogLimiter, left_out
from service.transport.asgi import Presence

_log = logging.getLogger(__name__)
_NOTHING: Final = ObjectiveValues(0.0, 0.0, 0.0)
_NO_QUEUES: Final = np.zeros(0, np.int64)
_NO_EMBEDDINGS: Final = np.zeros((0, 1), np.float32)


@dataclass(frozen=True, slots=True)
class DealtRequest:
    """A request that is known to be valid, with its model, plan and slots."""

    request: RerankRequest
    model: Model
    plan: RequestPlan
    table: ScoreTable
    slots: Slots


@dataclass(frozen=True, slots=True)
class Listing:
    """A finished list: items, their expected value, and its maker.

    The maker is `choice`, or the reason in `degraded`. `queues` [n] and `embeddings` [n, E] are those of the n items
    that the model chose.
    """

    items: list[Item]
    value: ObjectiveValues
    choice: Choice | None
    degraded: Degraded | None
    queues: Ints
    embeddings: AnyArray


@dataclass(frozen=True, slots=True)
class Reranked:
    """One answer, with the facts that its record needs.

    `foreseen_wait` is how many seconds the model was expected to take when the request was ready for it, and
    `would_degrade` why the list would not be the model's, had deadlines been enforced. `queue_count` queues were dealt.
    `fields` counts the values of what was encoded; None: nothing was.
    """

    response: RerankResponse
    listing: Listing
    foreseen_wait: float
    would_degrade: DegradedReason | None
    batch_size: int
    queue_count: int
    fields: FieldCounts | None

    def health(self) -> ListHealth:
        """Compute the figures of the list, once it has been sent."""
        listing = self.listing
        return list_health(listing.items, listing.queues, self.queue_count, listing.embeddings)


class _Attempt(NamedTuple):
    """The model's list, or the reason why there is none."""

    found: Listing | DegradedReason
    would_degrade: DegradedReason | None = None
    batch_size: int = 0
    use: FieldUse | None = None


class Reranker:
    """Answer decoded requests with the models of a registry.

    Without `warnings` its answers do not say what the models could not use.
    """

    def __init__(
        self, *, registry: Registry, dispatcher: Dispatcher, max_candidates: int, warnings: bool = True
    ) -> None:
        self._registry = registry
        self._dispatcher = dispatcher
        self._max_candidates = max_candidates
        self._warnings = warnings
        self._limiter = LogLimiter()

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
    ) -> Reranked:
        """Return the answer and time its stages. Raises `Problem` (422) or `ClientDisconnect`.

        In the `background` it gives way to other requests.
        """
        check_request(request, max_candidates=self._max_candidates)
        dealt = deal_request(request, model)
        clock.lap("deal")
        wait = self._dispatcher.seconds_until_done(model.engine, background=background)
        sorted_list = bypass_list(dealt)
        if sorted_list is not None:
            attempt = _Attempt(sorted_list)
        else:
            attempt = await self._ask(dealt, wait, clock, request_id, deadline, presence, background)
        found, use = attempt.found, attempt.use
        listing = found if isinstance(found, Listing) else degraded_list(dealt, found, deadline)
        response = RerankResponse(
            request_id=request_id,
            model=model.name,
            version=model.version,
            items=listing.items,
            value=listing.value,
            degraded=listing.degraded,
            timings_ms=read_timings(clock),
            warnings=field_warnings(use, model.fields) if self._warnings and use is not None else [],
        )
        return Reranked(
            response=response,
            listing=listing,
            foreseen_wait=wait,
            would_degrade=attempt.would_degrade,
            batch_size=attempt.batch_size,
            queue_count=model.manifest.limits.queues,
            fields=None if use is None else use.counts,
        )

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
        row = encode_request(dealt)
        use = _field_use(dealt, row)
        clock.lap("encode")
        try:
            answer = await self._dispatcher.run(
                model.engine,
                graph_inputs(model, row),
                deadline=deadline.limit,
                presence=presence,
                background=background,
            )
            clock.engine_ran(answer.wait_seconds, answer.infer_seconds)
            batch_size = answer.batch_size
            listing = model_list(dealt, row, answer)
        except DeadlineNear:
            return _Attempt("deadline", "deadline", use=use)
        except EngineError as error:
            self._complain(model, request_id, error)
            return _Attempt("model-error", late, batch_size, use)
        if late is None and perf_counter() > deadline.at:
            late = "deadline"
        return _Attempt(listing, late, batch_size, use)

    def _complain(self, model: Model, request_id: str, error: EngineError) -> None:
        """Log a failure of the model, but not every time."""
        suppressed = self._limiter.ready((model.name, model.version))
        if suppressed is not None:
            what = f"model {model.name} {model.version} failed on request {request_id}: {error}"
            _log.error("%s%s", what, left_out(suppressed), extra={"request_id": request_id})


def deal_request(request: RerankRequest, model: Model) -> DealtRequest:
    """Fill in defaults and deal the queues. Raises `Problem` (422)."""
    plan = make_plan(request, model.manifest)
    return DealtRequest(request, model, plan, *deal(request.candidates, plan, model.manifest))


def graph_inputs(model: Model, row: Arrays) -> Arrays:
    """Pick the arrays that the model's graph takes."""
    return {name: row[name] for name in model.inputs}


def model_list(dealt: DealtRequest, row: Arrays, answer: Answer) -> Listing:
    """Build the model's list. Raises `EngineError` if its answer is impossible."""
    request, plan, slots, manifest = dealt.request, dealt.plan, dealt.slots, dealt.model.manifest
    chosen = check_outputs(answer.outputs, slots, dealt.model, plan.top_n)
    steps = chosen.steps
    picked = slots.candidates[steps].tolist()
    missing = plan.top_n - len(picked)
    rest = rank_rest(dealt.table, manifest, picked, len(request.candidates), missing) if missing else []
    items = build_items(request.candidates, picked, rest)
    if request.explain:
        items = explain_items(items, request.candidates, plan, manifest, slots, steps, answer.outputs)
    choice: Choice = "sort" if chosen.kept_sort else "plan"
    return Listing(items, chosen.value, choice, None, slots.queues[steps], row["embeddings"][steps])


def _field_use(dealt: DealtRequest, row: Arrays) -> FieldUse:
    """Find what the model can use of the candidates that were encoded to `row`."""
    request, plan, slots = dealt.request, dealt.plan, dealt.slots.candidates
    chosen = [request.candidates[i] for i in slots.tolist() if i >= 0]
    formulas = [queue.score for queue in plan.queues] if plan.queues_requested else ()
    return dealt.model.fields.read(request.user, request.context, chosen, row, formulas)


def bypass_list(dealt: DealtRequest) -> Listing | None:
    """Build the sort's list if nothing learnt is kept for the objectives, else None."""
    manifest, plan = dealt.model.manifest, dealt.plan
    if not manifest.bypassed(dict(zip(OBJECTIVES, plan.weights, strict=True))):
        return None
    places = formula_list(dealt.request.candidates, dealt.table, plan, manifest)
    return None if places is None else _unmodelled(dealt, places, "bypass", None)


def degraded_list(dealt: DealtRequest, reason: DegradedReason, deadline: Deadline) -> Listing:
    """Build the list by the score formula, or without time in the order given."""
    places = None
    if not deadline.too_late_for_formula:
        places = formula_list(dealt.request.candidates, dealt.table, dealt.plan, dealt.model.manifest)
    if places is None:
        places = input_list(dealt.plan)
    return _unmodelled(dealt, places, None, Degraded(reason, places[0][1]))


def _unmodelled(dealt: DealtRequest, places: Places, choice: Choice | None, degraded: Degraded | None) -> Listing:
    """Build a list of which the model chose nothing."""
    items = build_items(dealt.request.candidates, (), places)
    return Listing(items, _NOTHING, choice, degraded, _NO_QUEUES, _NO_EMBEDDINGS)


def encode_request(dealt: DealtRequest) -> Arrays:
    """Encode one request for the graph, without a batch axis. Raises `Problem` (422)."""
    request, plan, model = dealt.request, dealt.plan, dealt.model
    try:
        with np.errstate(over="ignore"):  # Numbers that overflow are clipped afterwards.
            user = model.encoder.encode_user(request.user, request.context)
            items = model.encoder.encode_slots(request.candidates, dealt.slots.candidates)
    except FeatureError as error:
        raise invalid(error.path, error.problem) from None
    arrays = {**user, **items, **encode_preferences(plan.weights, plan.trade_off, plan.window)}
    if SORT_SLOTS in model.inputs:
        manifest = model.manifest
        length = manifest.limits.list_length
        arrays[SORT_SLOTS] = sort_slots(dealt.table, manifest.fallback, dealt.slots.candidates, length)
    return arrays
