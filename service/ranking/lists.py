"""Make finished lists, by the model or without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.contract.arrays import AnyArray, Arrays, Ints
from models.contract.rules.ledger import Ledger
from models.contract.rules.tensors import STEP_BARS
from models.contract.scalars import FeatureError
from models.contract.spec import OBJECTIVES
from service.contract.problems import invalid
from service.contract.schemas import Degraded, DegradedReason, Item, ObjectiveValues
from service.inference.engine import Answer
from service.ranking.answer import build_items, explain_items
from service.ranking.dealt import DealtRequest
from service.ranking.fallback import Places, formula_list, input_list, rank_rest
from service.ranking.outputs import check_outputs
from service.ranking.ruled import fill_places, rank_boosted, ruled_formula_list
from service.telemetry.records import Choice
from service.timing.deadline import Deadline

_NOTHING: Final = ObjectiveValues(0.0, 0.0, 0.0)
_NO_QUEUES: Final = np.zeros(0, np.int64)
_NO_EMBEDDINGS: Final = np.zeros((0, 1), np.float32)


@dataclass(frozen=True, slots=True)
class Listing:
    """A finished list: items, their expected value, and its maker.

    The maker is `choice`, or the reason in `degraded`. `queues` [n] and `embeddings` [n, E] are those of the n items
    that the model chose. `relaxed` names the rules that could not be kept.
    """

    items: list[Item]
    value: ObjectiveValues
    choice: Choice | None
    degraded: Degraded | None
    queues: Ints
    embeddings: AnyArray
    relaxed: tuple[str, ...] = ()


def model_list(dealt: DealtRequest, row: Arrays, answer: Answer) -> Listing:
    """Build the model's list. Raises `EngineError` if its answer is impossible, or breaks a rule."""
    request, plan, slots, ruled = dealt.request, dealt.plan, dealt.slots, dealt.model.manifest.ruled
    groups = ruled.groups if ruled is not None and STEP_BARS in row else None
    chosen = check_outputs(answer.outputs, slots, dealt.model, plan.top_n, ruling=plan.ruling, groups=groups)
    steps, ledger = chosen.steps, chosen.ledger
    picked = slots.candidates[steps].tolist()
    rest = _rest(dealt, picked, ledger)
    items = build_items(dealt.candidates.ids, picked, rest, plan.ruling)
    if request.explain:
        items = explain_items(items, dealt, steps, answer.outputs)
    choice: Choice = "sort" if chosen.kept_sort else "plan"
    relaxed = () if ledger is None else ledger.relaxed
    return Listing(items, chosen.value, choice, None, slots.queues[steps], row["embeddings"][steps], relaxed)


def bypass_list(dealt: DealtRequest) -> Listing | None:
    """Build the list of a request for which the model need not run, else None.

    It need not where nothing learnt is kept for the objectives, and where no candidate may be returned. Raises
    `Problem` (422).
    """
    manifest, plan = dealt.model.manifest, dealt.plan
    if plan.top_n and not manifest.bypassed(dict(zip(OBJECTIVES, plan.weights, strict=True))):
        return None
    made = _by_formula(dealt) if plan.top_n else _in_order_given(dealt)
    return None if made is None else _unmodelled(dealt, *made, "bypass", None)


def degraded_list(dealt: DealtRequest, reason: DegradedReason, deadline: Deadline) -> Listing:
    """Build the list by the score formula, or without time in the order given.

    Raises `Problem` (422).
    """
    made = None if deadline.too_late_for_formula else _by_formula(dealt)
    places, relaxed = _in_order_given(dealt) if made is None else made
    level = places[0][1] if places else "input"
    return _unmodelled(dealt, places, relaxed, None, Degraded(reason, level))


def _rest(dealt: DealtRequest, picked: list[int], ledger: Ledger | None) -> Places:
    """Fill the places behind the model's picks."""
    plan, manifest, n = dealt.plan, dealt.model.manifest, len(dealt.candidates)
    missing = plan.top_n - len(picked)
    if not missing:
        return []
    if plan.ruling is None or ledger is None:
        return rank_rest(dealt.table, manifest, picked, n, missing)
    ranked = rank_boosted(dealt, plan.ruling)
    return fill_places(ledger, input_list(n) if ranked is None else ranked, missing)


def _by_formula(dealt: DealtRequest) -> tuple[Places, tuple[str, ...]] | None:
    """Make a list by the formula, if there is one, and name the rules relaxed.

    Raises `Problem` (422) for an embedding that no one had to read before.
    """
    ruling = dealt.plan.ruling
    ledger = None if ruling is None else Ledger(ruling)
    try:
        if ruling is None or ledger is None:
            places = formula_list(dealt.candidates, dealt.table, dealt.plan, dealt.model.manifest)
        else:
            places = ruled_formula_list(dealt, ruling, ledger)
    except FeatureError as error:
        raise invalid(error.path, error.problem) from None
    return None if places is None else (places, () if ledger is None else ledger.relaxed)


def _in_order_given(dealt: DealtRequest) -> tuple[Places, tuple[str, ...]]:
    """Make a list in the order of the request, and name the rules relaxed."""
    plan = dealt.plan
    if plan.ruling is None:
        return input_list(plan.top_n), ()
    ledger = Ledger(plan.ruling)
    return fill_places(ledger, input_list(len(dealt.candidates)), plan.top_n), ledger.relaxed


def _unmodelled(
    dealt: DealtRequest, places: Places, relaxed: tuple[str, ...], choice: Choice | None, degraded: Degraded | None
) -> Listing:
    """Build a list of which the model chose nothing."""
    items = build_items(dealt.candidates.ids, (), places, dealt.plan.ruling)
    return Listing(items, _NOTHING, choice, degraded, _NO_QUEUES, _NO_EMBEDDINGS, relaxed)
