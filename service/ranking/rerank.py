"""One request from decoded body to response: plan → queues → features → batcher → list, or a rung further down.

Knows nothing about HTTP. Everything runs on the event loop except the engine itself.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import numpy as np

from models.contract.features import Arrays, FeatureError, encode_preferences
from models.contract.manifest import KEPT_SORT, SORT_SLOTS
from models.contract.slots import ScoreTable, Slots, sort_slots
from models.contract.spec import OBJECTIVES
from service.bundles.model import Model
from service.bundles.registry import Registry
from service.contract.checks import check_request
from service.contract.problems import invalid
from service.contract.schemas import (
    Degraded,
    DegradedReason,
    Item,
    ObjectiveValues,
    RerankRequest,
    RerankResponse,
    Timings,
)
from service.inference.dispatcher import Batcher, DeadlineNear
from service.inference.engine import Answer, EngineError
from service.ranking.answer import build_items, check_order, explain_items, list_value
from service.ranking.dealing import deal, rank_rest
from service.ranking.fallback import formula_list, input_list
from service.ranking.plan import RequestPlan, make_plan
from service.telemetry.list_health import list_health
from service.telemetry.records import Progress
from service.timing.ladder import Deadline, in_time
from service.transport.asgi import Presence

_log = logging.getLogger(__name__)
_NOTHING = ObjectiveValues(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Case:
    """A request that is known to be valid, with what its model makes of it."""

    request: RerankRequest
    model: Model
    plan: RequestPlan
    table: ScoreTable
    slots: Slots


@dataclass(frozen=True, slots=True)
class Listed:
    """A finished list: its items and what the model expects of those that it placed."""

    items: list[Item]
    value: ObjectiveValues
    degraded: Degraded | None = None


class Reranker:
    """Answers decoded requests with the models of a registry."""

    def __init__(self, *, registry: Registry, batcher: Batcher, max_candidates: int) -> None:
        self._registry = registry
        self._batcher = batcher
        self._max_candidates = max_candidates

    async def rerank(
        self,
        request: RerankRequest,
        request_id: str,
        progress: Progress,
        deadline: Deadline = Deadline(),  # noqa: B008 - frozen
        presence: Presence | None = None,
    ) -> RerankResponse:
        """The response; `progress` gets stages and list figures. Raises `Problem` (422, 503) or `ClientDisconnect`."""
        progress.candidates = len(request.candidates)
        case = self._case(request, self._registry.select(request.model, request.version), progress)
        progress.end("queue")
        listed = self._bypass(case, progress) or await self._model_list(case, progress, deadline, presence)
        if not isinstance(listed, Listed):
            progress.degraded = listed
            listed = formula_answer(case, listed, deadline)
            _watch_list(progress, case, listed.items, np.zeros(0, np.int64), np.zeros((0, 1)))
        return RerankResponse(
            request_id=request_id,
            model=case.model.name,
            version=case.model.version,
            items=listed.items,
            value=listed.value,
            degraded=listed.degraded,
            timings_ms=_timings(progress),
        )

    def _case(self, request: RerankRequest, model: Model, progress: Progress) -> Case:
        progress.model, progress.version = model.name, model.version
        check_request(request, max_candidates=self._max_candidates)
        return make_case(request, model)

    def _bypass(self, case: Case, progress: Progress) -> Listed | None:
        """The sort's list, where the model is not to be run; see `bypass_answer`."""
        listed = bypass_answer(case)
        if listed is not None:
            progress.choice = "bypass"
            progress.foreseen_wait = self._batcher.seconds_until_done(case.model.engine)
            _watch_list(progress, case, listed.items, np.zeros(0, np.int64), np.zeros((0, 1)))
        return listed

    async def _model_list(
        self, case: Case, progress: Progress, deadline: Deadline, presence: Presence | None
    ) -> Listed | DegradedReason:
        """The model's list, or why there is none."""
        progress.foreseen_wait = self._batcher.seconds_until_done(case.model.engine)
        if not in_time(progress.foreseen_wait, deadline):
            progress.would_degrade = "wait"
            if deadline.enforced:
                return "wait"
        row = encode_case(case)
        progress.end("encode")
        try:
            answer = await self._batcher.run(
                case.model.engine, graph_inputs(case.model, row), deadline=deadline.limit, presence=presence
            )
            progress.stages["wait"], progress.stages["infer"] = answer.wait_seconds, answer.infer_seconds
            progress.batch_size = answer.batch_size
            progress.skip()
            listed = model_answer(case, row, answer, progress)
        except DeadlineNear:
            progress.would_degrade = "deadline"
            return "deadline"
        except EngineError:
            _log.exception("model %s %s failed on a request", case.model.name, case.model.version)
            return "model-error"
        if progress.would_degrade is None and perf_counter() > deadline.at:
            progress.would_degrade = "deadline"
        return listed


