"""Train scorers of clicks that see all candidates: PRM and the FFT context model.

Both learn from clicks alone. Their scores become probabilities by a curve fitted to exposed items of validation lists,
which the objective formula then takes for ``ctr``.

Axis letters: r requests, k candidates of a request, B requests of a batch, N candidates, L positions.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.baselines.generators.prm import PRM
from models.baselines.generators.training import load_baseline, train_baseline
from models.baselines.scorers.calibration import Calibration, fit_calibration
from models.baselines.scorers.fft_context import (
    FFTContextConfig,
    FFTContextModel,
    fit_fft_context,
    load_fft_context,
    shown_positions,
)
from models.contract.arrays import Floats
from models.contract.spec import FeatureSpec
from models.data.batches import Batch, batches
from models.data.records import ListRecord
from models.data.slates import SlateArrays, encode_slates
from models.evaluation.truth.bench import Bench
from models.evaluation.truth.method import Fit, FitContext
from models.evaluation.truth.profile import Profile
from models.files import write_json
from models.nets.generator import GeneratorConfig
from models.nets.value import ListValueModel, ValueConfig
from models.planners.worth import Worth
from models.training.loop import STATE_FILE, TrainOptions

PRM_FIT: Final = "prm"
FFT_FIT: Final = "fft"
CALIBRATION_FILE: Final = "calibration.json"
_BATCH: Final = 256

ScorerModel = PRM | FFTContextModel


@dataclass(frozen=True)
class ContextScorer:
    """Give every candidate a calibrated P(click) at the top of the list, knowing all candidates."""

    model: ScorerModel
    calibration: Calibration
    spec: FeatureSpec
    length: int
    device: torch.device

    @classmethod
    def load(cls, name: str, folder: Path, bench: Bench) -> ContextScorer:
        """Load what the fit called `name` wrote to `folder`. Raises `CheckpointError`."""
        model: ScorerModel
        if name == FFT_FIT:
            model = load_fft_context(folder, bench.spec, bench.device)
        else:
            loaded = load_baseline(folder, bench.spec, bench.device)
            assert isinstance(loaded, PRM)
            model = loaded
        calibration = Calibration(**json.loads((folder / CALIBRATION_FILE).read_text("utf-8")))
        return cls(model, calibration, bench.spec, bench.length, bench.device)

    @torch.inference_mode()
    def __call__(self, records: Sequence[ListRecord]) -> list[Mapping[str, Floats]]:
        """Predict ``ctr`` [k] of each record's candidates."""
        found: list[Mapping[str, Floats]] = []
        for start in range(0, len(records), _BATCH):
            some = records[start : start + _BATCH]
            batch = encode_slates(some, self.spec, self.length).tensors(self.device)
            chances = self.calibration(click_scores(self.model, batch).double().cpu().numpy())
            found += [{"ctr": row[: len(r.candidates)]} for r, row in zip(some, chances, strict=True)]
        return found


def shown_scores(model: ScorerModel, slates: SlateArrays, device: torch.device) -> tuple[Floats, Floats]:
    """Score the exposed items, and say which were clicked: two arrays [items].

    The FFT model sees them where they were shown, so that the curve is of what it says of positions too.
    """
    scores, clicks = [], []
    with torch.inference_mode():
        for batch in batches(slates.tensors(device), _BATCH):
            there = batch["exposed"] >= 0
            found = click_scores(model, batch, shown_positions(batch)).gather(1, batch["exposed"].clamp(min=0))
            scores.append(found[there].double().cpu().numpy())
            clicks.append((batch["labels"][..., 0] > 0)[there].double().cpu().numpy())
    return np.concatenate(scores), np.concatenate(clicks)


def click_scores(model: ScorerModel, batch: Batch, positions: Tensor | None = None) -> Tensor:
    """Score all candidates [B, N]: log-odds of the FFT model, log-probabilities of PRM's softmax.

    `positions` [B, N] are those at which the FFT model sees them; None: the top of the list.
    """
    if isinstance(model, FFTContextModel):
        logits: Tensor = model(batch, positions)
        return logits
    # Softmax's loss leaves the level of a request's scores open, so raw ones of several requests do not compare.
    shares = torch.log_softmax(model(batch).masked_fill(~batch["valid"], -torch.inf), dim=1)
    return shares.masked_fill(~batch["valid"], 0.0)


def _options(profile: Profile) -> Mapping[str, Any]:
    return {
        "requests": profile.scorer_requests,
        "valid requests": profile.scorer_valid_requests,
        "dim": profile.scorer_dim,
        "layers": profile.scorer_layers,
        **dataclasses.asdict(_training(profile, 0)),
    }


def _training(profile: Profile, seed: int) -> TrainOptions:
    return TrainOptions(epochs=profile.scorer_epochs, batch_size=512, learning_rate=2e-3, seed=seed)


def _slates(context: FitContext) -> tuple[SlateArrays, SlateArrays]:
    """Draw the requests to learn from and to stop by."""
    bench, profile = context.bench, context.profile
    return bench.slates("train", profile.scorer_requests), bench.slates("valid", profile.scorer_valid_requests)


def _finish(context: FitContext, model: ScorerModel, slates: SlateArrays) -> Mapping[str, Any]:
    """Calibrate a trained model on validation requests, and note the curve."""
    calibration = dataclasses.asdict(fit_calibration(*shown_scores(model, slates, context.bench.device)))
    write_json(context.folder / CALIBRATION_FILE, calibration)
    return {"calibration": calibration}


def _fit_prm(context: FitContext) -> Mapping[str, Any]:
    profile, (train, valid) = context.profile, _slates(context)
    # PRM learns from the logged clicks; of an evaluator it takes the feature spec alone, so any will do.
    evaluator = ListValueModel(context.bench.spec, ValueConfig(dim=profile.scorer_dim, layers=1))
    config = GeneratorConfig(profile.scorer_dim, profile.scorer_layers, list_length=context.bench.length)
    model = train_baseline(
        PRM_FIT,
        train,
        valid,
        evaluator,
        Worth(),
        config,
        _training(profile, context.seed),
        context.folder,
        context.bench.device,
        resume=True,
    )
    assert isinstance(model, PRM)
    return {"requests": len(train), **_finish(context, model, valid)}


def _fit_fft(context: FitContext) -> Mapping[str, Any]:
    profile, (train, valid) = context.profile, _slates(context)
    config = FFTContextConfig(
        profile.scorer_dim, profile.scorer_layers, list_length=context.bench.length, candidates=train.candidates
    )
    model, progress = fit_fft_context(
        context.bench.spec,
        train,
        valid,
        config=config,
        options=_training(profile, context.seed),
        folder=context.folder,
        device=context.bench.device,
        resume=(context.folder / STATE_FILE).exists(),
    )
    told = {"best_epoch": progress.best_epoch, "valid_loss": progress.best_loss}
    return {"requests": len(train), **told, **_finish(context, model, valid)}


FITS: Final[tuple[Fit, ...]] = (
    Fit(PRM_FIT, _fit_prm, _options),
    Fit(FFT_FIT, _fit_fft, _options),
)
