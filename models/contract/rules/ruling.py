"""Compile the rules of one request: which candidates may be returned, and what counts where.

Axis letters: n candidates, S shown items just before the list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.contract.arrays import Bools, Floats, Floats32
from models.contract.rules.definition import RuledCandidate, Rules, ShownLike


@dataclass(frozen=True, slots=True)
class Constraint:
    """Allow at most `limit` of the `members` [n] in every window of places that counts.

    `rule` names the rule that it comes from. `first` and `last` are the places, from 0, at which windows begin: a cap
    without a window, and a floor, have one window at place 0; a cap with a window also has those that begin among the
    shown items (negative places). `shown` [S] flags the shown items that count, oldest first; the last of them stands
    at place −1.
    """

    rule: str
    members: Bools
    limit: int
    window: int
    first: int
    last: int
    shown: Bools


@dataclass(frozen=True, slots=True)
class Ruling:
    """Hold the compiled rules of one request.

    `allowed` [n] flags the candidates that may be returned at all, and `length` counts the places of the list:
    min(top_n, allowed). `pins` maps places, from 0, to candidates, both within the list. `boosts` [n] are factors, None
    if all are 1. `seen` [length, n] is, for each place, the largest cosine of a candidate to the shown items that MMR
    still looks back on there, NaN for none; None if there is none at all. `relaxed` names the rules that cannot be kept
    whatever the list is: floors of which too few exist, and caps that pins break. `ignored_pins` are ids of pins that
    are no candidates, or that are blocked or shown, in their order. `unused` are the names of `by` and `where` that no
    candidate has.
    """

    allowed: Bools
    length: int
    pins: Mapping[int, int]
    constraints: tuple[Constraint, ...]
    boosts: Floats | None
    seen: Floats32 | None
    relaxed: tuple[str, ...]
    ignored_pins: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def binds(self) -> bool:
        """Tell whether anything but leaving candidates out can change a list."""
        return bool(self.pins or self.constraints) or self.boosts is not None or self.seen is not None


def compile_rules(
    candidates: Sequence[RuledCandidate],
    rules: Rules,
    *,
    shown: Sequence[str] = (),
    shown_items: Sequence[ShownLike] = (),
    top_n: int,
    mmr_window: int = 0,
) -> Ruling:
    """Compile rules for these candidates.

    `shown` are the ids of earlier pages, oldest first; what is known of them comes from `shown_items`, else from the
    candidates. `mmr_window` is the number of last items that MMR looks back on, 0 if it charges nothing.
    """
    raise NotImplementedError
