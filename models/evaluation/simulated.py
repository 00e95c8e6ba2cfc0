"""Planners and value models where the truth is known: on the simulator's requests, valued by its closed form.

Every row of the table is a planner under a notion of value, so that one sees what each loses: the planner (the same
search with the true value), the value model (exhaustive search under the learnt value), and both. `random` and
`optimum` frame them: optimality is (V − V̄ of random lists) / (V* − V̄).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import perm

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import Checkpoint
from models.datasets.simulator import SimulatedRequest, Simulator
from models.features import Encoder
from models.formulas import compile_formula
from models.lists import ListRecord
from models.manifest import Limits
from models.partition import descending
from models.planners.exhaustive import best_list
from models.planners.objective import default_queues, objective_formula
from models.planners.prepare import Preparer, score_columns
from models.planners.queues import queue_graph
from models.planners.reference import Preferences, plan_queues
from models.planners.runtime import GraphPlanner
from models.pointwise import PointwiseModel
from models.value import expected_counts

MOST_LISTS = 2000
"""Searching exhaustively is offered up to this many lists a request: 8 choose and order 4 are 1,680."""

RANDOM_LISTS = 100
Lists = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Case:
    """A request to plan for: what a service would see of it, and its truth."""

    record: ListRecord
    truth: SimulatedRequest
    simulator: Simulator
    length: int

    def values(self, lists: Lists) -> Floats:
        """True (clicks, conversions, GMV) [k, 3] of lists [k, m] of candidate indices."""
        return self.simulator.list_value(self.truth, lists)[:, -1]

    def gains(self, chosen: Sequence[int], candidates: Sequence[int]) -> Floats:
        """True increments [n, 3] of appending each candidate to the chosen list."""
        cumulative = self.simulator.list_value(self.truth, np.array([[*chosen, c] for c in candidates], np.int64))
        before = cumulative[:, -2] if chosen else np.zeros_like(cumulative[:, -1])
        return cumulative[:, -1] - before


Planner = Callable[[Case, Preferences], Sequence[int] | Lists]
"""A planner returns candidate indices, `case.length` of them."""


def planners(
    checkpoint: Checkpoint, length: int, head_widths: Sequence[int], pointwise: PointwiseModel | None, candidates: int
) -> dict[str, Planner]:
    """The rows of the table, by name, weakest notion of value first."""
    rows: dict[str, Planner] = {
        "input order": lambda case, _: np.arange(case.length),
        "formula sort, prior scores": partial(_formula_sort, checkpoint, None),
    }
    if pointwise is not None:
        rows["formula sort, pointwise model"] = partial(_formula_sort, checkpoint, pointwise)
    for width in head_widths:
        rows[f"SORT-Gen, h={width}"] = _sort_gen(checkpoint, length, width)
    searchable = perm(candidates, length) <= MOST_LISTS
    if searchable:
        rows["learnt value, exhaustive"] = partial(_exhaustive_learnt, checkpoint)
    for width in head_widths:
        rows[f"true value, queues h={width}"] = partial(_true_queues, checkpoint, width)
    rows["true value, greedy over all"] = _true_greedy
    if searchable:
        rows["true value, exhaustive"] = lambda case, wish: best_list(
            case.values, len(case.record.candidates), case.length, wish
        )
    return rows


def run_planners(
    cases: Sequence[Case], rows: Mapping[str, Planner], preferences: Preferences
) -> tuple[dict[str, Floats], Floats]:
    """True values [cases, 3] of each planner's lists, and of the mean of `RANDOM_LISTS` random lists."""
    values = {
        name: np.array([case.values(np.array([planner(case, preferences)], np.int64))[0] for case in cases])
        for name, planner in rows.items()
    }
    return values, np.array([_random_value(case, seed) for seed, case in enumerate(cases)])


def _random_value(case: Case, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    n = len(case.record.candidates)
    lists = np.argsort(rng.random((RANDOM_LISTS, n)), axis=1)[:, : case.length]
    mean: Floats = case.values(lists).mean(axis=0)
    return mean


def _formula_sort(
    checkpoint: Checkpoint, pointwise: PointwiseModel | None, case: Case, preferences: Preferences
) -> Lists:
    record = case.record
    columns = dict(score_columns(record.candidates, preferences, Encoder(checkpoint.spec)))
    if pointwise is not None:
        columns |= pointwise.scores(record.user, record.context, record.candidates)
    formula = compile_formula(objective_formula(checkpoint.spec, checkpoint.units))
    return descending(formula(columns, len(record.candidates)))[: case.length]


def preparer(checkpoint: Checkpoint, length: int, width: int) -> Preparer:
    """Requests as a bundle exported with default queues would get them."""
    queues = default_queues(checkpoint.spec, checkpoint.units)
    return Preparer(Encoder(checkpoint.spec), Limits(length, len(queues), width), queues)


def _sort_gen(checkpoint: Checkpoint, length: int, width: int) -> Planner:
    prepare = preparer(checkpoint, length, width)
    graph = GraphPlanner(queue_graph(checkpoint.model, prepare.limits, checkpoint.units).build({}))

    def plan(case: Case, preferences: Preferences) -> Lists:
        batch, slots = prepare(case.record, preferences)
        chosen: Lists = slots[np.asarray(graph(batch)["order"][0], np.int64)]
        return chosen

    return plan


def _true_queues(checkpoint: Checkpoint, width: int, case: Case, preferences: Preferences) -> list[int]:
    prepare = preparer(checkpoint, case.length, width)
    _, slots = prepare(case.record, preferences)
    queues = slots.reshape(prepare.limits.queues, case.length)
    return _plan_truly(case, [queue[queue >= 0].tolist() for queue in queues], width, preferences)


def _true_greedy(case: Case, preferences: Preferences) -> list[int]:
    everyone = list(range(len(case.record.candidates)))
    return _plan_truly(case, [everyone], len(everyone), preferences)


def _plan_truly(case: Case, queues: list[list[int]], width: int, preferences: Preferences) -> list[int]:
    nowhere = np.zeros((len(case.record.candidates), 1), np.float32)
    steps = plan_queues(case.gains, queues, nowhere, preferences, length=case.length, head_width=width)
    return [step.slot for step in steps]


def _exhaustive_learnt(checkpoint: Checkpoint, case: Case, preferences: Preferences) -> Lists:
    encoder = Encoder(checkpoint.spec)
    items = encoder.encode_items(case.record.candidates)
    user = encoder.encode_user(case.record.user, case.record.context)

    def values(lists: Lists) -> Floats:
        index = torch.from_numpy(np.array(lists))
        batch = {name: torch.from_numpy(array)[index] for name, array in items.items()}
        batch |= {name: torch.from_numpy(array).expand(len(lists), -1) for name, array in user.items()}
        with torch.inference_mode():
            counts = expected_counts(checkpoint.model(batch)).double().numpy()
        conversions = np.diff(counts[:, :, 1], axis=1, prepend=0.0)
        gmv = (conversions * np.asarray(items["price"], np.float64)[lists]).sum(axis=1)
        return np.column_stack([counts[:, -1], gmv])

    return best_list(values, len(case.record.candidates), case.length, preferences)
