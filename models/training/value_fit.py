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
from models.nets.heads import PlainHead
from models.nets.losses import (
    entire_space_loss,
    listwise_loss,
    ordered_hazards_loss,
    ordered_mask,
    ordered_regression_loss,
    ordered_targets,
    path_loss,
)
from models.nets.value import COUNTED, HeadKind, ListValueModel, ValueConfig
from models.training.loop import Loss, Progress, TrainOptions, fit, texts

LossKind = Literal["path", "ordered", "pointwise", "entire-space"]
LOSSES_OF: Final[Mapping[HeadKind, tuple[LossKind, ...]]] = {
    "hazard": ("path", "ordered"),
    "independent": ("ordered",),
    "pointwise": ("pointwise",),
    "entire-space": ("entire-space",),
}
"""The losses that a head can be trained by, its own first. The ordered loss of hazards is for experiments: it gains
nothing (docs/results.md)."""

LISTWISE: Final = 0.5
"""Weight μ of the listwise loss beside the path likelihood."""

CALIBRATED: Final = 200_000
"""Lists that offsets are fitted on, at most: a few dozen numbers, known to a thousandth from so many. Of more lists,
those that a generator of seed 0 draws."""


@dataclass(frozen=True)
class Fitted:
    """Hold a fitted value model, its first offsets (without hazards: none), and its progress."""

    model: ListValueModel
    start: tuple[Offsets, ...]
    progress: Progress


@dataclass(frozen=True)
class Setup:
    """Hold all inputs of a training but its lists.

    `listwise` is μ, `fields` are the choices that made the spec. `loss` is one of the head's `LOSSES_OF`, None for its
    own. Without `skip` hazards learn without the prior's logit: a is 0 and stays 0.
    """

    spec: FeatureSpec
    config: ValueConfig
    options: TrainOptions
    device: torch.device
    listwise: float = LISTWISE
    fields: FieldChoices = field(default_factory=FieldChoices)
    loss: LossKind | None = None
    skip: bool = True

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
        start = start_from_rates(model, train, listwise=self.listwise, skip=self.skip)
        held_out = "none" if valid is None else valid.digest
        lists = {"training lists": train.digest, "validation lists": held_out, "until": str(until)}
        # The calibrated start counts as epoch 0.
        if on_epoch is not None:
            on_epoch(model, Progress())
        progress = fit(
            model,
            train,
            valid,
            self.loss_of_lists(),
            options=self.options,
            folder=folder,
            device=self.device,
            identity={**lists, **self.identity()},
            resume=resume,
            until=until,
            on_epoch=None if on_epoch is None else lambda progress: on_epoch(model, progress),
        )
        return Fitted(model, start, progress)

    def loss_of_lists(self) -> Loss:
        """Make the training loss."""
        return loss_of(self.spec, self.config.head, self.listwise, self.loss)

    def identity(self) -> dict[str, str]:
        """Name all that a resumed training must have in common, but for lists and options."""
        # What was not chosen is not named, so that a run from before there was the choice can go on.
        fields = {} if self.fields == FieldChoices() else {f"fields: {n}": v for n, v in texts(self.fields).items()}
        chosen = {**fields, **{name: str(value) for name, value in self.changes().items()}}
        config = texts(self.config)
        if not self.config.affinity:
            del config["affinity"]
        return {"feature spec": self.spec.fingerprint, "listwise": str(self.listwise), **chosen, **config}

    def changes(self) -> dict[str, str | bool]:
        """Return loss and skip as plain JSON, each only if it is not the default."""
        changed: dict[str, str | bool] = {}
        if self.loss is not None and self.loss != LOSSES_OF[self.config.head][0]:
            changed["loss"] = self.loss
        return changed if self.skip else {**changed, "skip": False}


