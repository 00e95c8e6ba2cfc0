"""Plan by scores of single items: the base, and rivals of Table 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from models.baselines.scorers.lambdarank import LambdarankModel
from models.baselines.scorers.pointwise import PointwiseModel
from models.baselines.selection.formulas import read_front
from models.baselines.selection.items import sort_items
from models.contract.arrays import Floats, Ints
from models.data.records import ListRecord
from models.evaluation.truth.fits.formulas import FRONT_FILE
from models.evaluation.truth.method import TRIED, Method, Plan, PlanContext, Setting
from models.evaluation.truth.selecting import TRADE_OFFS, Select, dpp, mmr, plan_by_scores, scored_items, sort

_Scores = Callable[[PlanContext, Sequence[ListRecord]], Sequence[Mapping[str, Floats]] | None]
"""Score the candidates of records; None leaves them their own scores."""


def _own_scores(context: PlanContext, records: Sequence[ListRecord]) -> None:
    del context, records


def _pointwise_scores(context: PlanContext, records: Sequence[ListRecord]) -> Sequence[Mapping[str, Floats]]:
    return PointwiseModel.load(context.needs["pointwise"], context.bench.spec).request_scores(records)


def _ltr_scores(context: PlanContext, records: Sequence[ListRecord]) -> Sequence[Mapping[str, Floats]]:
    return LambdarankModel.load(context.needs["ltr"], context.bench.spec).request_scores(records)


def _planner(scores: _Scores, rule: Callable[[Setting], Select]) -> Plan:
    """Plan by the objective formula over some scores, and the rule that a setting makes."""

    def plan(context: PlanContext, records: Sequence[ListRecord], setting: Setting) -> Ints:
        return plan_by_scores(context, records, scores(context, records), rule(setting))

    return plan


def _sort(_: Setting) -> Select:
    return sort


def _plan_pareto(context: PlanContext, records: Sequence[ListRecord], setting: Setting) -> Ints:
    """Sort by the formula of one point of the front, counted from 0.

    A front with fewer points stands for its last one from there on.
    """
    front = read_front(context.needs["pareto"] / FRONT_FILE)
    point = front[min(int(setting or 0), len(front) - 1)]
    return sort_items(scored_items(context, records, point.formula), context.bench.length)


_tuned = partial(Method, group="rivals", settings=TRADE_OFFS)

METHODS: Final[tuple[Method, ...]] = (
    Method("base", "Base: sort by the formula", "base", _planner(_own_scores, _sort), seeded=False),
    Method("ltr", "LTR (lambdarank)", "rivals", _planner(_ltr_scores, _sort), ("ltr",)),
    Method(
        "pareto",
        "Pareto-efficient formulas",
        "rivals",
        _plan_pareto,
        ("pareto",),
        settings=tuple(map(float, range(TRIED))),
    ),
    _tuned("fast-dpp", "Formula + fastDPP", plan=_planner(_own_scores, dpp), seeded=False),
    _tuned("mmr", "Formula + MMR", plan=_planner(_own_scores, mmr), seeded=False),
    Method("pointwise", "Pointwise model", "rivals", _planner(_pointwise_scores, _sort), ("pointwise",)),
    _tuned("pointwise-mmr", "Pointwise model + MMR", plan=_planner(_pointwise_scores, mmr), needs=("pointwise",)),
    _tuned("pointwise-dpp", "Pointwise model + fastDPP", plan=_planner(_pointwise_scores, dpp), needs=("pointwise",)),
)
