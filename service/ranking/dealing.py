"""Which candidates stand in which queue, and the order of those that the model does not reach.

Letters: n candidates; N slots, of which there are as many as the bundle's queues have places unless its graph takes any
number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from models.contract.formulas import WEIGHT_NAMES, Column, FormulaError, compile_formula
from models.contract.manifest import Manifest
from models.contract.partition import descending, partition, sorted_slots
from models.contract.spec import FeatureSpec
from service.contract.problems import Problem, invalid
from service.contract.schemas import Candidate, Source
from service.ranking.plan import Plan


@dataclass(frozen=True, slots=True)
class Slots:
    """The candidate of every slot [N], −1 where it is empty, and the queue that the slot is in [N]."""

    candidates: NDArray[np.int64]
    queues: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.candidates)


class ScoreTable:
    """The columns of one request that formulas may name, built when first asked for.

    `alpha`, `beta`, `gamma` and `price` always mean the request's weights and the candidate's own price.
    """

    def __init__(self, candidates: Sequence[Candidate], weights: Sequence[float], spec: FeatureSpec) -> None:
        self._candidates = candidates
        self._scores = [candidate.scores for candidate in candidates]
        self._spec = spec
        self._columns: dict[str, Column] = {
            name: np.asarray(weight) for name, weight in zip(WEIGHT_NAMES, weights, strict=True)
        }
        self._values: dict[str, Column] = {}
        self._check_probabilities()

    def score(self, formula: str, field: str, *, needed_by: str) -> Column:
        """The formula's value [n] per candidate, made once and not to be changed; it may be infinite or NaN.

        Raises `Problem` (422): at `field` if the formula is no arithmetic or names what no candidate has, at the
        candidate that lacks what others have.
        """
        if (known := self._values.get(formula)) is not None:
            return known
        try:
            compiled = compile_formula(formula)
        except FormulaError as error:
            raise invalid(field, str(error)) from None
        for name in sorted(compiled.names - self._columns.keys()):
            self._columns[name] = self._complete(name, self._read(name), field, needed_by)
        self._values[formula] = compiled(self._columns, len(self._candidates))
        return self._values[formula]

    def _read(self, name: str) -> Column:
        """The column as it came, NaN where a candidate lacks it."""
        if name == "price":
            return np.array([c.price for c in self._candidates], np.float64)
        return np.array([scores.get(name) for scores in self._scores], np.float64)

    def _complete(self, name: str, column: Column, field: str, needed_by: str) -> Column:
        missing = np.isnan(column)
        if not missing.any():
            return column
        default = self._default(name)
        if missing.all() and (name != "price" or default is None):
            raise invalid(field, f"no candidate has {self._label(name)}, which {needed_by} needs; {self._known()}")
        if default is None:
            place = f"candidates[{int(missing.argmax())}]"
            path = f"{place}.price" if name == "price" else f"{place}.scores.{name}"
            raise invalid(path, f"is missing, but {needed_by} needs it and the model has no default for it")
        return np.where(missing, default, column)

    def _default(self, name: str) -> float | None:
        if name == "price":
            return None if self._spec.price is None else self._spec.price.default
        return next((f.default for f in self._spec.scores if f.name == name), None)

    @staticmethod
    def _label(name: str) -> str:
        return "a price" if name == "price" else f"the score {name!r}"

    def _known(self) -> str:
        names = sorted({name for scores in self._scores for name in scores})
        return f"the scores in the request are: {', '.join(names[:20]) or 'none'}"

    def _check_probabilities(self) -> None:
        for field in self._spec.scores:
            if field.transform != "logit":
                continue
            column = self._read(field.name)
            if ((column >= 0) & (column <= 1)).all():
                self._columns[field.name] = column
                continue
            bad = (column < 0) | (column > 1)  # False where the score is missing, which is no fault.
            if bad.any():
                i = int(bad.argmax())
                path = f"candidates[{i}].scores.{field.name}"
                raise invalid(path, f"must be a probability in 0..1, not {column[i]:g}")


def fill_slots(table: ScoreTable, plan: Plan, manifest: Manifest) -> Slots:
    """The slots, queue behind queue and each in the order of its score; without empty ones if the graph can do so.

    Raises `Problem` (422) naming the queue whose formula is wrong or gives a value that is not finite.
    """
    queues, places = manifest.limits.queues, manifest.places(len(plan.queues))
    scores = _queue_scores(table, plan)
    filled = np.full((queues, places), -1, np.int64)
    filled[: len(scores)] = partition(scores, places, plan.partition)
    candidates, queue_of = filled.ravel(), _queue_of_slot(queues, places)
    if manifest.any_slots:
        kept = candidates >= 0
        return Slots(candidates[kept], queue_of[kept])
    return Slots(candidates, queue_of)


@lru_cache
def _queue_of_slot(queues: int, places: int) -> NDArray[np.int64]:
    """The queue that each slot [N] is in. Read-only, since all requests share it."""
    of = np.repeat(np.arange(queues), places)
    of.flags.writeable = False
    return of


def _queue_scores(table: ScoreTable, plan: Plan) -> NDArray[np.float64]:
    """Every queue's score of every candidate [Q, n], finite."""
    fields = [f"queues[{i}].score" if plan.queues_requested else "candidates" for i in range(len(plan.queues))]
    scores = np.array(
        [
            table.score(queue.score, field, needed_by=f"queue {queue.name!r} ({queue.score})")
            for queue, field in zip(plan.queues, fields, strict=True)
        ]
    )
    finite = np.isfinite(scores)
    if not finite.all():
        i, place = (int(k) for k in np.unravel_index(finite.argmin(), finite.shape))
        queue = plan.queues[i]
        problem = f"queue {queue.name!r} ({queue.score}) gives {scores[i, place]:g} for candidates[{place}]"
        raise invalid(fields[i], problem)
    return scores


