"""Fit one value model: calibrate the prior, train the correction, settle the offsets.

The steps are the same for the model that is kept and for those of cross-fitting (`crossfit.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from models.contract.arrays import Ints
from models.contract.features import known_priors
from models.contract.spec import FeatureSpec
from models.data.batches import Batch, ListArrays, batches, seen_by
from models.data.field_choices import FieldChoices
from models.nets.calibration import Offsets, Outcomes, calibrate
from models.nets.heads import CountHead
from models.nets.losses import listwise_loss, ordered_mask, ordered_regression_loss, ordered_targets, path_loss
from models.nets.value import COUNTED, HeadKind, ListValueModel, ValueConfig
from models.training.loop import Loss, Progress, TrainOptions, fit, texts

LossKind = Literal["path", "ordered"]
LOSS_OF: Final[Mapping[HeadKind, LossKind]] = {"hazard": "path", "independent": "ordered"}
"""Which loss a head is trained by. Hazards under the ordered loss gain nothing (docs/results.md)."""

LISTWISE: Final = 0.5
"""Weight μ of the listwise loss beside the path likelihood."""

CALIBRATED: Final = 200_000
"""Lists that offsets are fitted on, at most: a few dozen numbers, known to a thousandth from so many. Of more lists,
those that a generator of seed 0 draws."""


@dataclass(frozen=True)
class Fitted:
    """Hold a fitted value model, its first offsets (the papers' head: none), and its progress."""

    model: ListValueModel
    start: tuple[Offsets, ...]
    progress: Progress


@dataclass(frozen=True)
class Setup:
    """Hold all inputs of a training but its lists.

    `listwise` is μ, `fields` are the choices that made the spec.
    """

    spec: FeatureSpec
    config: ValueConfig
    options: TrainOptions
    device: torch.device
    listwise: float = LISTWISE
    fields: FieldChoices = field(default_factory=FieldChoices)

    def fit(
        self,
        train: ListArrays,
        valid: ListArrays | None,
        folder: Path,
        *,
        resume: bool = False,
        until: int | None = None,
        on_epoch: Callable[[ListValueModel, Progress], None] | None = None,
    ) -> Fitted:
        """Fit a new model, initialised by the seed; `loop.fit` explains `until`, files and errors."""
        model = new_model(self.spec, self.config, train, seed=self.options.seed)
        start = start_from_rates(model, train, listwise=self.listwise)
        held_out = "none" if valid is None else valid.digest
        lists = {"training lists": train.digest, "validation lists": held_out, "until": str(until)}
        # The calibrated start counts as epoch 0.
        if on_epoch is not None:
            on_epoch(model, Progress())
        progress = fit(
            model,
            train,
            valid,
            loss_of(self.spec, self.config.head, self.listwise),
            options=self.options,
            folder=folder,
            device=self.device,
            identity={**lists, **self.identity()},
            resume=resume,
            until=until,
            on_epoch=None if on_epoch is None else lambda progress: on_epoch(model, progress),
        )
        return Fitted(model, start, progress)

    def identity(self) -> dict[str, str]:
        """Name all that a resumed training must have in common, but for lists and options."""
        fields = {} if self.fields == FieldChoices() else {f"fields: {n}": v for n, v in texts(self.fields).items()}
        return {"feature spec": self.spec.fingerprint, "listwise": str(self.listwise), **fields, **texts(self.config)}


def new_model(spec: FeatureSpec, config: ValueConfig, train: ListArrays, *, seed: int) -> ListValueModel:
    """Make a model with weights drawn by the seed, and mark the objectives it values.

    It values an objective that the log records and for which there is a prior; where there is no prior at all, every
    recorded one. The papers' head values everything.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ListValueModel(spec, config)
    if config.head == "hazard":
        priors = known_priors(spec)
        for o, known in enumerate(priors):
            model.valued[o] = float(bool(train.observed[:, o].any()) and (known or not any(priors)))
    return model


def loss_of(spec: FeatureSpec, head: HeadKind, listwise: float) -> Loss:
    """Make the training loss of a head; in training it hides some categorical values."""

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        logits = model(seen_by(model, batch, spec))
        counted = slice(0, len(COUNTED))
        outcome = (batch["labels"][:, :, counted], batch["lengths"], batch["observed"][:, counted])
        if LOSS_OF[head] == "ordered":
            return ordered_regression_loss(logits, *outcome)
        return path_loss(logits, *outcome) + listwise * listwise_loss(logits, *outcome)

    return loss


def start_from_rates(model: ListValueModel, train: ListArrays, *, listwise: float) -> tuple[Offsets, ...]:
    """Set a model's first offsets on the training lists, and return those of hazards.

    Hazards start from the calibrated prior, or without one at the base rates of places and states. The papers' head
    starts from the base rates of its thresholds, and returns none.
    """
    rows = _sampled_rows(len(train))
    if model.config.head == "independent":
        _start_at_base_rates(model, train, rows)
        return ()
    priors = known_priors(model.spec)
    for o, head in enumerate(model.hazard_heads):
        calibrate(head, *_known(train, rows, o), listwise=listwise, skip=priors[o])
    return tuple(Offsets.of(head) for head in model.hazard_heads)


def settle(model: ListValueModel, train: ListArrays, start: tuple[Offsets, ...]) -> None:
    """Fit b and c again on the training lists, with the kept share of correction.

    The path likelihood alone decides: the listwise loss asks for other offsets than counts that come true (PCOC at the
    first place, docs/results.md). Where nothing is kept the head begins at its start.
    """
    rows = _sampled_rows(len(train))
    corrections = _kept_corrections(model, train, rows)
    for o, (head, offsets) in enumerate(zip(model.hazard_heads, start, strict=True)):
        if float(head.share) == 0:
            offsets.put(head)
        prior, outcomes = _known(train, rows, o)
        calibrate(head, prior, outcomes, listwise=0.0, skip=False, correction=corrections[:, :, o])


def _sampled_rows(lists: int) -> Ints:
    """Draw at most `CALIBRATED` of so many lists, in their order."""
    if lists <= CALIBRATED:
        return np.arange(lists)
    return np.sort(np.random.default_rng(0).choice(lists, CALIBRATED, replace=False))


@torch.no_grad()
def _kept_corrections(model: ListValueModel, data: ListArrays, chosen: Ints) -> Tensor:
    """Compute ρ times every head's correction, [n, L, O, K], of the `chosen` lists."""
    device = next(model.parameters()).device
    model.eval()
    rows = []
    for batch in batches(data.tensors(device), order=chosen):
        parts = [head.share * head.correction(item) for head, item in model.hazard_inputs(batch)]
        rows.append(torch.stack(parts, dim=2).cpu())
    return torch.cat(rows)


def _known(data: ListArrays, rows: Ints, objective: int) -> tuple[Tensor, Outcomes]:
    """Take the inputs of calibration from some lists: prior logits [n, L] and outcomes."""
    columns = (data.features["priors"][..., objective], data.labels[..., objective])
    beside = (data.lengths, data.observed[:, objective])
    prior, labels, lengths, observed = (torch.from_numpy(values[rows]) for values in (*columns, *beside))
    return prior, Outcomes(labels, lengths, observed)


def _start_at_base_rates(model: ListValueModel, train: ListArrays, rows: Ints) -> None:
    """Set each threshold's bias to the logit of its rate in training.

    Most thresholds are hardly ever passed; without this the first epochs only learn that, with large gradients.
    """
    counted = slice(0, len(COUNTED))
    labels, observed = (torch.from_numpy(values[rows][..., counted]) for values in (train.labels, train.observed))
    mask = ordered_mask(torch.from_numpy(train.lengths[rows]), observed, labels.shape[1])
    passed = (ordered_targets(labels) * mask).sum(dim=(0, 1))
    rates = (passed + 0.5) / (mask.sum(dim=(0, 1)) + 1.0)
    for head, rate in zip(model.counting_heads, rates, strict=True):
        assert isinstance(head, CountHead)
        head.out.bias.data.copy_(torch.logit(rate))


def check_loss(head: HeadKind, loss: LossKind | None) -> None:
    """Check that the loss is the head's own, or None. Raises `ValueError`."""
    if loss is not None and loss != LOSS_OF[head]:
        raise ValueError(f"--loss: the {head} head is trained by {LOSS_OF[head]}, not by {loss}")
