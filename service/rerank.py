"""One request from decoded body to response: plan → queues → features → batcher → list.

Knows nothing about HTTP. Everything runs on the event loop except the engine itself.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from models.features import Arrays, FeatureError
from service.answer import build_items, check_order, explain_items, list_value
from service.batcher import Batcher
from service.checks import check_request
from service.health import list_health
from service.model import Model
from service.plan import Plan, make_plan
from service.problems import invalid
from service.queues import ScoreTable, fill_slots, rank_rest
from service.records import Progress
from service.registry import Registry
from service.schemas import RerankRequest, RerankResponse, Timings


class Reranker:
    """Answers decoded requests with the models of a registry."""

    def __init__(self, *, registry: Registry, batcher: Batcher, max_candidates: int) -> None:
        self._registry = registry
        self._batcher = batcher
        self._max_candidates = max_candidates

    async def rerank(self, request: RerankRequest, request_id: str, progress: Progress) -> RerankResponse:
        """The response; `progress` gets stages and list figures. Raises `Problem` (422, 503) or `EngineError`."""
        progress.candidates = len(request.candidates)
        model = self._registry.select(request.model)
        progress.model, progress.version = model.name, model.version
        check_request(request, max_candidates=self._max_candidates)
        plan = make_plan(request, model.manifest)
        table = ScoreTable(request.candidates, plan.weights, model.manifest.spec)
        slots = fill_slots(table, plan, model.manifest)
        progress.end("queue")

        row = encode(request, plan, slots.candidates, model)
        progress.end("encode")

        answer = await self._batcher.run(model.engine, {name: row[name] for name in model.inputs})
        progress.stages["wait"], progress.stages["infer"] = answer.wait_seconds, answer.infer_seconds
        progress.batch_size = answer.batch_size
        progress.skip()

        steps = check_order(answer.outputs["order"], slots)[: plan.top_n]
        picked = slots.candidates[steps].tolist()
        n, missing = len(request.candidates), plan.top_n - len(picked)
        rest = rank_rest(table, model.manifest.fallback, picked, n, missing) if missing else []
        items = build_items(request.candidates, picked, rest)
        if request.explain:
            items = explain_items(items, request.candidates, plan, model.manifest, slots, steps, answer.outputs)
        queues, embeddings = slots.queues[steps], row["embeddings"][steps]
        progress.health = partial(list_health, items, queues, model.manifest.limits.queues, embeddings)
        return RerankResponse(
            request_id=request_id,
            model=model.name,
            version=model.version,
            items=items,
            value=list_value(answer.outputs["value"], len(steps)),
            degraded=None,
            timings_ms=_timings(progress),
        )


def encode(request: RerankRequest, plan: Plan, slots: np.ndarray, model: Model) -> Arrays:
    """Every array of the graph contract for one request, without a batch axis. Raises `Problem` (422)."""
    try:
        with np.errstate(over="ignore"):  # A number too far out for its scale is clipped afterwards.
            user = model.encoder.encode_user(request.user, request.context)
            items = model.encoder.encode_slots(request.candidates, slots)
    except FeatureError as error:
        raise invalid(error.path, error.problem) from None
    return {
        **user,
        **items,
        "objective_weights": np.array(plan.weights, np.float32),
        "trade_off": np.array(plan.trade_off, np.float32),
        "window": np.array(plan.window, np.int64),
    }


def _timings(progress: Progress) -> Timings:
    ms = {stage: round(seconds * 1e3, 3) for stage, seconds in progress.stages.items()}
    return Timings(
        decode=ms["decode"],
        queue=ms["queue"],
        encode=ms["encode"],
        wait=ms["wait"],
        infer=ms["infer"],
        total=round(progress.elapsed * 1e3, 3),
    )