def new_model(spec: FeatureSpec, config: ValueConfig, train: ListArrays, *, seed: int) -> ListValueModel:
    """Make a model with weights drawn by the seed, and mark the objectives it values.

    It values an objective that the log records and for which there is a prior; where there is no prior at all, every
    recorded one. Heads without hazards value everything.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ListValueModel(spec, config)
    if config.head == "hazard":
        priors = known_priors(spec)
        for o, known in enumerate(priors):
            model.valued[o] = float(bool(train.observed[:, o].any()) and (known or not any(priors)))
    return model


def loss_of(spec: FeatureSpec, head: HeadKind, listwise: float, kind: LossKind | None = None) -> Loss:
    """Make the training loss of a head; in training it hides some categorical values.

    `kind` is one of the head's `LOSSES_OF`, None for its own. Only hazards have the listwise loss beside it.
    """
    main = _main_loss(head, kind or LOSSES_OF[head][0])

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        logits = model(seen_by(model, batch, spec))
        counted = slice(0, len(COUNTED))
        outcome = (batch["labels"][:, :, counted], batch["lengths"], batch["observed"][:, counted])
        value = main(logits, *outcome)
        return value + listwise * listwise_loss(logits, *outcome) if head == "hazard" else value

    return loss


def _main_loss(head: HeadKind, kind: LossKind) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Choose the function of a head's loss."""
    if kind == "ordered":
        return ordered_hazards_loss if head == "hazard" else ordered_regression_loss
    # Of a single state the path's likelihood is that of each place by itself: the pointwise loss.
    return entire_space_loss if kind == "entire-space" else path_loss


def start_from_rates(
    model: ListValueModel, train: ListArrays, *, listwise: float, skip: bool = True
) -> tuple[Offsets, ...]:
    """Set a model's first offsets on the training lists, and return those of hazards.

    Hazards start from the calibrated prior, or without one (or without `skip`) at the base rates of places and states.
    Other heads start from the base rates of their events, and return none.
    """
    rows = _sampled_rows(len(train))
    if model.config.head != "hazard":
        _start_at_base_rates(model, train, rows)
        return ()
    priors = known_priors(model.spec)
    for o, head in enumerate(model.hazard_heads):
        head.skip.requires_grad_(skip)
        calibrate(head, *_known(train, rows, o), listwise=listwise, skip=skip and priors[o])
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
    data.release()
    return prior, Outcomes(labels, lengths, observed)


def _start_at_base_rates(model: ListValueModel, train: ListArrays, rows: Ints) -> None:
    """Set the biases of heads without hazards to the logits of their events' rates.

    Most thresholds are hardly ever passed; without this the first epochs only learn that, with large gradients.
    """
    counted = slice(0, len(COUNTED))
    labels, observed = (torch.from_numpy(values[rows][..., counted]) for values in (train.labels, train.observed))
    lengths = torch.from_numpy(train.lengths[rows])
    train.release()
    if model.config.head == "independent":
        events, mask = ordered_targets(labels), ordered_mask(lengths, observed, labels.shape[1])
    else:
        exposed = torch.arange(labels.shape[1])[None, :] < lengths[:, None]
        events, mask = labels[..., None], (exposed[:, :, None] & observed[:, None, :])[..., None]
        if model.config.head == "entire-space":
            # Purchases are those of clicked items.
            mask = mask & torch.stack([exposed, labels[..., 0] > 0], dim=-1)[..., None]
    rates = ((events * mask).sum(dim=(0, 1)) + 0.5) / (mask.sum(dim=(0, 1)) + 1.0)
    for head, rate in zip(model.counting_heads, rates, strict=True):
        assert isinstance(head, PlainHead)
        head.out.bias.data.copy_(torch.logit(rate))


def check_loss(head: HeadKind, loss: LossKind | None) -> None:
    """Check that a loss, if any, is one of the head's. Raises `ValueError`."""
    if loss is not None and loss not in LOSSES_OF[head]:
        raise ValueError(f"--loss: the {head} head is trained by {' or '.join(LOSSES_OF[head])}, not by {loss}")
