"""Train any model in one loop: AdamW, warm-up and cosine, early stopping, resume.

After each epoch one file holds all that is needed to go on, and resuming gives the same weights as an uninterrupted
run: shuffling and dropout are seeded per epoch. The caller gives the loss. Where a process group is set up, its
processes share every batch (`processes.py`), and the first one writes.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from models.contract.arrays import Ints
from models.data.batches import Batch, batches, epoch_order
from models.files import whole_file
from models.locks import only_one
from models.nets.checkpoint import CheckpointError, load_payload, save_payload
from models.training.processes import Processes

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

KIND: Final = "training state"
TRAINING_LOCK: Final = ".training.lock"
"""A step of an experiment holds its folder by another file while it trains there."""
STATE_FILE: Final = "last.pt"
FOLD_FOLDER: Final = "fold-"
"""The fits of a cross-fitted run lie in folders of this name with their numbers, until the run's own state is there."""
LOG_FILE: Final = "log.jsonl"

Loss = Callable[[nn.Module, Batch], Tensor]
"""The mean loss over a batch's lists; the model's `training` flag tells which way it is called."""


class TrainingData(Protocol):
    """Declare data to train on: rows that `batches` can cut, with a tensor ``lengths``."""

    def __len__(self) -> int: ...
    def tensors(self, device: torch.device) -> Batch: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """Hold the options of training.

    `warmup` is the share of all steps in which the learning rate rises; then it falls to 0 by cosine. Training stops
    after `patience` epochs without a better validation loss; the best epoch's weights are kept. Without validation
    lists `patience` does nothing. Raises `ValueError` naming the option.
    """

    epochs: int = 30
    batch_size: int = 512
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    clip_norm: float = 5.0
    patience: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be at least 0, not {self.weight_decay}")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup must be a share between 0 and 1, not {self.warmup}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, not {self.seed}")


