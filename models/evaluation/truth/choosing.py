"""Choose a method's setting by a value model that no method plans with, on validation requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from models.data.slates import encode_slates
from models.evaluation.truth.method import Method, PlanContext, Setting
from models.nets.checkpoint import load_checkpoint
from models.planners.search.prefix import list_outcomes

_CHECKPOINT_FILE: Final = "checkpoint.pt"


@dataclass(frozen=True)
class Choice:
    """Hold the chosen setting, and the mean expected list value of each that was tried."""

    setting: Setting
    values: Mapping[str, float]


def choose(method: Method, context: PlanContext, judge_folder: Path) -> Choice:
    """Choose the setting whose lists of the validation requests the judge values most; the first on ties."""
    bench = context.bench
    judge = load_checkpoint(judge_folder / _CHECKPOINT_FILE, bench.device)
    batch = encode_slates(bench.valid, judge.spec, bench.length).tensors(bench.device)
    values = []
    for setting in method.settings:
        lists = torch.from_numpy(method.plan(context, bench.valid, setting))
        outcomes = list_outcomes(judge.model, batch, lists[:, None])[:, 0, -1].double().numpy()
        values.append(float(context.preferences.step_value(outcomes).mean()))
    best = method.settings[values.index(max(values))]
    return Choice(best, dict(zip(map(str, method.settings), values, strict=True)))
