"""Keep count of what a list holds, say which candidates may stand at a place, and fill a list.

Axis letters: n candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.contract.arrays import Bools
from models.contract.rules.ruling import Ruling


class Ledger:
    """Count a growing list against a ruling; pins ahead count before they are reached.

    `relaxed` collects the names of rules that were relaxed, the ruling's own first, each once.
    """

    def __init__(self, ruling: Ruling) -> None:
        raise NotImplementedError

    @property
    def relaxed(self) -> tuple[str, ...]:
        """Name the rules that this list does not keep."""
        raise NotImplementedError

    @property
    def place(self) -> int:
        """Return the next place, from 0."""
        raise NotImplementedError

    def open(self) -> Bools:
        """Flag the candidates [n] that may stand at the next place with all rules kept; perhaps none."""
        raise NotImplementedError

    def settle(self) -> Bools:
        """Flag the candidates [n] that may stand at the next place, at least one, relaxing what must be.

        Floors are relaxed first, then caps from the last given to the first, for this place alone.
        """
        raise NotImplementedError

    def put(self, candidate: int) -> None:
        """Put a candidate at the next place."""
        raise NotImplementedError

    def barring(self, candidate: int) -> str | None:
        """Name the rule that keeps a candidate from the next place; None if it may stand there."""
        raise NotImplementedError


def fill(ledger: Ledger, ranked: Sequence[int], places: int) -> list[int]:
    """Take the next `places` of a list from `ranked` (all candidates, best first), and put them."""
    raise NotImplementedError