@dataclass
class Progress:
    """Hold the state of a run: a `history` row per epoch, and the best weights."""

    history: list[dict[str, float | None]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Count the epochs finished."""
        return len(self.history)


def fit(
    model: nn.Module,
    train: TrainingData,
    valid: TrainingData | None,
    loss: Loss,
    *,
    options: TrainOptions,
    folder: Path,
    device: torch.device,
    identity: Mapping[str, str],
    resume: bool = False,
    until: int | None = None,
    on_epoch: Callable[[Progress], None] | None = None,
) -> Progress:
    """Train `model` and leave it with the best epoch's weights.

    It writes ``last.pt`` and ``log.jsonl`` in `folder`. The initial weights compete as epoch 0, so training that only
    harms changes nothing. Without `valid` lists nothing competes: training goes through the first `until` epochs of the
    schedule and keeps the last one's weights.

    `identity` names the model and the data. Raises `ValueError` if the loss stops being finite, if `folder` holds a run
    and `resume` is False, or if it holds none, or one of other identity or options, and `resume` is True;
    `locks.LockedError` if another training works in `folder`; `ProcessesDifferError` if the processes that share the
    training were given different ones.
    """
    identity = {**identity, **texts(options)}
    if (valid is None) == (until is None):
        raise ValueError("either validation lists or a number of epochs must say when to stop")
    group = Processes.here()
    group.agree(identity)
    model.to(device)
    optimizer = torch.optim.AdamW(_groups(model, options.weight_decay), lr=options.learning_rate)
    gpus = [device] if device.type == "cuda" else []
    # Of several processes the first one alone holds the folder. The caller's randomness stays as it is.
    with only_one(folder, TRAINING_LOCK) if group.writes else nullcontext(), torch.random.fork_rng(gpus):
        progress = _start(model, optimizer, folder / STATE_FILE, identity, resume)
        held_out = None if valid is None else valid.tensors(device)
        shared = group.wrap(model)
        run = _Run(model, shared, optimizer, loss, train.tensors(device), held_out, options, group)
        # The first weights compete as epoch 0; in a resumed run they have done so.
        if not progress.best_weights:
            _compete(run, progress, _valid_loss(run))
        last = options.epochs if until is None else min(until, options.epochs)
        with _bar(run, progress.epoch) as bar:
            while progress.epoch < last and progress.epoch - progress.best_epoch < options.patience:
                _advance(run, progress, bar)
                if group.writes:
                    _save(folder, run, identity, progress)
                if on_epoch is not None:
                    on_epoch(progress)
    model.load_state_dict(progress.best_weights)
    return progress


def learning_rate(step: int, steps: int, options: TrainOptions) -> float:
    """Compute the rate of a step: a linear warm-up, then half a cosine towards 0."""
    rising = max(1, round(options.warmup * steps))
    if step < rising:
        return options.learning_rate * (step + 1) / rising
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def mean_loss(model: nn.Module, data: Batch, loss: Loss, batch_size: int) -> float:
    """Compute the mean loss per list, without dropout."""
    return _summed_loss(model, data, loss, batch_size) / len(data["lengths"])


def _summed_loss(model: nn.Module, data: Batch, loss: Loss, batch_size: int, rows: Ints | None = None) -> float:
    model.eval()
    total = 0.0
    with torch.inference_mode():
        for batch in batches(data, batch_size, rows):
            total += float(loss(model, batch)) * len(batch["lengths"])
    return total


def check_identity(path: Path, then: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Check that a kept run was of this training. Raises `CheckpointError` naming the difference."""
    for key in sorted(then.keys() | now.keys()):
        if then.get(key) != now.get(key):
            raise CheckpointError(f"{path}: cannot be resumed: {key} was {then.get(key)}, not {now.get(key)}")


def texts(options: DataclassInstance) -> dict[str, str]:
    """Write out the fields of options, to compare trainings by."""
    return {name: str(value) for name, value in dataclasses.asdict(options).items()}


@dataclass(frozen=True)
class _Run:
    """Hold the parts of a run that stay the same from epoch to epoch.

    `shared` is the model as all processes of the `group` train it.
    """

    model: nn.Module
    shared: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Loss
    train: Batch
    valid: Batch | None
    options: TrainOptions
    group: Processes

    @property
    def steps(self) -> int:
        """Count the batches of an epoch."""
        return math.ceil(len(self.train["lengths"]) / self.options.batch_size)


def _advance(run: _Run, progress: Progress, bar: tqdm[Any]) -> None:
    started, epoch = time.perf_counter(), progress.epoch
    train_loss = _train_epoch(run, epoch, bar)
    seconds = time.perf_counter() - started
    valid_loss = _valid_loss(run)
    if not math.isfinite(train_loss) or not (run.valid is None or math.isfinite(valid_loss)):
        raise ValueError(f"the loss is no longer finite in epoch {epoch + 1}; try a lower learning rate")
    progress.history.append(
        {
            "epoch": epoch + 1,
            "train_loss": train_loss,
            "valid_loss": None if run.valid is None else valid_loss,
            "learning_rate": run.optimizer.param_groups[0]["lr"],
            "seconds": seconds,
            "lists_per_second": len(run.train["lengths"]) / seconds,
        }
    )
    _compete(run, progress, valid_loss)
    bar.set_postfix(train=f"{train_loss:.4f}", valid=f"{valid_loss:.4f}", best=f"{progress.best_loss:.4f}")


def _valid_loss(run: _Run) -> float:
    """Compute the mean loss on the validation lists, shared by batches; NaN without any."""
    if run.valid is None:
        return math.nan
    size, count = run.options.batch_size, len(run.valid["lengths"])
    own = run.group.batches(count, size)
    return run.group.sum(_summed_loss(run.model, run.valid, run.loss, size, own)) / count


def _compete(run: _Run, progress: Progress, valid_loss: float) -> None:
    """Keep the model's weights if they are the best so far, or without validation lists."""
    if run.valid is None or valid_loss < progress.best_loss:
        progress.best_epoch, progress.best_loss = progress.epoch, valid_loss
        progress.best_weights = {name: w.detach().clone() for name, w in run.model.state_dict().items()}


def _train_epoch(run: _Run, epoch: int, bar: tqdm[Any]) -> float:
    options = run.options
    # Seeded per epoch, so that a resumed run draws the same dropout masks; every process draws its own.
    torch.manual_seed(int(np.random.SeedSequence(run.group.seeds(options.seed, epoch)).generate_state(1)[0]))
    run.model.train()
    total = torch.zeros((), dtype=torch.float64, device=run.train["lengths"].device)
    for i, (batch, weight) in enumerate(_shares(run, epoch)):
        rate = learning_rate(epoch * run.steps + i, options.epochs * run.steps, options)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        value = run.loss(run.shared, batch)
        run.optimizer.zero_grad(set_to_none=True)
        (value if weight == 1 else weight * value).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(run.model.parameters(), options.clip_norm)
        run.optimizer.step()
        total += value.detach() * len(batch["lengths"]) if weight else 0
        bar.update()
    return run.group.sum(float(total)) / len(run.train["lengths"])


def _shares(run: _Run, epoch: int) -> Iterator[tuple[Batch, float]]:
    """Cut this process's share of every batch of an epoch, with its loss's weight."""
    count, size = len(run.train["lengths"]), run.options.batch_size
    order = epoch_order(count, seed=run.options.seed, epoch=epoch)
    for start in range(0, count, size):
        own, weight = run.group.share(order[start : start + size])
        for batch in batches(run.train, len(own), own):
            yield batch, weight


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    # Gains and biases have no scale to hold down.
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _start(
    model: nn.Module, optimizer: torch.optim.Optimizer, path: Path, identity: Mapping[str, str], resume: bool
) -> Progress:
    if not resume:
        if path.exists():
            raise ValueError(f"{path.parent}: already holds a run; resume it or choose another folder")
        return Progress()
    # On the CPU, whatever the device: the optimizer moves its moments itself and keeps its step counters here.
    state = load_payload(path, KIND)
    check_identity(path, state["identity"], identity)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(state["history"], state["best_epoch"], state["best_loss"], state["best_weights"])


def has_begun(folder: Path) -> bool:
    """Tell whether a folder holds a run that can be resumed."""
    return (folder / STATE_FILE).exists() or any(folder.glob(f"{FOLD_FOLDER}*"))


def _save(folder: Path, run: _Run, identity: Mapping[str, str], progress: Progress) -> None:
    weights, moments = run.model.state_dict(), run.optimizer.state_dict()
    payload = {"identity": dict(identity), "model": weights, "optimizer": moments, **vars(progress)}
    save_payload(folder / STATE_FILE, KIND, payload)
    # The log is derived from the state, so it is rewritten whole: an interruption between the two leaves no odd line.
    with whole_file(folder / LOG_FILE) as partial:
        partial.write_text("".join(json.dumps(row) + "\n" for row in progress.history), "utf-8")


def _bar(run: _Run, done: int) -> tqdm[Any]:
    total, hidden = run.options.epochs * run.steps, None if run.group.writes else True
    return tqdm(total=total, initial=done * run.steps, desc="train", unit="batch", disable=hidden)
