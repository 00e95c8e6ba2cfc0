"""Make the steps of planners: search the evaluator, or mine, train and decode.

The lists of the test requests go to the planner's folder. Generators learn from the evaluator's half of the training
lists; labels of test requests and judges are never seen.

Axis letters: R requests, B beam width, S sequences, L positions, N candidates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from models.baselines.generators.lists import best_first
from models.baselines.generators.training import Generator, evaluator_calls, train_baseline
from models.contract.arrays import Ints
from models.data.batches import Batch
from models.data.slates import SlateArrays
from models.evaluation.degre import planners_table
from models.evaluation.degre.hit_rate import random_lists
from models.evaluation.degre.judges import EVALUATOR, features, mix_values
from models.evaluation.degre.value_steps import load_exhaustive
from models.evaluation.degre.workspace import LISTS_FILE, Workspace, chunks, planner_step, save_array
from models.evaluation.steps import ExperimentStep
from models.mining.join import join_mined
from models.mining.mine import LocalSearch, MiningOptions, mine
from models.mining.shards import MinedArrays
from models.nets.generator import PointerGenerator
from models.planners.search.beam import beam_search
from models.planners.search.local_search import improve
from models.planners.search.prefix import list_outcomes
from models.planners.worth import CLICKS_ONLY, Worth
from models.training.distill import fit_generator
from models.training.loop import STATE_FILE

_SEARCHED: Final = 64
"""Requests of a pass of a search."""
_RANDOM_SEED: Final = 99


def search_step(space: Workspace, planner: planners_table.PlannerRow, mix: int) -> ExperimentStep:
    """Make the step of a planner's lists [R, L] of the test requests under one objective mix."""

    def run(folder: Path) -> Mapping[str, Any]:
        lists = _planned(space, planner, mix)
        save_array(folder / LISTS_FILE, lists)
        return {"requests": len(lists)}

    group = "exhaustive" if planner == planners_table.EXHAUSTIVE else "search" if mix == 0 else "mixes"
    options = {**space.sizes("length", "test_requests"), "mixes": space.profile.objectives}
    if planner.searches is not None:
        options |= space.sizes("beam", "local_search", "exhaustive_requests")
    return ExperimentStep(planner_step(planner.name, mix, 0), group, options, run)


def _planned(space: Workspace, planner: planners_table.PlannerRow, mix: int) -> Ints:
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
    width = 1 if planner == planners_table.GREEDY else space.profile.beam
    return searched(space, mix, width=width, local_search=planner.name == "beam-local-search")


def searched(space: Workspace, mix: int, *, width: int, local_search: bool) -> Ints:
    """Search the evaluator by a beam and, if asked, by local search; the best lists [R, L]."""
    worth = Worth(space.mixes[mix], space.data.units)
    found = []
    for rows in tqdm(list(chunks(len(space.test), _SEARCHED)), desc="search", unit="batch", disable=None):
        part = features(space.test.take(rows), space.device)
        beams = beam_search(space.evaluator, part, worth, space.profile.length, width)
        lists = _best_lists(beams.lists, beams.step_values[:, :, -1])
        if local_search:
            starts = beams.lists if space.profile.local_search == "all" else lists[:, None]
            lists = _best_under(space, part, worth, improve(space.evaluator, part, worth, starts))
        found.append(lists.cpu().numpy())
    return np.concatenate(found)


def _best_lists(lists: Tensor, values: Tensor) -> Tensor:
    """Pick the best list of each request, [R, L] from [R, B, L] and values [R, B]; the first on ties."""
    best = values.argmax(dim=1)
    return lists[torch.arange(len(lists), device=lists.device), best]


def _best_under(space: Workspace, batch: Batch, worth: Worth, lists: Tensor) -> Tensor:
    if lists.shape[1] == 1:
        return lists[:, 0]
    return _best_lists(lists, worth(list_outcomes(space.evaluator, batch, lists)[:, :, -1]))


_DECODED: Final = 256
"""Requests of a pass of a generator."""
_GROUPS: Final = {"degre": "degre", "baseline": "baselines", "ablation": "ablations", "sweep": "sweeps"}


def mining_steps(
    space: Workspace, planners: Sequence[planners_table.PlannerRow], mix: int, group: str
) -> list[ExperimentStep]:
    """Make the steps that mine for `planners`, each for the most slates of its recipes."""
    recipes = [planner.recipe for planner in planners if planner.recipe is not None]
    minings = dict.fromkeys(recipe.mining for recipe in recipes if recipe.mining is not None)
    return [_mining_step(space, mining, mix, group) for mining in minings]


