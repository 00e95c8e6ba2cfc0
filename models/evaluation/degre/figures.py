"""Compute the report's figures, as plain JSON, from the steps that are done.

Hit rates with intervals over requests, paired differences, gains, optimality and exact shares on the exhaustive subset.
They come from values that judges gave; no planner and no model is run.

Axis letters: R requests, K comparison lists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any, Final

import numpy as np

from models.contract.arrays import Floats, Floats32
from models.evaluation.degre import hit_rate
from models.evaluation.degre.hit_rate import PERCENTS, TOLERANCE
from models.evaluation.degre.judges import Judge
from models.evaluation.degre.planners_table import PRIOR, PlannerRow, beamed, grid
from models.evaluation.degre.scores import PlannerRun, finished_valuers, load_values, valued
from models.evaluation.degre.value_steps import load_comparison, load_exhaustive, load_orders
from models.evaluation.degre.workspace import Workspace, exhaustive_step
from models.evaluation.steps import read_marker
from models.judging.metrics import Interval, bootstrap_interval, mean_interval, paired_interval

SEED: Final = 0
"""Of every bootstrap."""


class JudgeView:
    """Judge planners by the comparison values of one judge under one objective mix."""

    def __init__(self, space: Workspace, judge: Judge, mix: int) -> None:
        self.judge = judge
        self._space = space
        self._mix = mix
        parts = [load_comparison(space.root, name)[mix] for name in judge.members]
        self._comparison = np.sort(np.mean(parts, axis=0), axis=1)

    def values(self, planner: PlannerRow, seeds: int) -> list[Floats]:
        """Load the values [R] of each run that has been valued."""
        return [run[: len(self._comparison)] for run in self.every_value(planner, seeds)]

    def every_value(self, planner: PlannerRow, seeds: int) -> list[Floats]:
        """Load the values of each run, those of requests without comparison lists too."""
        runs = [PlannerRun(planner, self._mix, seed) for seed in range(seeds)]
        known = valued(self._space.root, runs, self.judge.members)
        return [load_values(self._space.root, run, self.judge.members) for run in known]

    def hits(self, planners: Sequence[PlannerRow], seeds: int) -> dict[str, Any]:
        """Compute the judge's order share, and a row of hit rates for each planner."""
        parts = [load_orders(self._space.root, name)[self._mix] for name in self.judge.members]
        share = hit_rate.order_share(np.mean(parts, axis=0), self._comparison)
        return {"order_share": share, "rows": [self._hit_row(planner, seeds) for planner in planners]}

    def differences(self, ours: Sequence[PlannerRow], theirs: Sequence[PlannerRow], seeds: int) -> list[dict[str, Any]]:
        """Pair the hit rates and values of planners on the same requests, but for ceilings."""
        rows = []
        for a, b in ((a, b) for a in ours for b in theirs if a != b and not self._is_ceiling(b)):
            x, y = self.values(a, seeds), self.values(b, seeds)
            if x and y and len(x[0]) == len(y[0]):
                found = {k: hit_rate.hit_difference(x, y, self._comparison, k, seed=SEED) for k in PERCENTS}
                difference = {str(k): asdict(interval) for k, interval in found.items()}
                worth = paired_interval(np.mean(x, axis=0), np.mean(y, axis=0), seed=SEED)
                rows.append({"ours": a.title, "theirs": b.title, "difference": difference, "value": asdict(worth)})
        return rows

    def distances(self, planners: Sequence[PlannerRow], seeds: int) -> list[dict[str, Any]]:
        """Pair the values of the first of `planners` with those of the others.

        On all requests that they have. ``needed`` is the number of requests from which an interval as this one would
        not reach 0.
        """
        first, *others = [np.mean(runs, axis=0) if (runs := self.every_value(p, seeds)) else None for p in planners]
        rows = []
        for planner, found in zip(planners[1:], others, strict=True):
            if first is not None and found is not None:
                difference = mean_interval(found - first, seed=SEED)
                rows.append({"title": planner.title, "difference": asdict(difference), "needed": needed(difference)})
        return rows

    def sets_and_orders(self, planners: Sequence[PlannerRow], base: PlannerRow) -> list[dict[str, Any]] | None:
        """Split each planner's gain over `base` by sets and orders; None without `base`.

        A list's set is worth the mean over random permutations of it, its order the rest. On the requests of which
        permutations are valued; seed 0.
        """
        root, members = self._space.root, self.judge.members
        parts = {}
        for run in valued(root, [PlannerRun(p, 0, 0) for p in (*planners, base)], members, ("values", "sets")):
            sets = load_values(root, run, members, "sets")
            values = load_values(root, run, members)[: len(sets)]
            parts[run.planner] = {"gain": values, "set": sets, "order": values - sets}
        if base not in parts:
            return None
        floor = parts.pop(base)
        return [
            {"title": planner.title, "ceiling": self._is_ceiling(planner)}
            | {name: _interval(found[name] - floor[name]) for name in floor}
            for planner, found in parts.items()
            if len(found["gain"]) == len(floor["gain"])
        ]

    def gains(
        self, planners: Sequence[PlannerRow], base: PlannerRow, ceiling: PlannerRow, seeds: int
    ) -> list[dict[str, Any]] | None:
        """Compute planners' gains over `base` and shares of `ceiling`'s gain; None without `base`.

        ``gain`` is in clicks, ``relative`` over the mean value of `base`, ``kept`` over the mean gain of `ceiling`;
        None where these are not above 0 beyond noise. A request counts with the mean over seeds.
        """
        runs = {planner: self.values(planner, seeds) for planner in (*planners, base, ceiling)}
        values = {planner: np.mean(found, axis=0) for planner, found in runs.items() if found}
        if base not in values:
            return None
        floor = values[base]
        most = values[ceiling] - floor if ceiling in values else None
        return [
            {"title": planner.title, "ceiling": self._is_ceiling(planner), "seeds": len(runs[planner])}
            | gain_figures(values[planner] - floor, floor, most)
            for planner in planners
            if planner != base and len(values.get(planner, ())) == len(floor)
        ]

    def _is_ceiling(self, planner: PlannerRow) -> bool:
        """Tell whether a planner searches a member of the judge, and is no competitor."""
        return planner.searches in self.judge.members

    def _hit_row(self, planner: PlannerRow, seeds: int) -> dict[str, Any]:
        """Compute hit rates with intervals, mean value and number of seeds; None without valued runs."""
        runs = self.values(planner, seeds)
        row: dict[str, Any] = {"planner": planner.name, "title": planner.title, "family": planner.family}
        row |= {"ceiling": self._is_ceiling(planner), "seeds": len(runs)}
        if not runs or not len(runs[0]):
            return row | {"requests": 0, "value": None, "hit_rate": None}
        comparison = self._comparison[: len(runs[0])]
        return row | {
            "requests": len(runs[0]),
            "value": _interval(np.mean(runs, axis=0)),
            "hit_rate": {str(k): asdict(hit_rate.hit_rate(runs, comparison, k, seed=SEED)) for k in PERCENTS},
            "hit_rate_by_seed": {
                str(k): [float(hit_rate.hits(run, comparison, k).mean()) for run in runs] for k in PERCENTS
            },
        }


