"""Hold the logs of one world for all methods, and its truth for the tables.

Everything is read from the list file when it is first asked for. Methods learn from its training lists, choose settings
on requests of its validation lists, and plan for requests of its test lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import torch

from models.contract.spec import FeatureSpec
from models.data.batches import ListArrays
from models.data.fit_spec import SpecFitter
from models.data.list_file import ListFile, read_lists
from models.data.list_splits import ListSplits
from models.data.records import ListRecord, Split
from models.data.slates import SlateArrays
from models.evaluation.simulated.command import read_cases
from models.evaluation.simulated.comparison import SimulatedCase
from models.judging.value_report import mean_per_slot
from models.planners.worth import Triple, triple_of

_SLATES_SEED = 20


@dataclass(frozen=True)
class Bench:
    """Hold one world's logs, for lists of `length` places.

    `requests` and `valid_requests` are how many test and validation requests are planned for. Large arrays lie in
    `folder` while they are used.
    """

    folder: Path
    file: Path
    length: int
    requests: int
    valid_requests: int
    device: torch.device

    @cached_property
    def _slates(self) -> dict[tuple[Split, int], SlateArrays]:
        return {}

    @cached_property
    def _fitted(self) -> tuple[ListSplits, FeatureSpec]:
        fitter = SpecFitter()
        splits = ListSplits.read(ListFile(self.file), fitter)
        return splits, fitter.fit()

    @property
    def spec(self) -> FeatureSpec:
        """Return the feature spec, fitted to the training lists."""
        return self._fitted[1]

    @cached_property
    def units(self) -> Triple:
        """Return the means per exposed slot of (clicks, conversions, GMV) in the training lists: s_o."""
        return triple_of(mean_per_slot(self.train)[0])

    @cached_property
    def train(self) -> ListArrays:
        """Return the shown training lists as arrays."""
        return self._shown("train")

    @cached_property
    def held_out(self) -> ListArrays:
        """Return the shown validation lists as arrays."""
        return self._shown("valid")

    def slates(self, split: Split, count: int) -> SlateArrays:
        """Draw `count` requests of a split with all candidates, for generators; more extend fewer.

        They are kept, since several fits learn from the same ones.
        """
        if (split, count) not in self._slates:
            splits, spec = self._fitted
            drawn = splits.draw({split: count}, _SLATES_SEED).slates(spec, self.length, self.folder)
            self._slates[split, count] = drawn
        return self._slates[split, count]

    @cached_property
    def valid(self) -> Sequence[ListRecord]:
        """Return the validation requests that settings are chosen on."""
        return tuple(islice(read_lists(self.file, "valid"), self.valid_requests))

    @cached_property
    def cases(self) -> Sequence[SimulatedCase]:
        """Return the test requests with their truth, which the tables value lists by."""
        return tuple(read_cases(self.file, self.length, self.requests))

    @property
    def test(self) -> Sequence[ListRecord]:
        """Return the test requests as a service would get them."""
        return tuple(case.record for case in self.cases)

    def _shown(self, split: Split) -> ListArrays:
        splits, spec = self._fitted
        return splits.encode(spec, self.length, {"shown": (split,)}, self.folder, embeddings=True)["shown"]
