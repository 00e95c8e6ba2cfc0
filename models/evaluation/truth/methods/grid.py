"""Pair every value model with every planner: the grid.

The planners, from the one that asks the model least:

- *sort*: by what each item is worth alone at the first place (the sort by the formula asks no model: it is the base);
- *queues*, *queues-beam*: SORT-Gen's search of the objective queues, greedy and with its beam;
- *beam*: a beam over all candidates;
- *local-search*: the best list of that beam, improved by swaps and replacements;
- *pointer*: DeGRe's generator, where one was distilled from the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from models.contract.arrays import Ints
from models.data.records import ListRecord
from models.evaluation.planning import learnt_beam, learnt_local_search, learnt_sort
from models.evaluation.truth.fits import generators
from models.evaluation.truth.fits.value_models import DEGRE_EVALUATOR, DEGRE_EVALUATOR_PAPER, SORT, SORT_PAPER
from models.evaluation.truth.method import Fit, Method, Plan, PlanContext
from models.evaluation.truth.methods import generated
from models.evaluation.truth.methods.sort_gen import BEAM, GREEDY
from models.evaluation.truth.searches import learnt_plan, queue_plan
from models.nets.checkpoint import Checkpoint

GROUP: Final = "grid"
MODELS: Final[Mapping[str, str]] = {
    SORT_PAPER: "SORT, papers' head",
    SORT: "SORT",
    DEGRE_EVALUATOR_PAPER: "DeGRe's evaluator, papers' head",
    DEGRE_EVALUATOR: "DeGRe's evaluator",
}
"""Fit to title."""

PLANNERS: Final[Mapping[str, str]] = {
    "sort": "sort by the first place",
    "queues": "queues, greedy",
    "queues-beam": "queues, beam",
    "beam": "beam over all",
    "local-search": "local search from the beam",
    "pointer": "pointer",
}
"""Name to title."""

_POINTER: Final = "degre"
"""The method, and the fit, of the generator that was distilled."""


def grid_name(model: str, planner: str) -> str:
    """Name the method that pairs a value model with a planner."""
    return f"grid-{model}-{planner}"


def _sorted(checkpoint: Checkpoint, context: PlanContext, records: Sequence[ListRecord]) -> Ints:
    return learnt_sort(checkpoint, records, context.preferences, context.bench.length)


def _beam(checkpoint: Checkpoint, context: PlanContext, records: Sequence[ListRecord]) -> Ints:
    return learnt_beam(checkpoint, records, context.preferences, context.bench.length, context.profile.beam)


def _local_search(checkpoint: Checkpoint, context: PlanContext, records: Sequence[ListRecord]) -> Ints:
    return learnt_local_search(checkpoint, records, context.preferences, context.bench.length, context.profile.beam)


_PLANS: Final[Mapping[str, Callable[[str], Plan]]] = {
    "sort": lambda fit: learnt_plan(fit, _sorted),
    "queues": lambda fit: queue_plan(fit, GREEDY),
    "queues-beam": lambda fit: queue_plan(fit, BEAM),
    "beam": lambda fit: learnt_plan(fit, _beam),
    "local-search": lambda fit: learnt_plan(fit, _local_search),
}


def _searched(model: str, planner: str) -> Method:
    title = f"{MODELS[model]} × {PLANNERS[planner]}"
    return Method(grid_name(model, planner), title, GROUP, _PLANS[planner](model), needs=(model,))


def pointers(fits: Iterable[Fit], methods: Iterable[Method]) -> list[Method]:
    """List the distilled generator as a planner of the value model that its fit needs."""
    needs = {fit.name: fit.needs for fit in fits}
    return [
        replace(method, name=grid_name(model, "pointer"), title=f"{MODELS[model]} × {PLANNERS['pointer']}", group=GROUP)
        for method in methods
        if method.name == _POINTER
        for model in needs[_POINTER]
        if model in MODELS
    ]


METHODS: Final[tuple[Method, ...]] = (
    *(_searched(model, planner) for model in MODELS for planner in _PLANS),
    *pointers(generators.FITS, generated.METHODS),
)
