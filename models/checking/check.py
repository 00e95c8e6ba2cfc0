"""Check a list file in one pass, window by window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from models.checking.counts import SPLITS, Counts, Lengths, counts_by_split, is_split
from models.checking.exposure import ExposureTally
from models.checking.fields import FieldReport, FieldTallies, field_reports
from models.checking.repeats import RequestTally, UserTally
from models.contract.spec import FeatureSpec
from models.data.field_choices import FieldChoices
from models.data.fit_spec import SpecFitter
from models.data.list_file import ListFile
from models.data.records import ListFileError, Split
from models.data.windows import ListWindow


class Survey:
    """Hold all that is counted of a list file, in bounded memory."""

    def __init__(self, choices: FieldChoices, *, embeddings: bool) -> None:
        self.choices = choices
        self.reads_embeddings = embeddings
        self.counts: dict[Split, Counts] = {split: Counts() for split in SPLITS}
        self.shown_lengths = Lengths()
        self.candidate_lengths = Lengths()
        self.fields = FieldTallies(choices)
        self.exposure = ExposureTally()
        self.requests = RequestTally()
        self.users = UserTally()
        self.spec: FeatureSpec | None = None

    def read(self, windows: Iterator[ListWindow]) -> None:
        """Count all windows, and fit the feature spec to those trained on.

        Raises `ValueError` for a choice about a field that no window has, or that does not fit its field.
        """
        fitter = SpecFitter(self.choices)
        for window in windows:
            self._add(window)
            trained = np.flatnonzero(is_split(window, "train"))
            if len(trained):
                bare = replace(window, candidates=replace(window.candidates, embeddings=None))
                fitter.add(bare if len(trained) == len(window) else bare.take(trained))
        check_choices(self.choices, self.fields.names())
        if self.counts["train"].lists:
            self.spec = fitter.fit()

    @property
    def total(self) -> Counts:
        """Add up the splits."""
        return sum(self.counts.values(), Counts())

    @cached_property
    def reports(self) -> tuple[FieldReport, ...]:
        """Describe every field, once all windows are read."""
        return tuple(field_reports(self.fields, self.spec))

    def _add(self, window: ListWindow) -> None:
        for split, counts in counts_by_split(window).items():
            self.counts[split] += counts
        self.shown_lengths.add(window.shown_counts)
        self.candidate_lengths.add(np.diff(window.starts))
        for tally in (self.fields, self.exposure, self.requests, self.users):
            tally.add(window)


def survey_file(source: str | Path, choices: FieldChoices | None = None, *, embeddings: bool = True) -> Survey:
    """Read a list file once and count it; `embeddings` only if asked for.

    Raises `ListFileError` for a broken file, and `ValueError` as `Survey.read` does.
    """
    file = ListFile(source)
    survey = Survey(choices or FieldChoices(), embeddings=embeddings)
    bar = tqdm(total=len(file), desc="check", unit="list", disable=None, leave=False)
    with bar:
        survey.read(_told(file.windows(embeddings=embeddings), bar))
    if not survey.total.lists:
        raise ListFileError(f"{source}: has no lists")
    return survey


def _told(windows: Iterator[ListWindow], bar: Any) -> Iterator[ListWindow]:
    for window in windows:
        yield window
        bar.update(len(window))


def check_choices(choices: FieldChoices, names: set[str]) -> None:
    """Raise `ValueError` for a choice without a field, or that does not fit it."""
    short = {name.partition(".")[2] for name in names}
    for name, kind in choices.kinds.items():
        if name not in names | short:
            listed = ", ".join(sorted(names))
            raise ValueError(f"there is no field {name!r} to choose a kind for; there are: {listed}")
        if kind in ("category", "hash") and not any(_is_feature(own, name) for own in names):
            raise ValueError(f"{name} is a score or the price, which can be a number or ignored, not {kind!r}")


def _is_feature(own: str, name: str) -> bool:
    """Tell whether `name` means the field `own`, and that is no score."""
    group, _, short = own.partition(".")
    return group != "scores" and short != "" and name in (own, short)
