"""Train in the processes that ``torchrun`` started, whole and interrupted, and print what the first one saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from models.data.batches import Batch, encode_lists
from models.nets.losses import path_loss
from models.nets.value import ListValueModel, ValueConfig
from models.training.loop import Progress, TrainOptions, fit
from models.training.processes import Processes, ProcessesDifferError, torchrun_group
from tests.models.specs import fit_spec
from tests.models.training.records import make_records

CPU = torch.device("cpu")
CONFIG = ValueConfig(dim=16, layers=1, heads=2, list_length=4, field_dim=4, dropout=0.0)
OPTIONS = TrainOptions(epochs=3, batch_size=20, seed=3)
"""Of 61 lists the last batch has one, so that a process has none of it."""


class Interrupted(Exception):
    """What stops a training between two epochs."""


def trained(folder: Path, *, stop_after: int | None = None, resume: bool = False, name: str = "lists") -> Progress:
    """Train without anything random but the order of lists."""
    train, valid = make_records(61, seed=1), make_records(23, seed=2)
    spec = fit_spec(train)
    torch.manual_seed(0)
    model = ListValueModel(spec, CONFIG)

    def interrupt(progress: Progress) -> None:
        if progress.epoch == stop_after:
            raise Interrupted

    return fit(
        model,
        encode_lists(train, spec, 4),
        encode_lists(valid, spec, 4),
        _loss,
        options=OPTIONS,
        folder=folder,
        device=CPU,
        identity={"name": name},
        resume=resume,
        on_epoch=interrupt,
    )


def history(progress: Progress) -> list[list[float | None]]:
    """The losses of every epoch, on the lists trained on and on the others."""
    return [[row["train_loss"], row["valid_loss"]] for row in progress.history]


def _loss(model: nn.Module, batch: Batch) -> Tensor:
    return path_loss(model(batch), batch["labels"][:, :, :2], batch["lengths"], batch["observed"][:, :2])


def main(folder: Path) -> None:
    """Train whole, then in two parts, then differently in every process."""
    with torchrun_group(CPU):
        rank = Processes.here().rank
        whole = history(trained(folder / "whole"))
        try:
            trained(folder / "parts", stop_after=1)
        except Interrupted:
            parts = history(trained(folder / "parts", resume=True))
        try:
            trained(folder / "differ", name=f"lists of {rank}")
        except ProcessesDifferError as error:
            problem = str(error)
        if rank == 0:
            (folder / "seen.json").write_text(json.dumps({"whole": whole, "parts": parts, "problem": problem}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
