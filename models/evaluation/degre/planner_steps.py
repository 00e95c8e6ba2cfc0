"""Make the steps of learnt planners: mine, train and decode (`searches.py` has those without training).

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

from models.baselines.generators.training import Generator, evaluator_calls, train_baseline
from models.contract.arrays import Ints
from models.data.slates import SlateArrays
from models.evaluation.degre import planners_table
from models.evaluation.degre.judges import EVALUATOR, features
from models.evaluation.degre.workspace import DATA, LISTS_FILE, Workspace, chunks, planner_step, save_array, value_step
from models.evaluation.steps import ExperimentStep
from models.mining.join import join_mined
from models.mining.mine import mine
from models.mining.miner import MiningOptions
from models.mining.shards import MinedArrays
from models.nets.generator import PointerGenerator
from models.planners.worth import CLICKS_ONLY, Worth
from models.training.distill import fit_generator
from models.training.loop import STATE_FILE

_DECODED: Final = 256
"""Requests of a pass of a generator."""
_GROUPS: Final = {"degre": "degre", "baseline": "baselines", "ablation": "ablations", "sweep": "sweeps", "grid": "grid"}


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
    tests = space.every_test if planner.family == "ablation" else space.test

    def run(folder: Path) -> Mapping[str, Any]:
        learn = _distil if planner.recipe is not None else _baseline
        model, notes = learn(space, planner, mix, seed, folder)
        save_array(folder / LISTS_FILE, decoded(space, model, tests))
        return notes

    options = {
        "recipe": None if planner.recipe is None else dataclasses.asdict(planner.recipe),
        "baseline": planner.baseline,
        "slates": profile.mining_slates,
        "ablation_test_requests": profile.ablation_test_requests if planner.family == "ablation" else None,
        **space.sizes("valid_slates", "test_requests"),
        "mixes": profile.objectives,
        **dataclasses.asdict(profile.generator_config()),
        **dataclasses.asdict(profile.generator_options(seed)),
    }
    group = _GROUPS[planner.family] if mix == 0 else "mixes"
    return ExperimentStep(planner_step(planner.name, mix, seed), group, options, run, _needs(planner, mix))


def _needs(planner: planners_table.PlannerRow, mix: int) -> tuple[str, ...]:
    if planner.recipe is None:
        return (value_step(EVALUATOR),)
    return (DATA,) if planner.recipe.mining is None else (_mined(planner.recipe.mining, mix),)


def decoded(space: Workspace, model: Generator | PointerGenerator, tests: SlateArrays) -> Ints:
    """Decode test requests greedily by a generator, [R, L]."""
    parts = (features(tests.take(rows), space.device) for rows in chunks(len(tests), _DECODED))
    return np.concatenate([model.generate(part, space.profile.length).cpu().numpy() for part in parts])


def _mining_step(space: Workspace, mining: planners_table.Mining, mix: int, group: str) -> ExperimentStep:
    slates = planners_table.slates_needed(space.profile, mining, mix)
    settings = MiningOptions(width=mining.beam, local_search=mining.local_search, objectives=space.mixes[mix])

    def run(folder: Path) -> Mapping[str, Any]:
        parts = {"train": space.slates(slates), "valid": space.valid}
        for name, some in parts.items():
            mine(space.checkpoint(mining.model), some, folder / name, options=settings, device=space.device)
        return {"slates": len(parts["train"])}

    options = {"slates": slates, **space.sizes("valid_slates"), "mixes": space.profile.objectives}
    options["local_search"] = mining.local_search
    return ExperimentStep(_mined(mining, mix), group, options, run, needs=(value_step(mining.model),))


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
    # The lists of first groups are data, as mined sequences are: seeds vary what a method makes of them.
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
        groups_folder=space.root / "groups" / f"mix-{mix}",
        groups_seed=0,
    )
    calls = evaluator_calls(planner.baseline, space.profile.length, space.profile.generator_epochs)
    return model, {"slates": len(train), "lists_scored_per_request": calls}


def _mined(mining: planners_table.Mining, mix: int) -> str:
    return f"mined/{mining.name}/mix-{mix}"
