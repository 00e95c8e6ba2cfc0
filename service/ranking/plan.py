"""Fill in the defaults of a request, check limits, and deal candidates to slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.contract.candidates import CandidateTable
from models.contract.manifest import Manifest, Partition, QueueSpec
from models.contract.rules.ruling import Ruling
from models.contract.rules.tensors import GROUPS
from models.contract.scalars import FeatureError
from models.contract.slots import ScoreTable, Slots, fill_slots
from service.contract.fitting import check_queue_count, complete_weights
from service.contract.problems import invalid
from service.contract.schemas import Diversity, Objectives, Queue, RerankRequest
from service.ranking.request_items import RequestItems
from service.ranking.ruling import compile_ruling, most_places


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """Wishes of one request, complete.

    Weights are α, β, γ in the order of `OBJECTIVES`; `top_n` is already at most the number of candidates that may be
    returned. `ruling` is None for a request without rules and without shown items.
    """

    top_n: int
    weights: tuple[float, ...]
    trade_off: float
    window: int
    queues: Sequence[Queue | QueueSpec]
    queues_requested: bool
    partition: Partition
    ruling: Ruling | None


def make_plan(request: RerankRequest, items: RequestItems, manifest: Manifest) -> RequestPlan:
    """Fill in the bundle's defaults.

    Raises `Problem` (422) if there are more queues than the model has, for weights that are all zero, of what the
    model does not value, or another mix than the only one that it knows, and for rules that need a graph that it lacks.
    """
    diversity = request.diversity or Diversity()
    default = manifest.diversity
    queues = request.queues
    check_queue_count(queues, manifest)
    trade_off = default.trade_off if diversity.trade_off is None else diversity.trade_off
    window = default.window if diversity.window is None else diversity.window
    weights = complete_weights(request.objectives or Objectives(), manifest)
    ruling = compile_ruling(request, items, manifest, mmr_window=window if trade_off < 1 else 0)
    most = len(items.table) if ruling is None else ruling.length
    return RequestPlan(
        top_n=min(most_places(request, manifest), most),
        weights=weights,
        trade_off=trade_off,
        window=window,
        queues=manifest.queues if queues is None else queues,
        queues_requested=queues is not None,
        partition=request.partition or manifest.partition,
        ruling=ruling,
    )


def deal(candidates: CandidateTable, plan: RequestPlan, manifest: Manifest) -> tuple[ScoreTable, Slots]:
    """Read the scores and fill the slots. Raises `Problem` (422) naming the field."""
    shape = manifest.limits.queues, manifest.places(len(plan.queues))
    try:
        table = ScoreTable(candidates, plan.weights, manifest.spec)
        slots = fill_slots(
            table,
            plan.queues,
            plan.partition,
            shape,
            requested=plan.queues_requested,
            ruling=plan.ruling,
            steps=manifest.limits.list_length,
            groups=GROUPS if manifest.ruled is None else manifest.ruled.groups,
        )
    except FeatureError as error:
        raise invalid(error.path, error.problem) from None
    return table, slots.filled() if manifest.any_slots else slots
