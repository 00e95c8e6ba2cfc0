"""Train a list value model on a list file: records → feature spec → arrays → weights → a run folder.

``runs/<name>/`` holds ``checkpoint.pt`` (what `export` reads), ``metrics.json``, ``log.jsonl`` (one line per epoch) and
``last.pt`` (to resume). This module joins the parts; the loop itself is in `loop.py`. It knows nothing about planners.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, get_args

import torch
from torch import Tensor, nn
from tqdm import tqdm

from models.batches import Batch, ListArrays, encode_lists, seen_by
from models.checkpoint import Checkpoint, save_checkpoint
from models.files import write_json
from models.fit import fit_spec
from models.heads import CountHead
from models.lists import ListRecord, Split, read_lists
from models.loop import Loss, Progress, TrainOptions, fit
from models.losses import ordered_mask, ordered_regression_loss, ordered_targets
from models.provenance import origin
from models.spec import FeatureSpec
from models.value import COUNTED, ListValueModel, ValueConfig
from models.value_report import mean_per_slot, value_report

CHECKPOINT_FILE: Final = "checkpoint.pt"
METRICS_FILE: Final = "metrics.json"


def train_value_model(
    data: Path,
    folder: Path,
    *,
    family: str,
    config: ValueConfig,
    options: TrainOptions,
    device: torch.device,
    resume: bool = False,
) -> Checkpoint:
    """Train on the ``train`` lists of a list file, stop early on ``valid``, measure on ``valid`` and ``test``.

    The feature spec is fitted to the training lists alone. `family` is noted in the provenance. Raises `ValueError` if
    the file is broken, lacks training or validation lists, or `folder` and `resume` do not go together (see
    `loop.fit`).
    """
    splits = read_splits(data)
    for name in ("train", "valid"):
        if not splits[name]:
            raise ValueError(f"{data}: has no lists of split {name!r}")
    spec = fit_spec(splits["train"])
    arrays = {name: encode_lists(lists, spec, config.list_length) for name, lists in splits.items() if lists}
    model, progress = fit_value_model(
        spec,
        arrays["train"],
        arrays["valid"],
        config=config,
        options=options,
        folder=folder,
        device=device,
        resume=resume,
    )
    units, without = mean_per_slot(arrays["train"])
    metrics: dict[str, Any] = {
        "lists": {name: len(a) for name, a in arrays.items()},
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "valid_loss": progress.best_loss,
        "units": units,
        "objectives_without_events": without,
        **{name: value_report(model, arrays[name], device) for name in ("valid", "test") if name in arrays},
    }
    provenance: dict[str, Any] = {
        **origin(data, family, options),
        "lists": metrics["lists"],
        "config": dataclasses.asdict(config),
        "metrics": {
            "best_epoch": metrics["best_epoch"],
            "valid_loss": metrics["valid_loss"],
            **{s: _at_list_level(metrics[s]) for s in ("valid", "test") if s in metrics},
        },
    }
    checkpoint = Checkpoint(model.cpu().eval(), units, provenance)
    write_json(folder / METRICS_FILE, metrics)
    save_checkpoint(folder / CHECKPOINT_FILE, checkpoint)
    return checkpoint


def fit_value_model(
    spec: FeatureSpec,
    train: ListArrays,
    valid: ListArrays,
    *,
    config: ValueConfig,
    options: TrainOptions,
    folder: Path,
    device: torch.device,
    resume: bool = False,
) -> tuple[ListValueModel, Progress]:
    """A new list value model, initialised by the seed and fitted. See `loop.fit` for the files written and errors."""
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        model = ListValueModel(spec, config)
    start_at_base_rates(model, train)
    identity = {
        "feature spec": spec.fingerprint,
        "training lists": train.digest,
        "validation lists": valid.digest,
        **{name: str(value) for name, value in dataclasses.asdict(config).items()},
    }
    progress = fit(
        model,
        train,
        valid,
        ordered_regression(spec),
        options=options,
        folder=folder,
        device=device,
        identity=identity,
        resume=resume,
    )
    return model, progress


def start_at_base_rates(model: ListValueModel, train: ListArrays) -> None:
    """Set each threshold's bias to the logit of how often it is passed in training.

    Most thresholds are hardly ever passed; without this the first epochs only learn that, with large gradients.
    """
    counted = slice(0, len(COUNTED))
    labels, observed = torch.from_numpy(train.labels[:, :, counted]), torch.from_numpy(train.observed[:, counted])
    mask = ordered_mask(torch.from_numpy(train.lengths), observed, labels.shape[1])
    passed = (ordered_targets(labels) * mask).sum(dim=(0, 1))
    rates = (passed + 0.5) / (mask.sum(dim=(0, 1)) + 1.0)
    slots = mask[..., 0].sum(dim=(0, 1))
    events = ((labels * mask[..., 0]).sum(dim=(0, 1)) + 0.5) / (slots + 1.0)
    for name, rate, event in zip(COUNTED, rates, events.tolist(), strict=True):
        head = model.heads[name]
        assert isinstance(head, CountHead)
        head.start_at(rate, event)


def ordered_regression(spec: FeatureSpec) -> Loss:
    """The ordered regression loss of a batch; while the model trains, some categorical values are hidden."""

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        seen = seen_by(model, batch, spec)
        counted = slice(0, len(COUNTED))
        return ordered_regression_loss(
            model(seen), batch["labels"][:, :, counted], batch["lengths"], batch["observed"][:, counted]
        )

    return loss


def choose_device(name: str) -> torch.device:
    """``cpu``, ``cuda``, or ``auto`` for CUDA where there is one. Raises `ValueError` if CUDA is asked for in vain."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("device cuda: there is no CUDA device, or this PyTorch was built without CUDA")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and available) else "cpu")


def read_splits(data: Path) -> dict[Split, Sequence[ListRecord]]:
    """The records of a list file by split, a split without any too. Raises `lists.ListFileError`."""
    splits: dict[Split, list[ListRecord]] = {name: [] for name in get_args(Split)}
    for record in tqdm(read_lists(data), desc="read", unit="list", disable=None):
        splits[record.split].append(record)
    return {**splits}


def _at_list_level(report: dict[str, Any]) -> dict[str, Any]:
    return {name: row["list"] for name, row in report.items() if isinstance(row, dict)}