def fallback_scores(table: ScoreTable, manifest: Manifest) -> Column | None:
    """The fallback formula's value [n] of every candidate; None if a score that it needs is missing."""
    try:
        return table.score(manifest.fallback, "", needed_by="the fallback formula")
    except Problem:
        return None


def sort_slots(table: ScoreTable, slots: Slots, manifest: Manifest) -> NDArray[np.int64]:
    """The slots [L] of the sort's list: what is encoded, by the fallback formula, best first and −1 past the end.

    All are −1 if the formula cannot be computed, so that there is no such list.
    """
    length = manifest.limits.list_length
    scores = fallback_scores(table, manifest)
    if scores is None:
        return np.full(length, -1, np.int64)
    return sorted_slots(scores, slots.candidates, length)


def rank_rest(
    table: ScoreTable, manifest: Manifest, picked: Sequence[int], n: int, count: int
) -> list[tuple[int, Source]]:
    """The next `count` of the n candidates after `picked`: by the fallback formula, best first.

    Candidates for which the formula cannot be computed follow in the order of the request.
    """
    rest = np.delete(np.arange(n), picked) if len(picked) else np.arange(n)
    scores = fallback_scores(table, manifest)
    if scores is None:
        return [(i, "input") for i in rest[:count].tolist()]
    return rank(rest, scores[rest], count)


def rank(places: NDArray[np.int64], scores: Column, count: int) -> list[tuple[int, Source]]:
    """The best `count` of `places` by their `scores`; those whose score is not finite follow as they stand."""
    finite = np.isfinite(scores)
    if finite.all():
        return [(i, "formula") for i in places[descending(scores)[:count]].tolist()]
    order: list[tuple[int, Source]] = [
        (i, "formula") for i in places[finite][descending(scores[finite])[:count]].tolist()
    ]
    return order + [(i, "input") for i in places[~finite][: count - len(order)].tolist()]
