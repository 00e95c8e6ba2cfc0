"""Hold the logs of one world as every method gets them, and the truth as only tables see it.

Axis letters: n lists or requests, N candidates, L and m places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from models.contract.spec import FeatureSpec
from models.data.batches import ListArrays
from models.data.records import ListRecord
from models.data.slates import SlateArrays
from models.evaluation.simulated.comparison import SimulatedCase
from models.planners.worth import Triple


@dataclass(frozen=True)
class Bench:
    """Hold one world's logs: the list `file`, and what is read of it when first asked for.

    `units` are s_o of the training lists; all methods plan in these.
    """

    folder: Path
    file: Path
    length: int
    device: torch.device

    @property
    def spec(self) -> FeatureSpec:
        """Return the feature spec, fitted to the training lists."""
        raise NotImplementedError

    @property
    def units(self) -> Triple:
        """Return the means per exposed slot of (clicks, conversions, GMV) in the training lists."""
        raise NotImplementedError

    @property
    def train(self) -> ListArrays:
        """Return the shown training lists as arrays."""
        raise NotImplementedError

    @property
    def held_out(self) -> ListArrays:
        """Return the shown validation lists as arrays."""
        raise NotImplementedError

    def slates(self, count: int) -> SlateArrays:
        """Draw `count` training requests with all candidates, for generators; more extend fewer."""
        raise NotImplementedError

    def valid_slates(self, count: int) -> SlateArrays:
        """Draw `count` validation requests with all candidates."""
        raise NotImplementedError

    @property
    def valid(self) -> Sequence[ListRecord]:
        """Return the validation requests that settings are chosen on."""
        raise NotImplementedError

    @property
    def cases(self) -> Sequence[SimulatedCase]:
        """Return the test requests with their truth, which the tables value lists by."""
        raise NotImplementedError
