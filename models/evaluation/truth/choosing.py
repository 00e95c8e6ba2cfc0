"""Choose a method's setting on validation requests, by a value model that the method does not know.

Every setting plans the same requests, and the *judge* (a SORT of another seed, fitted to the same logs) values the
lists. No true value and no label of a test list has a say.

Axis letters: n requests, K settings, m places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from models.contract.arrays import Floats, Ints
from models.data.slates import encode_slates
from models.evaluation.truth.method import Method, PlanContext, Setting
from models.nets.checkpoint import load_checkpoint
from models.planners.search.prefix import list_outcomes
from models.training.value import CHECKPOINT_FILE

_BATCH: Final = 50
"""Requests whose lists are valued at once."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Hold the chosen setting, and the mean expected list value of each that was tried, by its text.

    Values are those of `Preferences.step_value`, summed along the list. There are none where there was no choice.
    """

    setting: Setting
    values: Mapping[str, float]


def choose(method: Method, context: PlanContext, judge: Path) -> Choice:
    """Plan validation requests under each setting, and choose that of the best lists; the first of equals.

    `judge` is the folder of a value model's fit. A method with one setting has no choice, and nothing is planned.
    Raises `ValueError` naming the method where there are no validation requests, or a value is not finite.
    """
    if len(method.settings) == 1:
        return Choice(method.settings[0], {})
    if not context.bench.valid:
        raise ValueError(f"{method.name}: there are no validation requests to choose a setting on")
    lists = np.stack([method.plan(context, context.bench.valid, setting) for setting in method.settings], axis=1)
    values = expected_values(context, lists, judge).mean(axis=0)
    if not np.isfinite(values).all():
        raise ValueError(f"{method.name}: the judge's values {values.tolist()} are not all finite")
    means = dict(zip(map(str, method.settings), values.tolist(), strict=True))
    return Choice(method.settings[int(values.argmax())], means)


def expected_values(context: PlanContext, lists: Ints, judge: Path) -> Floats:
    """Value `lists` [n, K, m] of the validation requests by a value model, [n, K]."""
    checkpoint, device = load_checkpoint(judge / CHECKPOINT_FILE, context.bench.device), context.bench.device
    records, parts = context.bench.valid, list[Floats]()
    for start in range(0, len(records), _BATCH):
        slates = encode_slates(records[start : start + _BATCH], checkpoint.spec, context.bench.length)
        wanted = torch.from_numpy(lists[start : start + _BATCH]).to(device)
        outcomes = list_outcomes(checkpoint.model, slates.tensors(device), wanted)[:, :, -1]
        parts.append(context.preferences.step_value(outcomes.double().cpu().numpy()))
    return np.concatenate(parts)
