"""Plan without training: the sort by prior scores, a random list, and searches of the evaluator.

The lists of the test requests go to the planner's folder. Labels and judges are never seen.

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

from models.baselines.lists import best_first
from models.contract.arrays import Ints
from models.evaluation.degre.data import save_array
from models.evaluation.degre.hit_rate import random_lists
from models.evaluation.degre.judges import EVALUATOR, features, mix_values
from models.evaluation.degre.planners_table import EXHAUSTIVE, GREEDY, PRIOR, RANDOM, PlannerRow
from models.evaluation.degre.value_steps import load_exhaustive
from models.evaluation.degre.workspace import LISTS_FILE, Workspace, chunks, exhaustive_step, planner_step
from models.evaluation.steps import ExperimentStep, read_marker
from models.planners.search.beam import beam_search
from models.planners.search.local_search import improve
from models.planners.search.prefix import list_outcomes
from models.planners.worth import Worth

_REQUESTS: Final = 64
_RANDOM_SEED: Final = 99


def search_step(space: Workspace, planner: PlannerRow, mix: int) -> ExperimentStep:
    """Make the step of a planner's lists [R, L] of the test requests under one objective mix."""

    def run(folder: Path) -> Mapping[str, Any]:
        lists = _planned(space, planner, mix)
        save_array(folder / LISTS_FILE, lists)
        return {"requests": len(lists)}

    group = "exhaustive" if planner == EXHAUSTIVE else "search" if mix == 0 else "mixes"
    options = {**space.sizes("length", "test_requests"), "mixes": space.profile.objectives}
    if planner.searches is not None:
        options |= space.sizes("beam", "local_search", "exhaustive_requests")
    return ExperimentStep(planner_step(planner.name, mix, 0), group, options, run)


def _planned(space: Workspace, planner: PlannerRow, mix: int) -> Ints:
    if planner == RANDOM:
        rows = range(len(space.test))
        return random_lists(space.candidates, rows, space.profile.length, 1, seed=_RANDOM_SEED)[:, 0]
    if planner == PRIOR:
        return _prior(space, mix)
    if planner == EXHAUSTIVE:
        return _exhaustive(space, mix)
    width = 1 if planner == GREEDY else space.profile.beam
    return searched(space, mix, width=width, local_search=planner.name == "beam-local-search")


def searched(space: Workspace, mix: int, *, width: int, local_search: bool) -> Ints:
    """Search the evaluator by a beam, and from its lists by local search if asked; the best lists [R, L]."""
    worth = Worth(space.mixes[mix], space.data.units)
    found = []
    for rows in tqdm(list(chunks(len(space.test), _REQUESTS)), desc="search", unit="batch", disable=None):
        part = features(space.test.take(rows), space.device)
        beams = beam_search(space.evaluator, part, worth, space.profile.length, width)
        lists = best_lists(beams.lists, beams.step_values[:, :, -1])
        if local_search:
            starts = beams.lists if space.profile.local_search == "all" else lists[:, None]
            lists = _best_under(space, part, worth, improve(space.evaluator, part, worth, starts))
        found.append(lists.cpu().numpy())
    return np.concatenate(found)


def best_lists(lists: Tensor, values: Tensor) -> Tensor:
    """Pick the list of the highest value of each request, [R, L] from [R, B, L] and [R, B]; the first on ties."""
    best = values.argmax(dim=1)
    return lists[torch.arange(len(lists), device=lists.device), best]


def _best_under(space: Workspace, batch: dict[str, Tensor], worth: Worth, lists: Tensor) -> Tensor:
    if lists.shape[1] == 1:
        return lists[:, 0]
    return best_lists(lists, worth(list_outcomes(space.evaluator, batch, lists)[:, :, -1]))


def _prior(space: Workspace, mix: int) -> Ints:
    values = mix_values(space.data.prior[space.test_rows], [space.mixes[mix]], space.data.units)[0]
    valid = torch.from_numpy(space.candidates)
    lists: Ints = best_first(torch.from_numpy(values), valid, space.profile.length).numpy()
    return lists


def _exhaustive(space: Workspace, mix: int) -> Ints:
    marker = read_marker(space.root, exhaustive_step(EVALUATOR))
    if marker is None:
        raise ValueError(f"{space.root / exhaustive_step(EVALUATOR)}: all lists must be valued first")
    best = [lists[mix] for _, lists in load_exhaustive(space.root, EVALUATOR, int(marker["notes"]["requests"]))]
    return np.array(best, np.int64).reshape(-1, space.profile.length)
