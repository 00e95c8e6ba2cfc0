"""Fill in the defaults of a request, check limits, and deal candidates to slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.contract.features import FeatureError
from models.contract.manifest import Manifest, Partition, QueueSpec
from models.contract.slots import ScoreTable, Slots, fill_slots
from service.contract.fitting import check_queue_count, complete_weights
from service.contract.problems import invalid
from service.contract.schemas import Candidate, Diversity, Objectives, Queue, RerankRequest


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """Wishes of one request, complete.

    Weights are α, β, γ in the order of `OBJECTIVES`; `top_n` is already at most the number of candidates.
    """

    top_n: int
    weights: tuple[float, ...]
    trade_off: float
    window: int
    queues: Sequence[Queue | QueueSpec]
    queues_requested: bool
    partition: Partition


def make_plan(request: RerankRequest, manifest: Manifest) -> RequestPlan:
    """Fill in the bundle's defaults.

    Raises `Problem` (422) if there are more queues than the model has, or for weights that are all zero, of what the
    model does not value, or another mix than the only one that it knows.
    """
    diversity = request.diversity or Diversity()
    default = manifest.diversity
    queues = request.queues
    check_queue_count(queues, manifest)
    return RequestPlan(
        top_n=min(request.top_n or manifest.limits.list_length, len(request.candidates)),
        weights=complete_weights(request.objectives or Objectives(), manifest),
        trade_off=default.trade_off if diversity.trade_off is None else diversity.trade_off,
        window=default.window if diversity.window is None else diversity.window,
        queues=manifest.queues if queues is None else queues,
        queues_requested=queues is not None,
        partition=request.partition or manifest.partition,
    )


def deal(candidates: Sequence[Candidate], plan: RequestPlan, manifest: Manifest) -> tuple[ScoreTable, Slots]:
    """Read the scores and fill the slots. Raises `Problem` (422) naming the field."""
    shape = manifest.limits.queues, manifest.places(len(plan.queues))
    try:
        table = ScoreTable(candidates, plan.weights, manifest.spec)
        slots = fill_slots(table, plan.queues, plan.partition, shape, requested=plan.queues_requested)
    except FeatureError as error:
        raise invalid(error.path, error.problem) from None
    return table, slots.filled() if manifest.any_slots else slots
