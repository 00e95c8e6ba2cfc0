"""Value the lists of a method by the truth, and keep the values beside them.

Axis letters: S seeds, n requests, m places.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
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
    """Value the lists of each seed's folder. Raises `ValueError` naming a file that holds no lists of the cases."""
    found = [_outcomes(folder, cases) for folder in folders.values()]
    cumulative, diversity = zip(*found, strict=True)
    return Outcomes(tuple(folders) if seeded else (), np.stack(cumulative), np.stack(diversity))


def _outcomes(folder: Path, cases: Cases) -> tuple[Floats, Floats]:
    """Compute the cumulative outcomes [n, m, 3] and diversities [n] of a folder's lists, or take the kept ones."""
    lists = read_lists_file(folder / LISTS_FILE)
    key = hashlib.sha256(lists.tobytes()).hexdigest()
    kept = _kept(folder / OUTCOMES_FILE, key)
    if kept is not None:
        return kept
    requests = cases()
    if len(lists) != len(requests):
        raise ValueError(f"{folder / LISTS_FILE}: has {len(lists)} lists for {len(requests)} requests")
    pairs = list(zip(requests, lists, strict=True))
    cumulative = np.stack([case.outcomes(chosen[None])[0] for case, chosen in pairs])
    diversity = np.array([diversity_of(case, chosen) for case, chosen in pairs])
    with whole_file(folder / OUTCOMES_FILE) as partial, partial.open("wb") as file:
        np.savez(file, key=np.array(key), cumulative=cumulative, diversity=diversity)
    return cumulative, diversity


def read_lists_file(path: Path) -> Ints:
    """Read lists int64 [n, m]. Raises `ValueError` naming a file that has none."""
    try:
        lists: Ints = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: holds no lists: {error}") from None
    if lists.ndim != 2 or not np.issubdtype(lists.dtype, np.integer):
        raise ValueError(f"{path}: holds {lists.dtype} of shape {lists.shape}, not lists [n, m]")
    return lists


def diversity_of(case: SimulatedCase, chosen: Ints) -> float:
    """Compute one less the mean cosine between two items of a list; not a number for a list of one."""
    unit = unit_embeddings([case.record.candidates[i].embedding for i in chosen.tolist()]).astype(np.float64)
    if len(unit) < 2:
        return float("nan")
    return 1 - float((unit @ unit.T)[np.triu_indices(len(unit), 1)].mean())


def _kept(path: Path, key: str) -> tuple[Floats, Floats] | None:
    """Return what was computed of the same lists before, if anything was."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return (file["cumulative"], file["diversity"]) if str(file["key"]) == key else None
    except (ValueError, KeyError, zipfile.BadZipFile):
        return None  # Written by an earlier version: it is computed anew.
