"""Name the results of each step in an experiment's folder, and read shared ones.

Axis letters: R test requests, K comparison lists, L positions, M objective mixes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from models.contract.arrays import Bools, Ints
from models.data.slates import SlateArrays
from models.evaluation.degre.data import DegreData, load_data
from models.evaluation.degre.judges import EVALUATOR, JUDGES, MIXED, TRUTH, Judge, ModelValuer, TruthValuer, Valuer
from models.evaluation.degre.profile import Profile
from models.nets.checkpoint import Checkpoint, load_checkpoint
from models.nets.value import ListValueModel
from models.planners.worth import CLICKS_ONLY, Triple
from models.training.value import CHECKPOINT_FILE

DATA: Final = "data"
LISTS_FILE: Final = "lists.npy"
_SAMPLING_SEED: Final = 20


@dataclass(frozen=True)
class Workspace:
    """Hold an experiment's folder, list file, sizes and device."""

    root: Path
    source: Path
    profile: Profile
    device: torch.device

    def sizes(self, *names: str) -> dict[str, Any]:
        """Return some sizes of the profile by name, for the options of a step."""
        return {name: getattr(self.profile, name) for name in names}

    @cached_property
    def data(self) -> DegreData:
        """Load the encoded list file; the step `DATA` must be done."""
        return load_data(self.root / DATA)

    @cached_property
    def test(self) -> SlateArrays:
        """Return the test requests that planners plan for."""
        return self.data.slates["test"].take(self.test_rows)

    @property
    def candidates(self) -> Bools:
        """Tell candidates of the test requests from padding, bool [R, N]."""
        valid: Bools = self.test.features["valid"].astype(np.bool_)
        return valid

    @cached_property
    def test_rows(self) -> Ints:
        """Draw the rows of `test` among all test requests."""
        return _sample(len(self.data.slates["test"]), self.profile.test_requests)

    def slates(self, count: int) -> SlateArrays:
        """Draw up to `count` training requests of the evaluator's half; more extend fewer."""
        half = self.data.half("train", 0)
        return half.take(_sample(len(half), count))

    @cached_property
    def valid(self) -> SlateArrays:
        """Draw validation requests of the evaluator's half, on which generators stop early."""
        half = self.data.half("valid", 0)
        return half.take(_sample(len(half), self.profile.valid_slates))

    @cached_property
    def mixes(self) -> tuple[Triple, ...]:
        """Return the objective mixes; the first is that of the main tables."""
        if self.profile.objectives:
            return self.profile.objectives
        return (CLICKS_ONLY, MIXED) if self.data.counts_purchases and self.simulated else (CLICKS_ONLY,)

    @property
    def simulated(self) -> bool:
        """Tell whether the truth is known."""
        return bool(self.data.metadata.get("source") == "simulator")

    @property
    def judges(self) -> tuple[Judge, ...]:
        """Return the judges that this data allows."""
        return tuple(judge for judge in JUDGES if self.simulated or TRUTH not in judge.members)

    def checkpoint(self, name: str) -> Checkpoint:
        """Load a trained value model by its name."""
        return load_checkpoint(self.root / value_step(name) / CHECKPOINT_FILE, self.device)

    @cached_property
    def evaluator(self) -> ListValueModel:
        """Load the lookahead evaluator."""
        return self.checkpoint(EVALUATOR).model

    def valuer(self, name: str) -> Valuer:
        """Make a valuer of the test requests from a value model, or from the truth."""
        if name == TRUTH:
            return TruthValuer(self.data.metadata, self.test.request_ids, self.profile.length)
        return ModelValuer(self.checkpoint(name).model, self.test, self.profile.length, self.device)


def value_step(name: str) -> str:
    """Name the step that trains a value model."""
    return f"value/{name}"


def comparison_step(name: str) -> str:
    """Name the step that values random lists under a valuer."""
    return f"comparison/{name}"


def exhaustive_step(name: str) -> str:
    """Name the step that values all lists of some requests under a valuer."""
    return f"exhaustive/{name}"


def planner_step(planner: str, mix: int, seed: int) -> str:
    """Name the step that makes a planner's lists for one objective mix and seed."""
    return f"planners/{planner}/mix-{mix}/seed-{seed}"


def chunks(count: int, size: int) -> Iterator[Ints]:
    """Cut 0 … count − 1 into runs of at most `size`."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def _sample(count: int, most: int) -> Ints:
    order = np.random.default_rng([_SAMPLING_SEED, count]).permutation(count)
    return order[:most]
