"""Cross-fit value models on a small log, so that every list is held out once.

A small log has too few validation lists to choose an epoch or a share by. Each fold's model trains on the other lists
and its weights after every epoch are kept; the epoch of the least loss on all held-out lists together is chosen, and
the folds' models of that epoch judge the shares (`gate.py`). The kept model trains on all lists that long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from torch import Tensor

from models.data.batches import ListArrays
from models.judging.gate import HeldOut
from models.nets.calibration import Offsets
from models.nets.checkpoint import load_payload, save_payload
from models.nets.value import ListValueModel
from models.training.loop import FOLD_FOLDER, STATE_FILE, Progress, check_identity, mean_loss, texts
from models.training.processes import Processes
from models.training.value_fit import Setup

FOLDS: Final = 5
SMALL_LOG: Final = 10_000
"""Below so many training and validation lists a log is cross-fitted unless the caller says otherwise."""
_FILE: Final = "epochs.pt"
_KIND: Final = "epochs of a fold"


@dataclass(frozen=True)
class Crossfit:
    """Hold the chosen epoch, its pooled loss, and the folds' models then, with their lists."""

    epoch: int
    loss: float
    held_out: Sequence[HeldOut]


def crossfit(lists: ListArrays, folds: int, setup: Setup, folder: Path) -> Crossfit:
    """Fit `folds` models and pool their held-out lists.

    Finished folds in `folder` are read instead of fitted again. Raises `ValueError` for fewer than two folds, for fewer
    lists than folds, and for a folder of another training.
    """
    if not 2 <= folds <= len(lists):
        raise ValueError(f"folds: must be within 2 and the number of lists ({len(lists)}), not {folds}")
    fold = np.random.default_rng(setup.options.seed).permutation(len(lists)) % folds
    parts = [
        _fit_fold(lists.part(np.flatnonzero(fold != k), folder), setup, folder / f"{FOLD_FOLDER}{k}")
        for k in range(folds)
    ]
    held_out = [lists.part(np.flatnonzero(fold == k), folder) for k in range(folds)]
    losses = sum(
        np.array(_losses(part, own, setup)) * len(own) / len(lists) for part, own in zip(parts, held_out, strict=True)
    )
    losses = np.where(np.isfinite(losses), losses, np.inf)  # an epoch in which a fold blew up
    epoch = int(np.argmin(losses))
    pairs = zip(parts, held_out, strict=True)
    chosen = [HeldOut.of(_model(part, epoch, setup), part.start, own) for part, own in pairs]
    return Crossfit(epoch, float(np.min(losses)), chosen)


@dataclass(frozen=True)
class _Fold:
    """Hold a fold's first offsets, and its weights before and after every epoch."""

    start: tuple[Offsets, ...]
    epochs: list[dict[str, Tensor]]


def _fit_fold(train: ListArrays, setup: Setup, folder: Path) -> _Fold:
    path = folder / _FILE
    identity = {**setup.identity(), "lists or folds": train.digest, **texts(setup.options)}
    if path.exists():
        payload = load_payload(path, _KIND)
        check_identity(path, payload["identity"], identity)
        return _Fold(tuple(Offsets(*row) for row in payload["start"]), payload["epochs"])
    (folder / STATE_FILE).unlink(missing_ok=True)  # a fold that was interrupted is fitted anew: folds are small
    epochs: list[dict[str, Tensor]] = []

    def keep(model: ListValueModel, progress: Progress) -> None:
        del progress
        epochs.append({name: w.detach().cpu().clone() for name, w in model.state_dict().items()})

    fitted = setup.fit(train, None, folder, until=setup.options.epochs, on_epoch=keep)
    payload = {"identity": identity, "start": [list(row) for row in fitted.start], "epochs": epochs}
    if Processes.here().writes:
        save_payload(path, _KIND, payload)
    return _Fold(fitted.start, epochs)


def _model(part: _Fold, epoch: int, setup: Setup) -> ListValueModel:
    """Restore a fold's model as it was after `epoch` epochs."""
    model = ListValueModel(setup.spec, setup.config).to(setup.device)
    model.load_state_dict(part.epochs[epoch])
    return model.eval()


def _losses(part: _Fold, own: ListArrays, setup: Setup) -> list[float]:
    """Compute the loss on the fold's own lists, before training and after every epoch."""
    loss, size = setup.loss_of_lists(), setup.options.batch_size
    data = own.tensors(setup.device)
    return [mean_loss(_model(part, epoch, setup), data, loss, size) for epoch in range(len(part.epochs))]
