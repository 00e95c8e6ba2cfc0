"""Value the lists of a method by the truth, and keep the values beside them.

Axis letters: S seeds, n requests, m places.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from models.contract.arrays import Floats, Ints
from models.contract.embeddings import unit_embeddings
from models.evaluation.simulated.comparison import SimulatedCase
from models.evaluation.truth.figures.intervals import Sample
from models.evaluation.truth.paths import LISTS_FILE
from models.files import whole_file
from models.planners.references.sort_gen import Preferences

OUTCOMES_FILE: Final = "outcomes.npz"
Cases = Callable[[], Sequence[SimulatedCase]]
"""The test requests with their truth, read only where something must be valued."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Hold what a method's lists are truly worth.

    `cumulative` [S, n, m, 3] holds the expected (clicks, conversions, GMV) of the first 1, 2, … m items, `diversity`
    [S, n] one less the mean cosine between two items of a list. `seeds` as in `Sample`.
    """

    seeds: tuple[int, ...]
    cumulative: Floats
    diversity: Floats

    def total(self, objective: int) -> Sample:
        """Return whole lists' outcomes of one objective."""
        return Sample(self.cumulative[:, :, -1, objective], self.seeds)

    def up_to(self, place: int, objective: int) -> Sample:
        """Return the outcomes of the items up to a place, which counts from 0."""
        return Sample(self.cumulative[:, :, place, objective], self.seeds)

    def worth(self, preferences: Preferences) -> Sample:
        """Return whole lists' values under preferences."""
        return Sample(preferences.step_value(self.cumulative[:, :, -1]), self.seeds)

    def spread(self) -> Sample:
        """Return the lists' diversities."""
        return Sample(self.diversity, self.seeds)


def read_outcomes(folders: Mapping[int, Path], cases: Cases, *, seeded: bool) -> Outcomes:
    """Read the outcomes of each seed's lists, valuing those that were not.

    Raises `ValueError` naming a file that holds no lists of the cases.
    """
    value_lists(folders.values(), cases)
    found = [_kept(folder, read_lists_file(folder / LISTS_FILE)) for folder in folders.values()]
    cumulative, diversity = zip(*(kept for kept in found if kept is not None), strict=True)
    return Outcomes(tuple(folders) if seeded else (), np.stack(cumulative), np.stack(diversity))


def value_lists(folders: Iterable[Path], cases: Cases) -> None:
    """Value the lists of folders that were not valued yet, and keep the values.

    All lists of a request are valued at once, which takes about as long as one. Raises `ValueError` naming a file that
    holds no lists of the cases.
    """
    read = {folder: read_lists_file(folder / LISTS_FILE) for folder in folders}
    waiting = {folder: lists for folder, lists in read.items() if _kept(folder, lists) is None}
    if not waiting:
        return
    requests = cases()
    for folder, lists in waiting.items():
        _check(folder / LISTS_FILE, lists, requests)
    together = np.stack(list(waiting.values()), axis=1)
    cumulative = np.stack([case.outcomes(lists) for case, lists in zip(requests, together, strict=True)], axis=1)
    diversity = np.stack([diversities(case, lists) for case, lists in zip(requests, together, strict=True)], axis=1)
    for folder, *values in zip(waiting, cumulative, diversity, strict=True):
        _keep(folder, waiting[folder], *values)


def diversities(case: SimulatedCase, lists: Ints) -> Floats:
    """Compute one less the mean cosine between two items of lists [k, m].

    Not a number for lists of one item.
    """
    unit = unit_embeddings([candidate.embedding for candidate in case.record.candidates]).astype(np.float64)
    cosines = (unit @ unit.T)[lists[:, :, None], lists[:, None, :]]
    places = lists.shape[1]
    if places < 2:
        return np.full(len(lists), np.nan)
    between = cosines.sum(axis=(1, 2)) - np.trace(cosines, axis1=1, axis2=2)
    spread: Floats = 1 - between / (places * (places - 1))
    return spread


def read_lists_file(path: Path) -> Ints:
    """Read lists int64 [n, m]. Raises `ValueError` naming a file that has none."""
    try:
        lists: Ints = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: holds no lists: {error}") from None
    if lists.ndim != 2 or not np.issubdtype(lists.dtype, np.integer):
        raise ValueError(f"{path}: holds {lists.dtype} of shape {lists.shape}, not lists [n, m]")
    return lists


def _check(path: Path, lists: Ints, cases: Sequence[SimulatedCase]) -> None:
    """Raise `ValueError` unless a file has a list of candidates, each once, for every case."""
    shape = (len(cases), cases[0].length)
    if lists.shape != shape:
        found, wanted = (f"{count} lists of {places} places" for count, places in (lists.shape, shape))
        raise ValueError(f"{path}: holds {found}, not {wanted}")
    for case, chosen in zip(cases, lists.tolist(), strict=True):
        if len(set(chosen)) < len(chosen) or min(chosen) < 0 or max(chosen) >= len(case.record.candidates):
            request = case.record.request_id
            raise ValueError(f"{path}: list of request {request}: {chosen} are not candidates, each once")


def _keep(folder: Path, lists: Ints, cumulative: Floats, diversity: Floats) -> None:
    with whole_file(folder / OUTCOMES_FILE) as partial, partial.open("wb") as file:
        np.savez(file, key=np.array(_digest(lists)), cumulative=cumulative, diversity=diversity)


def _kept(folder: Path, lists: Ints) -> tuple[Floats, Floats] | None:
    """Return what was computed of the same lists before, if anything was."""
    path = folder / OUTCOMES_FILE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return (file["cumulative"], file["diversity"]) if str(file["key"]) == _digest(lists) else None
    except (ValueError, KeyError, zipfile.BadZipFile):
        return None  # Written by an earlier version: it is computed anew.


def _digest(lists: Ints) -> str:
    return hashlib.sha256(lists.tobytes()).hexdigest()