@lru_cache(maxsize=16)
def judge_view(space: Workspace, judge: Judge, mix: int) -> JudgeView:
    """Make a judge's bench; its comparison values are read and sorted once."""
    return JudgeView(space, judge, mix)


def per_judge(space: Workspace, mix: int, table: Callable[[JudgeView], Any]) -> dict[str, Any]:
    """Compute a table for each judge that is ready; None is left out.

    A judge is ready when all its members have valued the comparison lists.
    """
    known = finished_valuers(space)
    ready = (judge for judge in space.judges if all(name in known for name in judge.members))
    tables = {judge.name: table(judge_view(space, judge, mix)) for judge in ready}
    return {name: found for name, found in tables.items() if found is not None}


def hit_table(space: Workspace, planners: Sequence[PlannerRow], mix: int, seeds: int) -> dict[str, Any]:
    """Compute `JudgeView.hits` per judge; None where it is not ready."""
    tables = per_judge(space, mix, lambda view: view.hits(planners, seeds))
    return {judge.name: tables.get(judge.name) for judge in space.judges}


def gain_table(space: Workspace, planners: Sequence[PlannerRow], mix: int, seeds: int) -> dict[str, Any]:
    """Compute `JudgeView.gains` over the prior sort per judge, against those of the beam search."""
    beam = beamed(space.profile)
    return per_judge(space, mix, lambda view: view.gains(planners, PRIOR, beam, seeds))


