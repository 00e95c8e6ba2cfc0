"""Fit a value model, choose its epoch and shares, and judge it.

`value_fit.py` fits one model, `crossfit.py` pools folds on small logs, `gate.py` chooses the shares, and `judge.py`
gives the verdict. This module joins them; `value.py` reads and writes the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from models.contract.features import known_priors
from models.contract.spec import FeatureSpec
from models.contract.verdict import Verdict
from models.data.batches import ListArrays
from models.data.field_choices import FieldChoices
from models.data.list_splits import ListSplits
from models.data.records import Split
from models.judging.gate import Gate, HeldOut, choose_shares
from models.judging.judge import judge, mixes
from models.judging.value_report import mean_per_slot, value_report
from models.nets.checkpoint import CheckpointError
from models.nets.value import COUNTED, ListValueModel, ValueConfig
from models.planners.worth import Triple, Worth, triple_of
from models.training.crossfit import FOLDS, SMALL_LOG, crossfit
from models.training.loop import STATE_FILE, TrainOptions, has_begun
from models.training.value_fit import LISTWISE, LossKind, Setup, check_loss, new_model, settle

MIX: Final[Triple] = (5.0, 1.0, 1.0)
"""α, β, γ of a bundle that is given none (SORT-Gen §4.1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueOptions:
    """Hold the options of choosing a value model.

    `folds`: cross-fit in so many folds, 0 to choose on the validation lists instead; None decides by the log's size and
    whether it has validation lists. `listwise` is μ, the weight of the listwise loss. `mix` are the α, β, γ that the
    bundle will have by default, at which its lists must not be worse than the sort. `curve` are shares of the training
    lists to train on as well, in subfolders, to show the effect of more lists.

    For ablations, of hazards: `loss` and `skip` as in `value_fit.Setup`; without `gate` the whole correction is kept.
    Raises `ValueError` naming the field.
    """

    folds: int | None = None
    listwise: float = LISTWISE
    mix: Triple = MIX
    curve: tuple[float, ...] = ()
    loss: LossKind | None = None
    skip: bool = True
    gate: bool = True

    def __post_init__(self) -> None:
        if self.folds is not None and (self.folds < 0 or self.folds == 1):
            raise ValueError(f"folds: must be 0 or at least 2, not {self.folds}")
        if not 0 <= self.listwise < float("inf"):
            raise ValueError(f"listwise: must be at least 0, not {self.listwise}")
        if any(not 0 < share < 1 for share in self.curve):
            raise ValueError(f"curve: must be shares between 0 and 1, not {self.curve}")


@dataclass(frozen=True)
class Trained:
    """Hold a model with its chosen shares, its metrics (plain JSON) and its verdict."""

    model: ListValueModel
    metrics: dict[str, Any]
    verdict: Verdict


def learnt_splits(counts: Mapping[Split, int], chosen: ValueOptions) -> tuple[Split, ...]:
    """Name the splits to learn from: with folds, ``valid`` too.

    Folds hold lists out themselves. Raises `ValueError` if nothing can be held out.
    """
    return ("train", "valid") if _folds(counts, chosen) else ("train",)


def train_on(
    splits: ListSplits,
    spec: FeatureSpec,
    folder: Path,
    *,
    config: ValueConfig,
    options: TrainOptions,
    device: torch.device,
    chosen: ValueOptions,
    fields: FieldChoices,
    resume: bool = False,
) -> Trained:
    """Train on lists by split, choose and measure; see `value.train_value_model`.

    `spec` was fitted to the `learnt_splits`, under the choices `fields`. It writes the files of `loop.fit` only, and
    arrays of large logs while it runs.
    """
    check_loss(config.head, chosen.loss)
    folds = _folds(splits.counts, chosen)
    learnt = learnt_splits(splits.counts, chosen)
    measured: tuple[Split, ...] = ("test",) if folds else ("valid", "test")
    sets: dict[str, tuple[Split, ...]] = {"learnt": learnt, **{name: (name,) for name in measured}}
    compared = config.context != "none"  # only list-context features read embeddings
    others = splits.encode(spec, config.list_length, sets, folder, embeddings=compared)
    lists = others.pop("learnt")
    units, without = mean_per_slot(lists)
    config = replace(config, cosines=compared and lists.has_embeddings)
    # An untrained model already tells which objectives can be valued.
    worths = mixes(new_model(spec, config, lists, seed=options.seed), triple_of(units), chosen.mix)
    lists.release()
    setup = Setup(spec, config, options, device, chosen.listwise, fields, chosen.loss, chosen.skip)
    request = _Request(setup, folder, worths, resume, chosen.gate)
    found = _by_crossfitting(lists, folds, request) if folds else _by_validation(lists, others["valid"], request)
    # Test lists judge best; without any, those that the shares were chosen on do.
    verdict = judge(
        [replace(found.judged, lists=others["test"])] if "test" in others else found.held_out,
        worths,
        knows_more=found.gate is not None and found.gate.shown_knows_more,
        has_prior=known_priors(spec)[0],
        device=device,
    )
    metrics = {
        "lists": {"train": len(lists), **{name: len(arrays) for name, arrays in others.items()}},
        "folds": folds,
        **found.metrics(setup),
        "units": units,
        "objectives_without_events": without,
        **{name: value_report(found.judged.model, arrays, device) for name, arrays in others.items()},
    }
    return Trained(found.judged.model, metrics, verdict)


@dataclass(frozen=True)
class _Request:
    """Hold the inputs of both choices.

    At `worths` lists must not lose to the sort, if `gated`.
    """

    setup: Setup
    folder: Path
    worths: Sequence[Worth]
    resume: bool
    gated: bool


@dataclass(frozen=True)
class _Found:
    """Hold a model fresh from training, its choice, and the lists it was chosen on."""

    judged: HeldOut
    gate: Gate | None
    held_out: Sequence[HeldOut]
    epoch: int
    epochs: int
    loss: float

    def metrics(self, setup: Setup) -> dict[str, Any]:
        """Describe the choice as plain JSON."""
        model, gate = self.judged.model, self.gate
        choice: dict[str, Any] = {"head": model.config.head, "valued": list(model.valued_objectives)}
        choice |= setup.changes()
        if model.shares is not None:
            choice["shares"] = dict(model.shares)
        if gate is not None:
            choice["by_likelihood"] = dict(zip(COUNTED, gate.by_likelihood, strict=True))
            choice |= {"shown_knows_more": gate.shown_knows_more, "veto": list(gate.steps)}
        return {"best_epoch": self.epoch, "epochs": self.epochs, "valid_loss": self.loss, "choice": choice}


def _by_validation(train: ListArrays, valid: ListArrays, request: _Request) -> _Found:
    """Choose epoch and shares by the validation lists."""
    fitted = request.setup.fit(train, valid, request.folder, resume=request.resume)
    judged = HeldOut.of(fitted.model, fitted.start, valid)
    held_out = [judged]
    gate = _gate(held_out, fitted.model, request)
    if fitted.start:
        settle(fitted.model, train, fitted.start)
    progress = fitted.progress
    return _Found(judged, gate, held_out, progress.best_epoch, progress.epoch, progress.best_loss)


def _by_crossfitting(lists: ListArrays, folds: int, request: _Request) -> _Found:
    """Choose epoch and shares by the pooled folds, then train on all lists that long."""
    setup, folder = request.setup, request.folder
    finished = (folder / STATE_FILE).exists()  # the last of the fits, behind all folds
    if request.resume and not has_begun(folder):
        raise CheckpointError(f"{folder}: holds no run to resume")
    pooled = crossfit(lists, folds, setup, folder)
    fitted = setup.fit(lists, None, folder, until=pooled.epoch, resume=finished)
    gate = _gate(pooled.held_out, fitted.model, request)
    judged = HeldOut.of(fitted.model, fitted.start, lists)
    if gate is not None:
        judged.set(gate.shares)
    if fitted.start:
        settle(fitted.model, lists, fitted.start)
    return _Found(judged, gate, pooled.held_out, pooled.epoch, setup.options.epochs, pooled.loss)


def _gate(held_out: Sequence[HeldOut], model: ListValueModel, request: _Request) -> Gate | None:
    """Choose the shares; None without hazards, which alone have some, and where all is kept."""
    if model.config.head != "hazard" or not request.gated:
        return None
    return choose_shares(held_out, request.worths, device=request.setup.device)


def _folds(counts: Mapping[Split, int], chosen: ValueOptions) -> int:
    """Decide how many folds to cross-fit in, 0 for none."""
    lists = counts["train"] + counts["valid"]
    if chosen.folds == 0 and not counts["valid"]:
        raise ValueError(
            "folds: there are no lists of split 'valid', so some must be held out; ask for 2 folds or more"
        )
    if chosen.folds is None:
        if lists < 2:
            raise ValueError("there is only one list; at least two are needed, since one must be held out to judge by")
        return min(FOLDS, lists) if lists < SMALL_LOG or not counts["valid"] else 0
    return chosen.folds
