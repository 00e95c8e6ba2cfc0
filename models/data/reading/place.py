"""Say where values of a list file stand, for messages."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from models.contract.arrays import Ints
from models.data.records import ListFileError


@dataclass(frozen=True, eq=False)
class Place:
    """Name the column that an array holds, and the rows that its elements belong to.

    `rows` [n] are row numbers of the file, from 0. Where the array holds the elements of n lists end to end, `starts`
    [n + 1] says where each begins; a candidate is then named by its number within its list.
    """

    source: str
    column: str
    rows: Ints
    starts: Ints | None = None

    def of(self, column: str) -> Place:
        """Name another column of the same rows."""
        return replace(self, column=column)

    def member(self, name: str) -> Place:
        """Name a field of this column."""
        return replace(self, column=f"{self.column}.{name}")

    def inside(self, starts: Ints | None) -> Place:
        """Name the elements of this column's lists; None: the rows again."""
        return replace(self, starts=starts)

    def elements(self, at: Ints) -> Place:
        """Name elements of this column by their rows alone."""
        lists = at if self.starts is None else np.searchsorted(self.starts, at, side="right") - 1
        return Place(self.source, self.column, self.rows[lists])

    def error(self, problem: str, at: int | None = None) -> ListFileError:
        """Build the error of the element at `at`, or of the whole column."""
        if at is None:
            return ListFileError(f"{self.source}: column {self.column}: {problem}")
        row, column = at, self.column
        if self.starts is not None:
            row = int(np.searchsorted(self.starts, at, side="right")) - 1
            if column.startswith("candidates"):
                column = f"candidates[{at - int(self.starts[row])}]{column.removeprefix('candidates')}"
        return ListFileError(f"{self.source}: row {self.rows[row]}, column {column}: {problem}")
