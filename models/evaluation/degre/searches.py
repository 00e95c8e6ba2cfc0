"""Make the steps of planners without training: sorts, and searches of a value model.

Axis letters: R requests, B beam width, L positions, N candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from models.baselines.generators.lists import best_first
from models.contract.arrays import Ints
from models.data.batches import Batch
from models.evaluation.degre import planners_table
from models.evaluation.degre.hit_rate import random_lists
from models.evaluation.degre.judges import EVALUATOR, features, mix_values
from models.evaluation.degre.planners_table import PlannerRow, Search
from models.evaluation.degre.value_steps import load_exhaustive
from models.evaluation.degre.workspace import (
    DATA,
    LISTS_FILE,
    Workspace,
    chunks,
    exhaustive_step,
    planner_step,
    save_array,
    value_step,
)
from models.evaluation.planning import ServedPlanner
from models.evaluation.steps import ExperimentStep
from models.nets.value import ListValueModel
from models.planners.references.sort_gen import Preferences
from models.planners.search.beam import beam_search
from models.planners.search.local_search import improve
from models.planners.search.prefix import list_outcomes
from models.planners.worth import Worth

_SEARCHED: Final = 64
"""Requests of a pass of a search."""
_RANDOM_SEED: Final = 99


def search_step(space: Workspace, planner: PlannerRow, mix: int) -> ExperimentStep:
    """Make the step of a planner's lists [R, L] of the test requests under one objective mix."""

    def run(folder: Path) -> Mapping[str, Any]:
        lists = _planned(space, planner, mix)
        save_array(folder / LISTS_FILE, lists)
        return {"requests": len(lists)}

    group = "exhaustive" if planner == planners_table.EXHAUSTIVE else planner.family if mix == 0 else "mixes"
    options = {**space.sizes("length", "test_requests"), "mixes": space.profile.objectives}
    if planner == planners_table.EXHAUSTIVE:
        options |= space.sizes("exhaustive_requests")
    elif planner.search is not None:
        options |= {"width": planner.search.width, "local_search": planner.search.local_search}
    group = "search" if group == "reference" else group
    return ExperimentStep(planner_step(planner.name, mix, 0), group, options, run, _needs(planner))


def _needs(planner: PlannerRow) -> tuple[str, ...]:
    if planner == planners_table.EXHAUSTIVE:
        return (exhaustive_step(EVALUATOR),)
    return (DATA,) if planner.searches is None else (value_step(planner.searches),)


def _planned(space: Workspace, planner: PlannerRow, mix: int) -> Ints:
    if planner == planners_table.RANDOM:
        rows = range(len(space.test))
        return random_lists(space.candidates, rows, space.profile.length, 1, seed=_RANDOM_SEED)[:, 0]
    if planner == planners_table.PRIOR:
        values = mix_values(space.data.prior[space.test_rows], [space.mixes[mix]], space.data.units)[0]
        valid = torch.from_numpy(space.candidates)
        return np.asarray(best_first(torch.from_numpy(values), valid, space.profile.length))
    if planner == planners_table.EXHAUSTIVE:
        best = [lists[mix] for _, lists in load_exhaustive(space.root, EVALUATOR)]
        return np.array(best, np.int64).reshape(-1, space.profile.length)
    assert planner.search is not None
    assert planner.searches is not None
    if planner.search.method == "queues":
        return _queued(space, planner.searches, mix)
    return searched(space, planner.searches, planner.search, mix)


def searched(space: Workspace, name: str, search: Search, mix: int) -> Ints:
    """Search the value model called `name` for the best lists of the test requests, [R, L]."""
    model = space.checkpoint(name).model.eval()
    worth, length = Worth(space.mixes[mix], space.data.units), space.profile.length
    found = []
    for rows in tqdm(list(chunks(len(space.test), _SEARCHED)), desc="search", unit="batch", disable=None):
        part = features(space.test.take(rows), space.device)
        if search.method == "sort":  # the best lists of one item each, best first
            lists = beam_search(model, part, worth, 1, length).lists[:, :, 0]
        else:
            lists = _best(model, part, worth, length, search)
        found.append(lists.cpu().numpy())
    return np.concatenate(found)


def _queued(space: Workspace, name: str, mix: int) -> Ints:
    """Plan by SORT-Gen's default queues, as a service with the value model would."""
    plan = ServedPlanner.of(space.checkpoint(name), space.profile.length)
    return plan(space.test_records, Preferences(space.mixes[mix], space.data.units))


def _best(model: ListValueModel, batch: Batch, worth: Worth, length: int, search: Search) -> Tensor:
    """Find the best list of a beam, or of the local searches from its lists, [R, length]."""
    beams = beam_search(model, batch, worth, length, search.width)
    lists = beams.lists[:, :1] if search.local_search != "all" else beams.lists
    if search.local_search == "none":
        return lists[:, 0]
    ends = improve(model, batch, worth, lists)
    values = worth(list_outcomes(model, batch, ends)[:, :, -1]).masked_fill(ends[:, :, 0] < 0, -torch.inf)
    return ends[torch.arange(len(ends), device=ends.device), values.argmax(dim=1)]