def make_case(request: RerankRequest, model: Model) -> Case:
    """Defaults filled in and queues dealt. Raises `Problem` (422)."""
    plan = make_plan(request, model.manifest)
    return Case(request, model, plan, *deal(request.candidates, plan, model.manifest))


def graph_inputs(model: Model, row: Arrays) -> Arrays:
    """Of all arrays, those that the model's graph takes."""
    return {name: row[name] for name in model.inputs}


def model_answer(case: Case, row: Arrays, answer: Answer, progress: Progress) -> Listed:
    """The model's list, filled up by the formula. Raises `EngineError` if the model's answer is impossible."""
    request, plan, slots = case.request, case.plan, case.slots
    steps = check_order(answer.outputs["order"], slots)[: plan.top_n]
    picked = slots.candidates[steps].tolist()
    missing = plan.top_n - len(picked)
    n = len(request.candidates)
    rest = rank_rest(case.table, case.model.manifest, picked, n, missing) if missing else []
    items = build_items(request.candidates, picked, rest)
    value = list_value(answer.outputs["value"], len(steps))
    if request.explain:
        items = explain_items(items, request.candidates, plan, case.model.manifest, slots, steps, answer.outputs)
    _watch_list(progress, case, items, slots.queues[steps], row["embeddings"][steps])
    progress.choice = "sort" if answer.outputs.get(KEPT_SORT) else "plan"
    return Listed(items, value)


def bypass_answer(case: Case) -> Listed | None:
    """The sort's list, where nothing is kept of what the model learnt about that which is asked; else None.

    Also None where the sort's formula cannot be computed, which leaves the list to the model after all.
    """
    manifest, plan = case.model.manifest, case.plan
    if not manifest.bypassed(dict(zip(OBJECTIVES, plan.weights, strict=True))):
        return None
    places = formula_list(case.request.candidates, case.table, plan, manifest)
    return None if places is None else Listed(build_items(case.request.candidates, (), places), _NOTHING)


def formula_answer(case: Case, reason: DegradedReason, deadline: Deadline) -> Listed:
    """The list of the best rung below the model for which there is time."""
    places = None
    if not deadline.too_late_for_formula:
        places = formula_list(case.request.candidates, case.table, case.plan, case.model.manifest)
    if places is None:
        places = input_list(case.plan)
    items = build_items(case.request.candidates, (), places)
    return Listed(items, _NOTHING, Degraded(reason, items[0].source))


def encode_case(case: Case) -> Arrays:
    """Every array of the graph contract for one request, without a batch axis. Raises `Problem` (422)."""
    request, plan, model = case.request, case.plan, case.model
    try:
        with np.errstate(over="ignore"):  # A number too far out for its scale is clipped afterwards.
            user = model.encoder.encode_user(request.user, request.context)
            items = model.encoder.encode_slots(request.candidates, case.slots.candidates)
    except FeatureError as error:
        raise invalid(error.path, error.problem) from None
    arrays = {**user, **items, **encode_preferences(plan.weights, plan.trade_off, plan.window)}
    if SORT_SLOTS in model.inputs:
        manifest = model.manifest
        length = manifest.limits.list_length
        arrays[SORT_SLOTS] = sort_slots(case.table, manifest.fallback, case.slots.candidates, length)
    return arrays


def _watch_list(
    progress: Progress, case: Case, items: Sequence[Item], queues: np.ndarray, embeddings: np.ndarray
) -> None:
    progress.health = partial(list_health, items, queues, case.model.manifest.limits.queues, embeddings)


def _timings(progress: Progress) -> Timings:
    ms = {stage: round(seconds * 1e3, 3) for stage, seconds in progress.stages.items()}
    return Timings(
        decode=ms["decode"],
        queue=ms["queue"],
        encode=ms.get("encode", 0.0),
        wait=ms.get("wait", 0.0),
        infer=ms.get("infer", 0.0),
        total=round(progress.elapsed * 1e3, 3),
    )