def generator_step(space: Workspace, planner: planners_table.PlannerRow, mix: int, seed: int) -> ExperimentStep:
    """Make the step that trains one generator with one seed and decodes the test requests."""
    profile = space.profile

    def run(folder: Path) -> Mapping[str, Any]:
        learn = _distil if planner.recipe is not None else _baseline
        model, notes = learn(space, planner, mix, seed, folder)
        save_array(folder / LISTS_FILE, decoded(space, model))
        return notes

    options = {
        "recipe": None if planner.recipe is None else dataclasses.asdict(planner.recipe),
        "baseline": planner.baseline,
        "slates": profile.mining_slates,
        **space.sizes("valid_slates", "test_requests"),
        "mixes": profile.objectives,
        **dataclasses.asdict(profile.generator_config()),
        **dataclasses.asdict(profile.generator_options(seed)),
    }
    group = _GROUPS[planner.family] if mix == 0 else "mixes"
    return ExperimentStep(planner_step(planner.name, mix, seed), group, options, run)


def decoded(space: Workspace, model: Generator | PointerGenerator) -> Ints:
    """Decode the test requests greedily by a generator, [R, L]."""
    parts = (features(space.test.take(rows), space.device) for rows in chunks(len(space.test), _DECODED))
    return np.concatenate([model.generate(part, space.profile.length).cpu().numpy() for part in parts])


def _mining_step(space: Workspace, mining: planners_table.Mining, mix: int, group: str) -> ExperimentStep:
    slates = planners_table.slates_needed(space.profile, mining, mix)
    local_search: LocalSearch = space.profile.local_search if mining.local_search else "none"
    settings = MiningOptions(width=mining.beam, local_search=local_search, objectives=space.mixes[mix])

    def run(folder: Path) -> Mapping[str, Any]:
        parts = {"train": space.slates(slates), "valid": space.valid}
        for name, some in parts.items():
            mine(space.checkpoint(EVALUATOR), some, folder / name, options=settings, device=space.device)
        return {"slates": len(parts["train"])}

    options = {"slates": slates, **space.sizes("valid_slates", "local_search"), "mixes": space.profile.objectives}
    return ExperimentStep(_mined(mining, mix), group, options, run)


def _distil(
    space: Workspace, planner: planners_table.PlannerRow, mix: int, seed: int, folder: Path
) -> tuple[PointerGenerator, Mapping[str, Any]]:
    assert planner.recipe is not None
    train, valid = _sequences(space, planner.recipe, mix)
    model, progress = fit_generator(
        space.data.spec,
        train,
        valid,
        config=space.profile.generator_config(),
        distill=planner.recipe.distill,
        options=space.profile.generator_options(seed),
        folder=folder,
        device=space.device,
        resume=(folder / STATE_FILE).exists(),
    )
    notes = {"slates": len(train), "best_epoch": progress.best_epoch, "valid_loss": progress.best_loss}
    return model, notes


def _sequences(space: Workspace, recipe: planners_table.DistillRecipe, mix: int) -> tuple[MinedArrays, MinedArrays]:
    """Load the sequences of training and of validation requests that a recipe learns from."""
    if recipe.mining is None:
        return exposed_sequences(space.slates(recipe.slates)), exposed_sequences(space.valid)
    folder = space.root / _mined(recipe.mining, mix)
    fingerprint = space.data.spec.fingerprint
    # More may have been mined than this recipe takes; the requests of fewer are the first of those of more.
    slates = space.slates(planners_table.slates_needed(space.profile, recipe.mining, mix))
    mined = join_mined(folder / "train", slates, fingerprint)
    train = mined.take(np.arange(min(recipe.slates, len(mined))))
    valid = join_mined(folder / "valid", space.valid, fingerprint)
    return train.weighted(recipe.temperature), valid.weighted(recipe.temperature)


def exposed_sequences(slates: SlateArrays) -> MinedArrays:
    """Present the shown lists as if mined: one each, without values or soft labels."""
    n, length = slates.exposed.shape
    nothing = np.zeros((n, 1, length), np.float32)
    return MinedArrays(
        slates,
        sequences=slates.exposed[:, None],
        soft=np.zeros((*nothing.shape, slates.candidates), np.float32),
        step_values=nothing,
        weights=np.ones((n, 1), np.float32),
        objective_weights=np.tile(np.array(CLICKS_ONLY, np.float32), (n, 1)),
    )


def _baseline(
    space: Workspace, planner: planners_table.PlannerRow, mix: int, seed: int, folder: Path
) -> tuple[Generator, Mapping[str, Any]]:
    assert planner.baseline is not None
    train = space.slates(space.profile.mining_slates)
    model = train_baseline(
        planner.baseline,
        train,
        space.valid,
        space.evaluator,
        Worth(space.mixes[mix], space.data.units),
        space.profile.generator_config(),
        space.profile.generator_options(seed),
        folder,
        space.device,
        resume=True,
        groups_folder=space.root / "groups" / f"mix-{mix}" / f"seed-{seed}",
    )
    calls = evaluator_calls(planner.baseline, space.profile.length, space.profile.generator_epochs)
    return model, {"slates": len(train), "lists_scored_per_request": calls}


def _mined(mining: planners_table.Mining, mix: int) -> str:
    return f"mined/{mining.name}/mix-{mix}"
