"""Value the lists of planners: every finished run under every finished valuer.

Axis letters: R requests, P runs, O orders of a list, L positions, M objective mixes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from tqdm import tqdm

from models.contract.arrays import Floats
from models.evaluation.degre.hit_rate import permutations_of
from models.evaluation.degre.judges import mix_values
from models.evaluation.degre.planners_table import PlannerRow
from models.evaluation.degre.workspace import LISTS_FILE, Workspace, chunks, comparison_step, planner_step, save_array
from models.evaluation.steps import is_done

ScoreKind = Literal["values", "sets"]
"""The value of a run's lists, or the mean value of random permutations of each: the worth of its set."""

_REQUESTS: Final = 64
_PERMUTING_SEED: Final = 7


@dataclass(frozen=True, slots=True)
class PlannerRun:
    """Identify one set of lists: a planner under an objective mix, learnt with a seed."""

    planner: PlannerRow
    mix: int
    seed: int

    @property
    def step(self) -> str:
        """Return the name of its step."""
        return planner_step(self.planner.name, self.mix, self.seed)

    def path(self, root: Path, valuer: str, kind: ScoreKind) -> Path:
        """Return the file with its values under a valuer."""
        return root / self.step / f"{kind}-{valuer}.npy"


def finished(root: Path, runs: Sequence[PlannerRun]) -> list[PlannerRun]:
    """Return those of `runs` whose lists are there."""
    return [run for run in runs if is_done(root, run.step)]


def valued(
    root: Path, runs: Sequence[PlannerRun], members: Sequence[str], kinds: Sequence[ScoreKind] = ("values",)
) -> list[PlannerRun]:
    """Return the finished `runs` that are valued under all of `members`, in all of `kinds`.

    A run that another process finished after `score` looked is not among them: it is left to the next report.
    """
    known = finished(root, runs)
    return [run for run in known if all(_is_current(root, run, n, m) for m in kinds for n in members)]


def load_values(root: Path, run: PlannerRun, members: Sequence[str], kind: ScoreKind = "values") -> Floats:
    """Load the mean over valuers of a run's values [R]; some planners have fewer requests."""
    values: Floats = np.mean([np.load(run.path(root, name, kind)) for name in members], axis=0)
    return values


def finished_valuers(space: Workspace) -> list[str]:
    """Return the members of judges whose comparison values are there."""
    names = dict.fromkeys(member for judge in space.judges for member in judge.members)
    return [name for name in names if is_done(space.root, comparison_step(name))]


def score(space: Workspace, runs: Sequence[PlannerRun], kind: ScoreKind = "values") -> None:
    """Value finished `runs` under all finished valuers; current values are kept."""
    for name in finished_valuers(space):
        waiting = [run for run in runs if not _is_current(space.root, run, name, kind)]
        if waiting:
            _score(space, name, waiting, kind)


def _score(space: Workspace, name: str, runs: Sequence[PlannerRun], kind: ScoreKind) -> None:
    lists = [np.load(space.root / run.step / LISTS_FILE)[:, None] for run in runs]
    requests = max(map(len, lists)) if kind == "values" else min(space.profile.order_requests, len(space.test))
    lists = [some[:requests] for some in lists]
    if kind == "sets":
        orders = space.profile.order_permutations
        lists = [permutations_of(some[:, 0], range(len(some)), orders, seed=_PERMUTING_SEED) for some in lists]
    # All runs are valued together: valuers read common prefixes once.
    stacked = np.full((requests, len(runs), *lists[0].shape[1:]), -1, np.int64)
    for column, some in enumerate(lists):
        stacked[: len(some), column] = some
    valuer = space.valuer(name)
    bar = tqdm(list(chunks(requests, _REQUESTS)), desc=f"value lists, {name}", disable=None)
    outcomes = np.concatenate(
        [valuer.outcomes(rows, stacked[rows].reshape(len(rows), -1, stacked.shape[3])) for rows in bar]
    )
    values = mix_values(outcomes, space.mixes, space.data.units).reshape(-1, *stacked.shape[:3])  # [M, R, P, O]
    for column, (run, some) in enumerate(zip(runs, lists, strict=True)):
        save_array(run.path(space.root, name, kind), values[run.mix, : len(some), column].mean(axis=1))


def _is_current(root: Path, run: PlannerRun, valuer: str, kind: ScoreKind) -> bool:
    """Tell whether a run's lists have been valued since they were last written."""
    path = run.path(root, valuer, kind)
    return path.is_file() and path.stat().st_mtime_ns >= (root / run.step / LISTS_FILE).stat().st_mtime_ns
