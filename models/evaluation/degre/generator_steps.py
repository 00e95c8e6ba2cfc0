"""Steps of learnt generators: mine sequences, distil or train, decode the test requests greedily.

Everything here learns from the evaluator's half of the training lists; labels of test requests are never seen.

Axis letters: R requests, S sequences, L positions, N candidates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.baselines.training import evaluator_calls, train_baseline
from models.data.batches import Batch
from models.data.slates import SlateArrays
from models.evaluation.degre.arrays import save_array
from models.evaluation.degre.judges import EVALUATOR, features
from models.evaluation.degre.planners_table import (
    Mining,
    Planner,
    Recipe,
    ablations,
    distilled,
    mixed,
    sweep_planners,
)
from models.evaluation.degre.profile import Profile
from models.evaluation.degre.steps import Step
from models.evaluation.degre.workspace import LISTS_FILE, Workspace, chunks, planner_step
from models.mining.join import MinedArrays, join_mined
from models.mining.mine import LocalSearch, MiningOptions, mine
from models.planners.worth import CLICKS_ONLY, Worth
from models.training.distill import fit_generator
from models.training.loop import STATE_FILE

_REQUESTS: Final = 256
_GROUPS: Final[Mapping[str, str]] = {
    "degre": "degre",
    "baseline": "baselines",
    "ablation": "ablations",
    "sweep": "sweeps",
}


class Generates(Protocol):
    """Any trained generator."""

    def generate(self, batch: Batch, length: int) -> Tensor:
        """Greedy lists int64 [B, length]."""
        ...


def mining_steps(space: Workspace, planners: Sequence[Planner], mix: int, group: str) -> list[Step]:
    """What the recipes of `planners` need mined, each for as many slates as any recipe under the mix takes."""
    recipes = [planner.recipe for planner in planners if planner.recipe is not None]
    minings = dict.fromkeys(recipe.mining for recipe in recipes if recipe.mining is not None)
    return [_mining_step(space, mining, _needed(space.profile, mix)[mining], mix, group) for mining in minings]


def generator_step(space: Workspace, planner: Planner, mix: int, seed: int) -> Step:
    """Train one generator with one seed and keep its lists [R, L] of the test requests."""
    profile = space.profile

    def run(folder: Path) -> Mapping[str, Any]:
        if planner.recipe is not None:
            model, notes = _distil(space, planner.recipe, mix, seed, folder)
        else:
            model, notes = _baseline(space, planner, mix, seed, folder)
        save_array(folder / LISTS_FILE, decoded(space, model))
        return notes

    noted = {
        "recipe": None if planner.recipe is None else dataclasses.asdict(planner.recipe),
        "baseline": planner.baseline,
        "slates": profile.mining_slates,
        "valid_slates": profile.valid_slates,
        "test_requests": profile.test_requests,
        "mixes": profile.objectives,
        **dataclasses.asdict(profile.generator_config()),
        **dataclasses.asdict(profile.generator_options(seed)),
    }
    group = _GROUPS[planner.family] if mix == 0 else "mixes"
    return Step(planner_step(planner.name, mix, seed), group, noted, run)


def decoded(space: Workspace, model: Generates) -> NDArray[np.int64]:
    """A generator's greedy lists of the test requests, [R, L]."""
    parts = (features(space.test.take(rows), space.device) for rows in chunks(len(space.test), _REQUESTS))
    return np.concatenate([model.generate(part, space.profile.length).cpu().numpy() for part in parts])


def _needed(profile: Profile, mix: int) -> dict[Mining, int]:
    planners = mixed(profile) if mix else (*distilled(profile), *ablations(profile), *sweep_planners(profile))
    needed: dict[Mining, int] = {}
    for planner in planners:
        recipe = planner.recipe
        if recipe is not None and recipe.mining is not None:
            needed[recipe.mining] = max(needed.get(recipe.mining, 0), recipe.slates)
    return needed


def _mining_step(space: Workspace, mining: Mining, slates: int, mix: int, group: str) -> Step:
    profile = space.profile

    local_search: LocalSearch = profile.local_search if mining.local_search else "none"

    def run(folder: Path) -> Mapping[str, Any]:
        options = MiningOptions(width=mining.beam, local_search=local_search, objectives=space.mixes[mix])
        parts = {"train": space.slates(slates), "valid": space.valid}
        for name, some in parts.items():
            mine(space.checkpoint(EVALUATOR), some, folder / name, options=options, device=space.device)
        return {"slates": len(parts["train"])}

    noted = {"slates": slates, "valid_slates": profile.valid_slates, "local_search": profile.local_search}
    return Step(_mined(mining, mix), group, {**noted, "mixes": profile.objectives}, run)


def _distil(space: Workspace, recipe: Recipe, mix: int, seed: int, folder: Path) -> tuple[Generates, Mapping[str, Any]]:
    train, valid = _sequences(space, recipe, mix)
    model, progress = fit_generator(
        space.data.spec,
        train,
        valid,
        config=space.profile.generator_config(),
        distill=recipe.distill,
        options=space.profile.generator_options(seed),
        folder=folder,
        device=space.device,
        resume=(folder / STATE_FILE).exists(),
    )
    notes = {"slates": len(train), "best_epoch": progress.best_epoch, "valid_loss": progress.best_loss}
    return model, notes


def _sequences(space: Workspace, recipe: Recipe, mix: int) -> tuple[MinedArrays, MinedArrays]:
    """What a recipe learns from: sequences of training and of validation requests."""
    if recipe.mining is None:
        return exposed_sequences(space.slates(recipe.slates)), exposed_sequences(space.valid)
    folder = space.root / _mined(recipe.mining, mix)
    fingerprint = space.data.spec.fingerprint
    # More may have been mined than this recipe takes; the requests of fewer are the first of those of more.
    mined = join_mined(folder / "train", space.slates(_needed(space.profile, mix)[recipe.mining]), fingerprint)
    train = mined.take(np.arange(min(recipe.slates, len(mined))))
    valid = join_mined(folder / "valid", space.valid, fingerprint)
    return train.weighted(recipe.temperature), valid.weighted(recipe.temperature)


def exposed_sequences(slates: SlateArrays) -> MinedArrays:
    """The lists that were shown as if they had been mined: one each, without values or soft labels."""
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
    space: Workspace, planner: Planner, mix: int, seed: int, folder: Path
) -> tuple[Generates, Mapping[str, Any]]:
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


def _mined(mining: Mining, mix: int) -> str:
    return f"mined/{mining.name}/mix-{mix}"