def grid_table(space: Workspace) -> list[dict[str, Any]]:
    """Compute the hit rates of every value model under every planner, per judge.

    None where a judge is not ready.
    """
    entries = grid(space.profile)
    tables = hit_table(space, [entry.row for entry in entries], 0, 1)
    rows = {judge: table["rows"] if table else [None] * len(entries) for judge, table in tables.items()}
    return [
        {"model": entry.model, "planner": entry.planner, "judges": {judge: rows[judge][i] for judge in rows}}
        for i, entry in enumerate(entries)
    ]


def gain_figures(gain: Floats, floor: Floats, most: Floats | None) -> dict[str, Any]:
    """Compute a planner's figures from its `gain`, the `floor` and a search's gain `most`, each [R]."""
    kept = None if most is None else _ratio(gain, most)
    return {"gain": _interval(gain), "relative": _ratio(gain, floor), "kept": kept}


def exhaustive_table(space: Workspace, planners: Sequence[PlannerRow], seeds: int) -> dict[str, Any]:
    """Compute per single-valuer judge the optimality and the exact share of better lists."""
    tables: dict[str, Any] = {}
    for judge in space.judges:
        marker = read_marker(space.root, exhaustive_step(judge.members[0])) if len(judge.members) == 1 else None
        if marker is None:
            continue
        requests = int(marker["notes"]["requests"])
        tables[judge.name] = {"requests": 0, "why": marker["notes"].get("why")}
        if judge.members[0] in finished_valuers(space) and requests:
            every = [values[0] for values, _ in load_exhaustive(space.root, judge.members[0])]
            view = judge_view(space, judge, 0)
            rows = [_exact_row(view.values(planner, seeds), every) | {"title": planner.title} for planner in planners]
            tables[judge.name] = {"requests": requests, "lists": len(every[0]), "rows": rows}
    return tables


def needed(difference: Interval) -> int | None:
    """Estimate the requests that tell a difference from 0.

    The half width of an interval falls with their root. None for exactly 0.
    """
    half = (difference.high - difference.low) / 2
    return math.ceil(difference.lists * (half / difference.mean) ** 2) if difference.mean else None


def _interval(values: Floats) -> dict[str, Any]:
    return asdict(mean_interval(values, seed=SEED))


def _ratio(above: Floats, below: Floats) -> dict[str, Any] | None:
    """Divide two means over the same requests; None unless the lower is surely above 0."""
    if mean_interval(below, seed=SEED).low <= TOLERANCE:
        return None

    def ratio(a: Floats, b: Floats, axis: int = -1) -> Any:
        return np.mean(a, axis=axis) / np.maximum(np.mean(b, axis=axis), TOLERANCE)

    return asdict(bootstrap_interval((above, below), ratio, seed=SEED, level=0.95, draws=2000))


def _exact_row(runs: Sequence[Floats], every: Sequence[Floats32]) -> dict[str, Any]:
    if not runs:
        return {"optimality": None, "better": None, "hit_rate": None}
    n = len(every)
    mean, best = np.array([v.mean(dtype=np.float64) for v in every]), np.array([float(v[-1]) for v in every])
    shares = np.array([[_better_share(x, some) for x, some in zip(run[:n], every, strict=True)] for run in runs])
    gained = np.mean([hit_rate.optimality(run[:n], mean, best) for run in runs], axis=0)
    return {
        "optimality": _interval(gained),
        "better": _interval(shares.mean(axis=0)),
        "hit_rate": {str(k): float((shares < k / 100).mean()) for k in PERCENTS},
    }


def _better_share(value: float, every: Floats32) -> float:
    return 1 - int(np.searchsorted(every, value + TOLERANCE, side="right")) / len(every)
