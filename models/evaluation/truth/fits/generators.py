"""Train generators of lists: DeGRe's rivals, and DeGRe with and without local search.

All see as many requests. The rivals take their reward from the fit ``sort`` of the same seed, at the profile's
objectives; DeGRe mines its own evaluator's best lists at the same objectives and distils them. A generator serves the
objectives that it was trained for: another mix at planning time does not change its lists.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from models.baselines.generators.groups import GroupOptions
from models.baselines.generators.training import BASELINES, Generator, load_baseline, train_baseline
from models.contract.spec import OBJECTIVES
from models.data.slates import SlateArrays
from models.evaluation.truth.bench import Bench
from models.evaluation.truth.method import Fit, FitContext
from models.evaluation.truth.profile import Profile
from models.mining.join import join_mined
from models.mining.mine import mine
from models.mining.miner import LocalSearch, MiningOptions
from models.mining.shards import MinedArrays
from models.nets.checkpoint import (
    Checkpoint,
    GeneratorCheckpoint,
    load_checkpoint,
    load_generator_checkpoint,
    save_generator,
)
from models.nets.generator import GeneratorConfig, PointerGenerator
from models.planners.worth import Worth
from models.training.distill import DistillOptions, fit_generator
from models.training.loop import STATE_FILE, TrainOptions
from models.training.value import CHECKPOINT_FILE

REWARD: Final = "sort"
"""The fit that scores lists for the rivals."""
EVALUATOR: Final = "degre-evaluator"
"""The fit that DeGRe mines."""
REWARDED: Final = ("goalrank", "nar4rec", "gref", "nlgr")
MINED: Final[Mapping[str, LocalSearch]] = {"degre": "best", "degre-no-search": "none"}
"""DeGRe's fits by name, with the lists of the beam that local search improves before they are learnt."""
_BATCH: Final = 32
"""Requests of a step: each has many lists, so larger batches save no time and leave fewer steps to an epoch."""


def load_generator(name: str, folder: Path, bench: Bench) -> Generator | PointerGenerator:
    """Load the generator that the fit called `name` wrote to `folder`. Raises `CheckpointError`."""
    if name in MINED:
        return load_generator_checkpoint(folder / CHECKPOINT_FILE, bench.device).generator
    return load_baseline(folder, bench.spec, bench.device)


def _config(context: FitContext) -> GeneratorConfig:
    return GeneratorConfig(
        context.profile.generator_dim, context.profile.generator_layers, list_length=context.bench.length
    )


def _training(epochs: int, seed: int) -> TrainOptions:
    return TrainOptions(epochs=epochs, batch_size=_BATCH, learning_rate=1e-3, seed=seed)


def _groups(profile: Profile) -> GroupOptions:
    return GroupOptions(profile.group_drawn, profile.group_bases, profile.generator_rounds)


def _slates(context: FitContext) -> tuple[SlateArrays, SlateArrays]:
    """Draw the requests to learn from and to stop by, the same for all generators."""
    bench, profile = context.bench, context.profile
    return (
        bench.slates("train", profile.generator_requests),
        bench.slates("valid", profile.generator_valid_requests),
    )


def _shared_options(profile: Profile) -> dict[str, Any]:
    return {
        "requests": profile.generator_requests,
        "valid requests": profile.generator_valid_requests,
        "dim": profile.generator_dim,
        "layers": profile.generator_layers,
        "objectives": profile.objectives,
    }


def _baseline_options(profile: Profile) -> Mapping[str, Any]:
    return {
        **_shared_options(profile),
        **dataclasses.asdict(_training(profile.generator_epochs, 0)),
        "groups": dataclasses.asdict(_groups(profile)),
    }


def _degre_options(local_search: LocalSearch, profile: Profile) -> Mapping[str, Any]:
    return {
        **_shared_options(profile),
        **dataclasses.asdict(_training(profile.distill_epochs, 0)),
        "beam": profile.beam,
        "local search": local_search,
    }


def _train_baseline(name: str, context: FitContext) -> Mapping[str, Any]:
    bench, profile = context.bench, context.profile
    train, valid = _slates(context)
    evaluator = load_checkpoint(context.needs[REWARD] / CHECKPOINT_FILE, bench.device).model
    train_baseline(
        name,
        train,
        valid,
        evaluator,
        Worth(profile.objectives, bench.units),
        _config(context),
        _training(profile.generator_epochs, context.seed),
        context.folder,
        bench.device,
        resume=True,
        group_options=_groups(profile),
    )
    calls = _groups(profile).within(profile.generator_epochs).calls(bench.length) if BASELINES[name].rewarded else 0
    return {"requests": len(train), "lists_scored_per_request": calls, "evaluator_shares": evaluator.shares}


def _train_degre(local_search: LocalSearch, context: FitContext) -> Mapping[str, Any]:
    evaluator = load_checkpoint(context.needs[EVALUATOR] / CHECKPOINT_FILE, context.bench.device)
    parts = _mined(context, evaluator, local_search)
    generator, progress = fit_generator(
        evaluator.spec,
        parts["train"],
        parts["valid"],
        config=_config(context),
        distill=DistillOptions(),
        options=_training(context.profile.distill_epochs, context.seed),
        folder=context.folder,
        device=context.bench.device,
        resume=(context.folder / STATE_FILE).exists(),
    )
    objectives = dict(zip(OBJECTIVES, context.profile.objectives, strict=True))
    checkpoint = GeneratorCheckpoint(generator, evaluator.model, evaluator.units, objectives)
    save_generator(context.folder / CHECKPOINT_FILE, checkpoint)
    return {
        "requests": len(parts["train"]),
        "best_epoch": progress.best_epoch,
        "valid_loss": progress.best_loss,
        "evaluator_shares": evaluator.model.shares,
    }


def _mined(context: FitContext, evaluator: Checkpoint, local_search: LocalSearch) -> dict[str, MinedArrays]:
    """Mine the requests in the fit's folder, or go on, and join the sequences."""
    options = MiningOptions(
        length=context.bench.length,
        width=context.profile.beam,
        local_search=local_search,
        objectives=context.profile.objectives,
    )
    joined = {}
    for name, slates in zip(("train", "valid"), _slates(context), strict=True):
        folder = context.folder / "mined" / name
        mine(evaluator, slates, folder, options=options, device=context.bench.device)
        joined[name] = join_mined(folder, slates, evaluator.spec.fingerprint)
    return joined


FITS: Final[tuple[Fit, ...]] = (
    *(Fit(name, partial(_train_baseline, name), _baseline_options, needs=(REWARD,)) for name in REWARDED),
    *(
        Fit(name, partial(_train_degre, search), partial(_degre_options, search), needs=(EVALUATOR,))
        for name, search in MINED.items()
    ),
)
