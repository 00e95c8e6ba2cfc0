"""Check a list file in one pass, window by window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import NoReturn

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
from models.data.places import LEARNT, PlaceTally
from models.data.records import ListFileError, Split
from models.data.windows import ListWindow


class Survey:
    """Hold all that is counted of some lists, in bounded memory.

    They are those of one part file, or of all. `first` is the row of the first list among those of all parts.
    """

    def __init__(self, choices: FieldChoices, *, embeddings: bool, first: int = 0) -> None:
        self.choices = choices
        self.reads_embeddings = embeddings
        self.counts: dict[Split, Counts] = {split: Counts() for split in SPLITS}
        self.shown_lengths = Lengths()
        self.places = PlaceTally()
        self.candidate_lengths = Lengths()
        self.fields = FieldTallies(choices, first)
        self.exposure = ExposureTally()
        self.requests = RequestTally()
        self.users = UserTally()
        self.spec: FeatureSpec | None = None

    def read(self, windows: Iterable[ListWindow], fitter: SpecFitter) -> None:
        """Count all windows, and fit to those trained on. Raises `ValueError` as `SpecFitter.add` does."""
        for window in windows:
            self._add(window)
            trained = np.flatnonzero(is_split(window, "train"))
            if len(trained):
                bare = replace(window, candidates=replace(window.candidates, embeddings=None))
                fitter.add(bare if len(trained) == len(window) else bare.take(trained))

    def extend(self, other: Survey) -> None:
        """Count the lists of the next part too."""
        for split, counts in other.counts.items():
            self.counts[split] += counts
        self.shown_lengths.extend(other.shown_lengths)
        self.places.extend(other.places)
        self.candidate_lengths.extend(other.candidate_lengths)
        self.fields.extend(other.fields)
        self.exposure.extend(other.exposure)
        self.requests.extend(other.requests)
        self.users.extend(other.users)

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
        self.places.add(window, np.any([is_split(window, split) for split in LEARNT], axis=0))
        self.candidate_lengths.add(np.diff(window.starts))
        self.fields.add(window)
        self.exposure.add(window)
        self.requests.add(window)
        self.users.add(window)


class SurveyOfParts:
    """Join the surveys of the part files of a source, in their order."""

    def __init__(self, choices: FieldChoices) -> None:
        self.fitter = SpecFitter(choices)
        self._choices = choices
        self._whole: Survey | None = None

    @property
    def lists(self) -> int:
        """Count the lists so far."""
        return self._whole.total.lists if self._whole else 0

    def add(self, survey: Survey) -> None:
        """Count the next part, to whose lists `fitter` is fitted too."""
        if self._whole is None:
            self._whole = survey
        else:
            self._whole.extend(survey)

    def whole(self, source: str | Path) -> Survey:
        """Return the survey of all parts, with the feature spec.

        Raises `ListFileError` without lists, and `ValueError` for a choice about a field that no list has, or that does
        not fit its field.
        """
        if self._whole is None or not self.lists:
            raise ListFileError(f"{source}: has no lists")
        check_choices(self._choices, self._whole.fields.names())
        if self._whole.counts["train"].lists:
            self._whole.spec = self.fitter.fit()
        return self._whole


def survey_file(source: str | Path, choices: FieldChoices | None = None, *, embeddings: bool = True) -> Survey:
    """Count a list file in one pass, part by part; `embeddings` only if asked for.

    Raises `ListFileError` for a broken file, and `ValueError` as `SurveyOfParts` and `Survey.read` do.
    """
    file, choices = ListFile(source), choices or FieldChoices()
    parts = SurveyOfParts(choices)
    with check_bar(file) as bar:
        windows = _told(file.windows(embeddings=embeddings), bar)
        for _, own in groupby(windows, key=lambda window: window.source):
            survey = Survey(choices, embeddings=embeddings, first=parts.lists)
            survey.read(own, parts.fitter)
            parts.add(survey)
    return parts.whole(source)


def check_bar(file: ListFile) -> tqdm[NoReturn]:
    """Show the progress of a check."""
    return tqdm(total=len(file), desc="check", unit="list", disable=None, leave=False)


def _told(windows: Iterator[ListWindow], bar: tqdm[NoReturn]) -> Iterator[ListWindow]:
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
