"""Train a list value model on a list file, and write a run folder.

``runs/<name>/`` holds ``checkpoint.pt`` (which `export` reads), ``metrics.json``, ``log.jsonl`` (one line per epoch)
and ``last.pt`` (to resume); cross-fitting adds a folder per fold. `value_choice.py` chooses and judges the model.
"""

from __future__ import annotations

import dataclasses
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from models.data.list_file import read_metadata, read_splits
from models.data.records import Split
from models.data.stores import source_digest
from models.files import write_json
from models.nets.checkpoint import Checkpoint, save_checkpoint
from models.nets.value import ValueConfig
from models.training.loop import TrainOptions
from models.training.value_choice import Splits, Trained, ValueOptions, train_on

CHECKPOINT_FILE: Final = "checkpoint.pt"
METRICS_FILE: Final = "metrics.json"
_LEARNT: Final[tuple[Split, ...]] = ("train", "valid")


def train_value_model(
    data: Path,
    folder: Path,
    *,
    family: str,
    config: ValueConfig,
    options: TrainOptions,
    device: torch.device,
    value_options: ValueOptions | None = None,
    resume: bool = False,
) -> Checkpoint:
    """Train a value model on a list file, choose epoch and shares, and measure it.

    It chooses on the validation lists or by cross-fitting, and measures on ``valid`` and ``test``. The feature spec is
    fitted to the lists trained on alone. `family` is noted in the provenance. Raises `ValueError` if the file is
    broken, lacks training lists or lists to choose by, or `folder` and `resume` do not go together (see `loop.fit`).
    """
    chosen = value_options or ValueOptions()
    splits = read_splits(data)
    if not splits["train"]:
        raise ValueError(f"{data}: has no lists of split 'train'")
    train = partial(train_on, config=config, options=options, device=device)
    trained = train(splits, folder, chosen=chosen, resume=resume)
    metrics = {**trained.metrics, "verdict": trained.verdict.to_json()}
    if chosen.curve:
        metrics["learning_curve"] = _learning_curve(train, splits, folder, chosen, options.seed)
    provenance = {**origin(data, family, options), **_told(metrics, trained.model.config)}
    checkpoint = Checkpoint(trained.model.cpu().eval(), metrics["units"], provenance)
    write_json(folder / METRICS_FILE, metrics)
    save_checkpoint(folder / CHECKPOINT_FILE, checkpoint)
    return checkpoint


def choose_device(name: str) -> torch.device:
    """Choose ``cpu``, ``cuda``, or ``auto``: CUDA if present. Raises `ValueError` without asked CUDA."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("device cuda: there is no CUDA device, or this PyTorch was built without CUDA")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and available) else "cpu")


def origin(data: Path, family: str, options: TrainOptions) -> dict[str, Any]:
    """Describe a training as plain JSON: list file with SHA-256, seed, options and versions."""
    return {
        "family": family,
        "data": {"file": data.name, "sha256": source_digest(data), "metadata": read_metadata(data)},
        "seed": options.seed,
        "options": dataclasses.asdict(options),
        "versions": {
            "listwright": version("listwright"),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }


def _learning_curve(
    train: Callable[..., Trained], splits: Splits, folder: Path, chosen: ValueOptions, seed: int
) -> list[dict[str, Any]]:
    """Train on shares of the lists, and measure each on the same test lists.

    Only the model that is kept can be resumed: the shares' folders are written anew.
    """
    points = []
    for share in sorted(chosen.curve):
        fewer = _share_of(splits, share, seed)
        lists = sum(len(fewer[name]) for name in _LEARNT)
        folds = chosen.folds and min(chosen.folds, lists)
        point = folder / f"share-{share:g}"
        if point.exists():
            shutil.rmtree(point)
        trained = train(fewer, point, chosen=replace(chosen, folds=folds))
        points.append(
            {
                "share": share,
                "lists": trained.metrics["lists"]["train"],
                "choice": trained.metrics["choice"],
                "verdict": trained.verdict.to_json(),
            }
        )
    return points


def _share_of(splits: Splits, share: float, seed: int) -> Splits:
    """Draw a share of the lists, at least two of a split; smaller shares nest."""
    drawn = dict(splits)
    for name in _LEARNT:
        order = np.random.default_rng(seed).permutation(len(splits[name]))
        drawn[name] = [splits[name][i] for i in sorted(order[: max(2, round(share * len(order)))])]
    return drawn


def _told(metrics: Mapping[str, Any], config: ValueConfig) -> dict[str, Any]:
    """Pick the metrics that a checkpoint's provenance repeats: all but figures by place."""
    names = ("lists", "choice", "verdict", "learning_curve", "objectives_without_events")
    return {
        "config": dataclasses.asdict(config),
        **{name: metrics[name] for name in names if name in metrics},
        "metrics": {
            "best_epoch": metrics["best_epoch"],
            "valid_loss": metrics["valid_loss"],
            **{split: _at_list_level(metrics[split]) for split in ("valid", "test") if split in metrics},
        },
    }


def _at_list_level(report: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row["list"] for name, row in report.items() if isinstance(row, dict)}
