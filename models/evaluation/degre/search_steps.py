"""Planners without training of their own: the sort by prior scores, a random list, and searches of the evaluator.

Their lists of the test requests go to the planner's folder. They never see labels or judges.

Axis letters: R requests, B beam width, L positions, N candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from models.baselines.lists import best_first
from models.evaluation.degre.arrays import save_array
from models.evaluation.degre.hit_rate import random_lists
from models.evaluation.degre.judges import EVALUATOR, features, mix_values
from models.evaluation.degre.planners_table import EXHAUSTIVE, GREEDY, PRIOR, RANDOM, Planner
from models.evaluation.degre.profile import Profile
from models.evaluation.degre.steps import Step, read_marker
from models.evaluation.degre.value_steps import load_exhaustive
from models.evaluation.degre.workspace import (
    LISTS_FILE,
    Workspace,
    chunks,
    exhaustive_step,
    planner_step,
)
from models.planners.search.beam import beam_search
from models.planners.search.local_search import improve
from models.planners.search.prefix import list_outcomes
from models.planners.worth import Worth

Lists = NDArray[np.int64]

_REQUESTS: Final = 64
_RANDOM_SEED: Final = 99


def search_step(space: Workspace, planner: Planner, mix: int) -> Step:
    """The planner's lists [R, L] of the test requests under one objective mix."""
    profile = space.profile
    makers: Mapping[str, Callable[[Workspace, int], Lists]] = {
        RANDOM.name: _random,
        PRIOR.name: _prior,
        EXHAUSTIVE.name: _exhaustive,
        GREEDY.name: lambda space, mix: searched(space, mix, width=1, local_search=False),
        "beam": lambda space, mix: searched(space, mix, width=profile.beam, local_search=False),
        "beam-local-search": lambda space, mix: searched(space, mix, width=profile.beam, local_search=True),
    }

    def run(folder: Path) -> Mapping[str, Any]:
        lists = makers[planner.name](space, mix)
        save_array(folder / LISTS_FILE, lists)
        return {"requests": len(lists)}

    group = "search" if mix == 0 else "mixes"
    noted = {**_sizes(profile, planner), "mixes": profile.objectives}
    return Step(planner_step(planner.name, mix, 0), "exhaustive" if planner == EXHAUSTIVE else group, noted, run)


def searched(space: Workspace, mix: int, *, width: int, local_search: bool) -> Lists:
    """What beam search over the evaluator finds, and with local search from its lists, the best [R, L]."""
    worth = Worth(space.mixes[mix], space.data.units)
    found = []
    for rows in tqdm(list(chunks(len(space.test), _REQUESTS)), desc="search", unit="batch", disable=None):
        part = features(space.test.take(rows), space.device)
        beams = beam_search(space.evaluator, part, worth, space.profile.length, width)
        lists = best_lists(beams.lists, beams.step_values[:, :, -1])
        if local_search:
            starts = beams.lists if space.profile.local_search == "all" else lists[:, None]
            improved = improve(space.evaluator, part, worth, starts)
            lists = _best_under(space, part, worth, improved)
        found.append(lists.cpu().numpy())
    return np.concatenate(found)


def best_lists(lists: Tensor, values: Tensor) -> Tensor:
    """The list of the highest value of each request, [R, L] from [R, B, L] and [R, B]; the first one on ties."""
    best = values.argmax(dim=1)
    return lists[torch.arange(len(lists), device=lists.device), best]


def _best_under(space: Workspace, batch: dict[str, Tensor], worth: Worth, lists: Tensor) -> Tensor:
    if lists.shape[1] == 1:
        return lists[:, 0]
    return best_lists(lists, worth(list_outcomes(space.evaluator, batch, lists)[:, :, -1]))


def _random(space: Workspace, mix: int) -> Lists:
    del mix  # a random list wants nothing
    rows = range(len(space.test))
    return random_lists(space.candidates, rows, space.profile.length, 1, seed=_RANDOM_SEED)[:, 0]


def _prior(space: Workspace, mix: int) -> Lists:
    values = mix_values(space.data.prior[space.test_rows], [space.mixes[mix]], space.data.units)[0]
    valid = torch.from_numpy(space.candidates)
    lists: Lists = best_first(torch.from_numpy(values), valid, space.profile.length).numpy()
    return lists


def _exhaustive(space: Workspace, mix: int) -> Lists:
    marker = read_marker(space.root, exhaustive_step(EVALUATOR))
    if marker is None:
        raise ValueError(f"{space.root / exhaustive_step(EVALUATOR)}: all lists must be valued first")
    best = [lists[mix] for _, lists in load_exhaustive(space.root, EVALUATOR, int(marker["notes"]["requests"]))]
    return np.array(best, np.int64).reshape(-1, space.profile.length)


def _sizes(profile: Profile, planner: Planner) -> dict[str, Any]:
    names = ["length", "test_requests"]
    if planner.searches is not None:
        names += ["beam", "local_search", "exhaustive_requests"]
    return {name: getattr(profile, name) for name in names}
