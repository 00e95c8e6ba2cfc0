"""Plan by sorting scores, with and without diversity: the base and the rivals of Table 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from models.baselines.scorers.lambdarank import LambdarankModel
from models.baselines.scorers.pointwise import PointwiseModel
from models.baselines.selection.formulas import read_front
from models.contract.arrays import Floats, Ints
from models.data.records import ListRecord
from models.evaluation.truth.fits.formulas import FRONT_FILE
from models.evaluation.truth.method import TRIED, Method, Plan, PlanContext, Setting
from models.evaluation.truth.selecting import TRADE_OFFS, Select, dpp, mmr, plan_by_scores, scored_items, sort

_Scores = Callable[[PlanContext, Sequence[ListRecord]], Sequence[Mapping[str, Floats]] | None]
"""Score the candidates of records; None leaves them their own scores."""

_Rule = Callable[[PlanContext, Setting], Select]
"""Make the rule that selects from a setting."""


def _own_scores(context: PlanContext, records: Sequence[ListRecord]) -> None:
    del context, records


def _pointwise_scores(context: PlanContext, records: Sequence[ListRecord]) -> Sequence[Mapping[str, Floats]]:
    return PointwiseModel.load(context.needs["pointwise"], context.bench.spec).request_scores(records)


def _ltr_scores(context: PlanContext, records: Sequence[ListRecord]) -> Sequence[Mapping[str, Floats]]:
    return LambdarankModel.load(context.needs["ltr"], context.bench.spec).request_scores(records)


def _by_sort(context: PlanContext, setting: Setting) -> Select:
    del context, setting
    return sort


def _by_mmr(context: PlanContext, setting: Setting) -> Select:
    """Take the setting as λ; the window is that of the preferences."""
    return mmr(setting, context.preferences.window)


def _by_dpp(context: PlanContext, setting: Setting) -> Select:
    """Take the setting as θ; all chosen items count."""
    del context
    return dpp(setting)


def _planner(scores: _Scores, rule: _Rule) -> Plan:
    """Plan by the objective formula over some scores, and a rule that selects."""

    def plan(context: PlanContext, records: Sequence[ListRecord], setting: Setting) -> Ints:
        return plan_by_scores(context, records, scores(context, records), rule(context, setting))

    return plan


def _plan_pareto(context: PlanContext, records: Sequence[ListRecord], setting: Setting) -> Ints:
    """Sort by the formula of one point of the front, counted from 0; a front with fewer ends with its last."""
    front = read_front(context.needs["pareto"] / FRONT_FILE)
    point = front[min(int(setting or 0), len(front) - 1)]
    return sort(scored_items(context, records, point.formula), context.bench.length)


_tuned = partial(Method, group="rivals", settings=TRADE_OFFS)

METHODS: Final[tuple[Method, ...]] = (
    Method("base", "Base: sort by the formula", "base", _planner(_own_scores, _by_sort), seeded=False),
    Method("ltr", "LTR (lambdarank)", "rivals", _planner(_ltr_scores, _by_sort), ("ltr",)),
    Method(
        "pareto",
        "Pareto-efficient formulas",
        "rivals",
        _plan_pareto,
        ("pareto",),
        settings=tuple(map(float, range(TRIED))),
    ),
    _tuned("fast-dpp", "Formula + fastDPP", plan=_planner(_own_scores, _by_dpp)),
    _tuned("mmr", "Formula + MMR", plan=_planner(_own_scores, _by_mmr)),
    Method("pointwise", "Pointwise model", "rivals", _planner(_pointwise_scores, _by_sort), ("pointwise",)),
    _tuned("pointwise-mmr", "Pointwise model + MMR", plan=_planner(_pointwise_scores, _by_mmr), needs=("pointwise",)),
    _tuned(
        "pointwise-dpp", "Pointwise model + fastDPP", plan=_planner(_pointwise_scores, _by_dpp), needs=("pointwise",)
    ),
)
