"""Deal a request's candidates to the graph's slots: columns, formulas, queues, slots (SORT-Gen §3.2.1).

The service, offline evaluation and the peers' pipeline all use it: offline figures are those of served lists.

One rule for a score or a price that a candidate lacks: the spec's default stands in for it. Where the spec has no
default, or where no candidate has the score, there are no slots but a `FeatureError` that names the field, online
(422) and offline (the error names the list). A sort by a formula that cannot be computed has no list.

There are two readers. The strict one also refuses probabilities outside 0..1 and queue values that are not finite. The
lenient one trusts the values: it is for programs whose time is measured with valid requests. For a request that the
strict one accepts, both give the same slots.

Axis letters: n candidates, Q queues, N slots, L list length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

import numpy as np

from models.contract.arrays import Floats, Ints
from models.contract.candidates import Candidates, as_table
from models.contract.formulas import WEIGHT_NAMES, FormulaError, compile_formula
from models.contract.manifest import Partition
from models.contract.partition import partition, sorted_slots
from models.contract.rules.dealing import ruled_partition
from models.contract.rules.ruling import Ruling
from models.contract.rules.sorting import ruled_sort
from models.contract.rules.tensors import GROUPS
from models.contract.scalars import FeatureError
from models.contract.spec import FeatureSpec

_MOST_NAMED: Final = 20
_LONGEST_NAME: Final = 64


class QueueLike(Protocol):
    """Offer a queue's name and formula, as a request's and a bundle's queues do."""

    @property
    def name(self) -> str: ...
    @property
    def score(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Slots:
    """Hold every slot's candidate [N], −1 where it is empty, and its queue [N]."""

    candidates: Ints
    queues: Ints

    def __len__(self) -> int:
        return len(self.candidates)

    def filled(self) -> Slots:
        """Leave out the empty slots."""
        kept = self.candidates >= 0
        return Slots(self.candidates[kept], self.queues[kept])


class ScoreTable:
    """Compute formulas over one request's scores, prices and weights; columns are read when first named.

    `alpha`, `beta`, `gamma` and `price` always mean the request's weights and the candidate's own price.
    """

    def __init__(
        self, candidates: Candidates, weights: Sequence[float], spec: FeatureSpec, *, lenient: bool = False
    ) -> None:
        """Take weights α, β, γ; the strict reader raises `FeatureError` for a probability outside 0..1."""
        self._table = as_table(candidates)
        self._spec = spec
        self._columns: dict[str, Floats] = {
            name: np.asarray(weight) for name, weight in zip(WEIGHT_NAMES, weights, strict=True)
        }
        self._values: dict[str, Floats] = {}
        self.lenient = lenient
        if not lenient:
            self._check_probabilities()

    def __len__(self) -> int:
        return len(self._table)

    def read(self, name: str) -> Floats:
        """Read the scores or prices [n] as they came, NaN where a candidate lacks one."""
        return self._table.prices() if name == "price" else self._table.score(name)

    def score(self, formula: str, field: str, *, needed_by: str) -> Floats:
        """Compute the formula's value [n] per candidate, once; it may be infinite or NaN.

        The array is shared and must not be changed. Raises `FeatureError`: at `field` if the formula is no arithmetic
        or names a score that no candidate has, at the candidate that lacks a score that others have.
        """
        with np.errstate(all="ignore"):
            return self._compute(formula, field, needed_by)

    def queue_scores(self, queues: Sequence[QueueLike], fields: Sequence[str]) -> Floats:
        """Compute the formulas of queues [Q, n] as `score` does, each with its own field for errors."""
        with np.errstate(all="ignore"):  # Once for all of them: it takes as long as a small formula.
            return np.array(
                [
                    self._compute(queue.score, field, f"queue {queue.name!r} ({queue.score})")
                    for queue, field in zip(queues, fields, strict=True)
                ]
            )

    def _compute(self, formula: str, field: str, needed_by: str) -> Floats:
        if (known := self._values.get(formula)) is not None:
            return known
        try:
            compiled = compile_formula(formula)
        except FormulaError as error:
            raise FeatureError(field, str(error)) from None
        for name in compiled.sorted_names:
            if name not in self._columns:
                self._columns[name] = self._complete(name, self.read(name), field, needed_by)
        value = self._values[formula] = compiled.compute(self._columns, len(self._table))
        return value

    def sort_scores(self, formula: str) -> Floats | None:
        """Compute a plain sort's values [n]; None if a score that it needs is missing."""
        try:
            return self.score(formula, "", needed_by="the sort")
        except FeatureError:
            return None

    def _complete(self, name: str, column: Floats, field: str, needed_by: str) -> Floats:
        """Put the spec's default where a candidate lacks the value."""
        missing = np.isnan(column)
        if not (count := np.count_nonzero(missing)):
            return column
        default = self._default(name)
        if count == len(missing) and (name != "price" or default is None):
            label = "a price" if name == "price" else f"the score {name!r}"
            raise FeatureError(field, f"no candidate has {label}, which {needed_by} needs; {self._known()}")
        if default is None:
            path = self._table.path(int(missing.argmax()), "price" if name == "price" else f"scores.{name}")
            raise FeatureError(path, f"is missing, but {needed_by} needs it and the model has no default for it")
        return np.where(missing, default, column)

    def _default(self, name: str) -> float | None:
        if name == "price":
            return None if self._spec.price is None else self._spec.price.default
        return next((f.default for f in self._spec.scores if f.name == name), None)

    def _known(self) -> str:
        """List the scores that the request has, of very many the first."""
        names = set[str]()
        for name in self._table.score_names():
            names.add(name)
            if len(names) >= _MOST_NAMED:
                break
        shown = [name[:_LONGEST_NAME] for name in sorted(names)[:_MOST_NAMED]]
        return f"the scores in the request are: {', '.join(shown) or 'none'}"

    def _check_probabilities(self) -> None:
        for field in self._spec.scores:
            if field.transform != "logit":
                continue
            column = self.read(field.name)
            if np.count_nonzero((column >= 0) & (column <= 1)) == len(column):
                self._columns[field.name] = column  # complete, so that formulas need not read it again
                continue
            bad = (column < 0) | (column > 1)  # False where the score is missing, which is no fault
            if bad.any():
                i = int(bad.argmax())
                path = self._table.path(i, f"scores.{field.name}")
                raise FeatureError(path, f"must be a probability in 0..1, not {column[i]:g}")


def fill_slots(
    table: ScoreTable,
    queues: Sequence[QueueLike],
    strategy: Partition,
    shape: tuple[int, int],
    *,
    requested: bool = False,
    ruling: Ruling | None = None,
    steps: int | None = None,
    groups: int = GROUPS,
) -> Slots:
    """Deal the candidates to the slots, queue behind queue, each ordered by its formula.

    `shape` is the graph's number of queues, of which those past `queues` stay empty, and the places in each. Raises
    `FeatureError` at ``queues[i].score`` if the queues are `requested`, else at ``candidates``, for a formula that is
    wrong or gives a value that is not finite.

    Under a `ruling` only allowed candidates are dealt, as `ruled_partition` says, for lists of `steps` places (as many
    as a queue has, if not given) and a graph with so many `groups`.
    """
    scores = _queue_scores(table, queues, requested)
    filled = np.full(shape, -1, np.int64)
    if ruling is None:
        filled[: len(scores)] = partition(scores, shape[1], strategy)
    else:
        steps = shape[1] if steps is None else steps
        filled[: len(scores)] = ruled_partition(scores, ruling, strategy, shape[1], steps=steps, groups=groups)
    return Slots(filled.ravel(), _queue_of_slot(*shape))


def sort_slots(table: ScoreTable, formula: str, candidates: Ints, length: int, ruling: Ruling | None = None) -> Ints:
    """Name the slots [L] of a plain sort's list, −1 past its end.

    It sorts the `candidates` [N] that stand in slots by `formula`; all are −1 if the formula cannot be computed. Under
    a `ruling` the list keeps the rules, and ends where it would have to relax one.
    """
    scores = table.sort_scores(formula)
    if scores is None:
        return np.full(length, -1, np.int64)
    if ruling is not None:
        return ruled_sort(scores, candidates, length, ruling)
    return sorted_slots(scores, candidates, length)


def _queue_scores(table: ScoreTable, queues: Sequence[QueueLike], requested: bool) -> Floats:
    """Compute every queue's score of every candidate, float64 [Q, n]."""
    fields = [f"queues[{i}].score" if requested else "candidates" for i in range(len(queues))]
    scores = table.queue_scores(queues, fields)
    if table.lenient or np.count_nonzero(finite := np.isfinite(scores)) == scores.size:
        return scores
    i, place = (int(k) for k in np.unravel_index(finite.argmin(), finite.shape))
    queue = queues[i]
    problem = f"queue {queue.name!r} ({queue.score}) gives {scores[i, place]:g} for candidates[{place}]"
    raise FeatureError(fields[i], problem)


@lru_cache
def _queue_of_slot(queues: int, places: int) -> Ints:
    """Name the queue that each slot [N] is in. Read-only, since all requests share it."""
    of = np.repeat(np.arange(queues), places)
    of.flags.writeable = False
    return of
