"""Deal one request to its model's slots, and encode it for the graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.contract.arrays import Arrays, Ints
from models.contract.candidates import CandidateTable
from models.contract.features import encode_preferences
from models.contract.manifest import SORT_SLOTS
from models.contract.rules.tensors import STEP_BARS, rule_tensors
from models.contract.scalars import FeatureError
from models.contract.slots import ScoreTable, Slots, sort_slots
from service.bundles.model import Model
from service.contract.candidates import candidate_table
from service.contract.problems import invalid
from service.contract.schemas import RerankRequest
from service.ranking.plan import RequestPlan, deal, make_plan
from service.ranking.request_items import RequestItems


@dataclass(frozen=True, slots=True)
class DealtRequest:
    """A request that is known to be valid, with its model, plan and slots.

    `places` [k] are those of the candidates in the slots, without the empty ones.
    """

    request: RerankRequest
    items: RequestItems
    model: Model
    plan: RequestPlan
    table: ScoreTable
    slots: Slots
    places: Ints

    @property
    def candidates(self) -> CandidateTable:
        """Return the candidates, with all that is known of them."""
        return self.items.table


def deal_request(request: RerankRequest, model: Model, items: RequestItems | None = None) -> DealtRequest:
    """Fill in defaults and deal the queues. Raises `Problem` (422).

    `items` are the request's candidates. Without them they are read, and nothing but the request knows of them.
    """
    items = RequestItems.alone(candidate_table(request)) if items is None else items
    plan = make_plan(request, items, model.manifest)
    table, slots = deal(items.table, plan, model.manifest)
    return DealtRequest(request, items, model, plan, table, slots, slots.candidates[slots.candidates >= 0])


def encode_request(dealt: DealtRequest) -> Arrays:
    """Encode one request for the graph, without a batch axis. Raises `Problem` (422).

    It has the tensors of rules only where those can change the list, and the model has a graph for them.
    """
    request, plan, model = dealt.request, dealt.plan, dealt.model
    try:
        with np.errstate(over="ignore"):  # Numbers that overflow are clipped afterwards.
            user = model.encoder.encode_user(request.user, request.context)
            items = model.encoder.encode_slots(dealt.candidates, dealt.slots.candidates, dealt.places)
    except FeatureError as error:
        raise invalid(error.path, error.problem) from None
    arrays = {**user, **items, **encode_preferences(plan.weights, plan.trade_off, plan.window)}
    manifest, ruling, slots = model.manifest, plan.ruling, dealt.slots.candidates
    length = manifest.limits.list_length
    if SORT_SLOTS in model.inputs:
        arrays[SORT_SLOTS] = sort_slots(dealt.table, manifest.fallback, slots, length, ruling=ruling)
    if ruling is not None and ruling.binds and manifest.ruled is not None:
        arrays |= rule_tensors(ruling, slots, length=length, groups=manifest.ruled.groups)
    return arrays


def graph_inputs(model: Model, row: Arrays) -> Arrays:
    """Pick the arrays of the model's graph: the ruled one if `row` has its tensors."""
    return {name: row[name] for name in (model.ruled_inputs if STEP_BARS in row else model.inputs)}
