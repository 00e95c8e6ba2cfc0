"""Train DeGRe's online generator on mined sequences, and write a run folder.

The folder holds the same files as that of `value.py`; ``checkpoint.pt`` has the generator and the evaluator it was
distilled from. The loss and the fit are in `distill.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from models.contract.spec import OBJECTIVES
from models.files import write_json
from models.mining.join import check_fingerprint, finished_manifest, read_mined
from models.mining.shards import MinedArrays, MinedError, MinedManifest
from models.nets.checkpoint import Checkpoint, GeneratorCheckpoint, load_checkpoint, save_generator, weights_digest
from models.nets.generator import GeneratorConfig
from models.training.distill import DistillOptions, fit_generator
from models.training.loop import Progress, TrainOptions
from models.training.processes import Processes
from models.training.value import CHECKPOINT_FILE, METRICS_FILE, origin, require_new_run

FAMILY: Final = "degre"


def train_generator(
    data: str | Path,
    mined: Path,
    evaluator: Path,
    folder: Path,
    *,
    sizes: Mapping[str, Any],
    distill: DistillOptions,
    weight_temperature: float | None,
    options: TrainOptions,
    device: torch.device,
    resume: bool = False,
) -> GeneratorCheckpoint:
    """Distil the sequences mined for ``train`` lists, stopping early on ``valid`` lists.

    `sizes` are those of `GeneratorConfig` but for two that the sequences determine: the list horizon is their length,
    and the generator is conditioned if they were mined under more than one mix of objectives. Raises `ValueError` if
    the sequences, the evaluator and the list file do not belong together, none are for validation lists, or `folder`
    and `resume` do not go together (see `loop.fit`).
    """
    if not resume:
        require_new_run(folder)
    teacher = load_checkpoint(evaluator)
    manifest = finished_manifest(mined)
    _check_teacher(mined, manifest, evaluator, teacher)
    found = read_mined(mined, data, teacher.spec, ("train", "valid"), folder)
    train, valid = found["train"], found["valid"]
    if weight_temperature is not None:
        train, valid = train.weighted(weight_temperature), valid.weighted(weight_temperature)
    # Weights can only be learnt if they varied in mining.
    conditioned = bool((train.objective_weights != train.objective_weights[0]).any())
    config = GeneratorConfig(**sizes, list_length=manifest.length, conditioned=conditioned)
    generator, progress = fit_generator(
        teacher.spec,
        train,
        valid,
        config=config,
        distill=distill,
        options=options,
        folder=folder,
        device=device,
        resume=resume,
    )
    metrics = _metrics(progress, train, valid)
    provenance = {
        **origin(data, FAMILY, options),
        "config": dataclasses.asdict(config),
        "distillation": {**dataclasses.asdict(distill), "weight_temperature": weight_temperature},
        "mining": dict(manifest.identity),
        "evaluator": dict(teacher.provenance),
        "metrics": metrics,
    }
    objectives = dict(zip(OBJECTIVES, train.objective_weights.mean(axis=0).tolist(), strict=True))
    checkpoint = GeneratorCheckpoint(generator.cpu().eval(), teacher.model, teacher.units, objectives, provenance)
    if Processes.here().writes:
        write_json(folder / METRICS_FILE, metrics)
        save_generator(folder / CHECKPOINT_FILE, checkpoint)
    return checkpoint


def _check_teacher(mined: Path, manifest: MinedManifest, evaluator: Path, teacher: Checkpoint) -> None:
    """Check that this evaluator mined the sequences, since the checkpoint says so."""
    check_fingerprint(mined, manifest, teacher.spec.fingerprint)
    if manifest.identity.get("evaluator") != weights_digest(teacher.model):
        raise MinedError(f"{mined}: was mined by an evaluator with other weights than those in {evaluator}")


def _metrics(progress: Progress, train: MinedArrays, valid: MinedArrays) -> dict[str, Any]:
    return {
        "requests": {"train": len(train), "valid": len(valid)},
        "sequences": {"train": int(train.there.sum()), "valid": int(valid.there.sum())},
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "valid_loss": progress.best_loss,
    }
