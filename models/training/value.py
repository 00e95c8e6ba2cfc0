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

import torch

from models.contract.spec import FeatureSpec
from models.data.field_choices import FieldChoices
from models.data.fit_spec import SpecFitter
from models.data.list_file import ListFile, read_metadata
from models.data.list_splits import ListSplits
from models.data.places import PlaceTally
from models.data.reading.stores import source_digest
from models.data.records import Split
from models.files import write_json
from models.nets.checkpoint import Checkpoint, save_checkpoint
from models.nets.value import ValueConfig
from models.training.loop import TrainOptions, has_begun
from models.training.processes import Processes
from models.training.value_choice import Trained, ValueOptions, learnt_splits, train_on

CHECKPOINT_FILE: Final = "checkpoint.pt"
METRICS_FILE: Final = "metrics.json"
_LEARNT: Final[tuple[Split, ...]] = ("train", "valid")


def train_value_model(
    data: str | Path,
    folder: Path,
    *,
    family: str,
    config: ValueConfig,
    options: TrainOptions,
    device: torch.device,
    value_options: ValueOptions | None = None,
    fields: FieldChoices | None = None,
    resume: bool = False,
) -> Checkpoint:
    """Train a value model on a list file, choose epoch and shares, and measure it.

    It chooses on the validation lists or by cross-fitting, and measures on ``valid`` and ``test``. The feature spec is
    fitted to the lists trained on alone, with the choices `fields`. `family` is noted in the provenance. Files of any
    size are read window by window; large ones need room for their arrays in `folder` while training runs. Raises
    `ValueError` if the file is broken, lacks training lists or lists to choose by, has no field that a choice names, or
    `folder` and `resume` do not go together (see `loop.fit`).
    """
    if not resume:
        require_new_run(folder)
    chosen, fields = value_options or ValueOptions(), fields or FieldChoices()
    places = PlaceTally()
    splits, spec = _read(data, chosen, fields, places)
    train = partial(train_on, config=config, options=options, device=device, fields=fields)
    trained = train(splits, spec, folder, chosen=chosen, resume=resume)
    metrics = {**trained.metrics, "verdict": trained.verdict.to_json()}
    if lost := places.past(config.list_length):
        metrics["past_list_length"] = lost.to_json()
    if chosen.curve:
        metrics["learning_curve"] = _learning_curve(train, splits, folder, chosen, fields, options.seed)
    provenance = {
        **origin(data, family, options),
        "fields": dataclasses.asdict(fields),
        **_told(metrics, trained.model.config),
    }
    checkpoint = Checkpoint(trained.model.cpu().eval(), metrics["units"], provenance)
    if Processes.here().writes:
        write_json(folder / METRICS_FILE, metrics)
        save_checkpoint(folder / CHECKPOINT_FILE, checkpoint)
    return checkpoint


def require_new_run(folder: Path) -> None:
    """Refuse to begin a run where one began or ended. Raises `ValueError`.

    A run that was cross-fitted may have kept epoch 0, and then leaves no state, but folds and a checkpoint.
    """
    if has_begun(folder) or (folder / CHECKPOINT_FILE).exists():
        raise ValueError(f"{folder}: already holds a run; resume it or choose another folder")


def choose_device(name: str) -> torch.device:
    """Choose ``cpu``, ``cuda``, or ``auto``: CUDA if present. Raises `ValueError` without asked CUDA."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("device cuda: there is no CUDA device, or this PyTorch was built without CUDA")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and available) else "cpu")


def origin(data: str | Path, family: str, options: TrainOptions) -> dict[str, Any]:
    """Describe a training as plain JSON: list file with SHA-256, seed, options and versions."""
    return {
        "family": family,
        "data": {
            "file": str(data).rstrip("/").rpartition("/")[2],
            "sha256": source_digest(data),
            "metadata": read_metadata(data),
        },
        "seed": options.seed,
        "options": dataclasses.asdict(options),
        "versions": {
            "listwright": version("listwright"),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }


def _read(
    data: str | Path, chosen: ValueOptions, fields: FieldChoices, places: PlaceTally
) -> tuple[ListSplits, FeatureSpec]:
    """Count lists by split and items by place; fit the spec to those learnt from."""
    fitter = SpecFitter(fields)
    splits = ListSplits.read(ListFile(data), fitter, places)
    if not splits.counts["train"]:
        raise ValueError(f"{data}: has no lists of split 'train'")
    # Those of "train" were fitted to as they were counted.
    splits.fit(fitter, learnt_splits(splits.counts, chosen)[1:])
    return splits, fitter.fit_to_shown(data)


def _learning_curve(
    train: Callable[..., Trained],
    splits: ListSplits,
    folder: Path,
    chosen: ValueOptions,
    fields: FieldChoices,
    seed: int,
) -> list[dict[str, Any]]:
    """Train on shares of the lists, and measure each on the same test lists.

    Only the model that is kept can be resumed: the shares' folders are written anew.
    """
    points, processes = [], Processes.here()
    for share in sorted(chosen.curve):
        fewer = splits.share(share, _LEARNT, seed)
        lists = sum(fewer.counts[name] for name in _LEARNT)
        own = replace(chosen, folds=chosen.folds and min(chosen.folds, lists))
        point = folder / f"share-{share:g}"
        if processes.writes and point.exists():
            shutil.rmtree(point)
        processes.wait()
        trained = train(fewer, _spec_of(fewer, own, fields), point, chosen=own)
        points.append(
            {
                "share": share,
                "lists": trained.metrics["lists"]["train"],
                "choice": trained.metrics["choice"],
                "verdict": trained.verdict.to_json(),
            }
        )
    return points


def _spec_of(splits: ListSplits, chosen: ValueOptions, fields: FieldChoices) -> FeatureSpec:
    """Fit the feature spec to the lists that are learnt from."""
    fitter = SpecFitter(fields)
    splits.fit(fitter, learnt_splits(splits.counts, chosen))
    return fitter.fit()


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
