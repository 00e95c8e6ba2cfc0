"""Count the values of columns window by window, in bounded memory."""

from __future__ import annotations

import math
import re
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.checking.hashing import Sketch, column_hashes
from models.contract.scalars import canonical_text
from models.data.fitting.moments import Sample
from models.data.reading.arrow_forms import is_text
from models.data.reading.arrow_numbers import floats

KEPT_VALUES: Final = 4096
"""Distinct values of a field that are counted one by one."""

_SAMPLED: Final = 1 << 17
"""Numbers kept at most for the median."""

_NUMBER: Final = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


class RangeTally:
    """Count numbers: their range, mean and median, zeros, and those outside 0 to 1.

    `first` is the place of the first number for the sample that the median is of. Tallies that are to be joined have
    numbers of different places.
    """

    def __init__(self, first: int = 0) -> None:
        self.present = 0
        self.zeros = 0
        self.outside_unit = 0
        self.low, self.high, self._sum = math.inf, -math.inf, 0.0
        self._sample = Sample(_SAMPLED, first)

    def add(self, column: pa.Array) -> None:
        """Count the numbers of a column, which may hold nulls."""
        values = floats(column.drop_null())
        if not len(values):
            return
        self._sample.add(values)
        self.present += len(values)
        self.zeros += int((values == 0).sum())
        self.outside_unit += int(((values < 0) | (values > 1)).sum())
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        self._sum += float(values.sum())

    def extend(self, other: RangeTally) -> None:
        """Count the numbers of another tally too."""
        self.present += other.present
        self.zeros += other.zeros
        self.outside_unit += other.outside_unit
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self._sum += other._sum
        self._sample.extend(other._sample)

    @property
    def mean(self) -> float:
        """Compute the mean; NaN without numbers."""
        return self._sum / self.present if self.present else math.nan

    @property
    def median(self) -> float:
        """Compute the median, of a sample where there are many numbers; NaN without numbers."""
        return self._sample.median() if self.present else math.nan


class ValueTally:
    """Count the values of a field: which there are, how many, and of what kind.

    The most frequent values are counted one by one. Where there are more than `kept`, rare ones are forgotten from time
    to time, so that the counts of the rest may be slightly too small. Of numbers with a fraction no more is counted
    once there are that many.
    """

    def __init__(self, kept: int = KEPT_VALUES, first: int = 0) -> None:
        self.present = 0
        self.whole = True
        self.numeric_text = True
        self.numbers = RangeTally(first)
        self.type: pa.DataType | None = None
        self._sketch = Sketch()
        self._kept = kept
        self._counted = 0
        self._counts: pa.Table | None = None

    def add(self, column: pa.Array) -> None:
        """Count the values of a column, which may hold nulls."""
        values = column.drop_null()
        if not len(values):
            return
        self.present += len(values)
        self.type = _joint_type(self.type, values.type)
        if self._is_continuous:
            self._add_numbers(values)
            return
        self._counted += len(values)
        counted = pc.value_counts(values)
        distinct = counted.field(0)
        self._sketch.add(column_hashes(distinct))
        if is_text(values.type):
            self.whole = False
            self.numeric_text = self.numeric_text and pc.all(pc.match_substring_regex(distinct, _NUMBER)).as_py()
        else:
            self.numeric_text = False
            self._add_numbers(values)
        self._count(distinct, counted.field(1))

    def extend(self, other: ValueTally) -> None:
        """Count the values of another tally too."""
        if other.type is None:
            return
        self.present += other.present
        self.type = _joint_type(self.type, other.type)
        self.whole = self.whole and other.whole
        self.numeric_text = self.numeric_text and other.numeric_text
        self.numbers.extend(other.numbers)
        self._sketch.extend(other._sketch)
        self._counted += other._counted
        if other._counts is not None:
            self._count(*(other._counts[name].combine_chunks() for name in ("v", "n")))

    @property
    def distinct(self) -> int:
        """Count, or estimate, the distinct values."""
        return self._sketch.distinct

    @property
    def exact(self) -> bool:
        """Tell whether `distinct` is exact."""
        return self._sketch.exact and not self._is_continuous

    @property
    def _is_continuous(self) -> bool:
        return not self.whole and pa.types.is_floating(self.type) and self._sketch.distinct > self._kept

    @property
    def holds_text(self) -> bool:
        """Tell whether any value is text."""
        return self.type is not None and is_text(self.type)

    def frequent(self) -> list[tuple[Any, int]]:
        """List the values counted one by one, most frequent first."""
        if self._counts is None:
            return []
        order = [("n", "descending"), ("v", "ascending")]
        table = self._counts.sort_by(order)
        return list(zip(table["v"].to_pylist(), table["n"].to_pylist(), strict=True))

    def share_outside(self, vocabulary: tuple[str, ...]) -> float:
        """Compute the share of values that a vocabulary lacks."""
        known = set(vocabulary)
        within = sum(n for value, n in self.frequent() if canonical_text(value) in known)
        return 1 - within / self._counted if self._counted else 0.0

    def _add_numbers(self, values: pa.Array) -> None:
        if pa.types.is_boolean(values.type):
            self.whole = False
            return
        self.numbers.add(values)
        if self.whole and pa.types.is_floating(values.type):
            numbers = values.to_numpy(zero_copy_only=False)
            self.whole = bool((numbers == np.floor(numbers)).all())

    def _count(self, values: pa.Array, counts: pa.Array) -> None:
        assert self.type is not None
        # Whole numbers past 2^53 are rounded where a field has fractions too.
        new = pa.table({"v": values.cast(self.type, safe=False), "n": counts.cast(pa.int64())})
        if self._counts is not None:
            old = self._counts.set_column(0, "v", self._counts["v"].cast(self.type, safe=False))
            new = pa.concat_tables([old, new]).group_by("v").aggregate([("n", "sum")])
            new = pa.table({"v": new["v"], "n": new["n_sum"]})
        if new.num_rows > self._kept:
            new = new.sort_by([("n", "descending"), ("v", "ascending")]).slice(0, self._kept // 2)
        self._counts = new.combine_chunks()


def alike(values: list[Any]) -> list[tuple[str, str]]:
    """Pair texts that differ only by case or by blanks."""
    seen: dict[str, str] = {}
    pairs = []
    for value in values:
        if isinstance(value, str):
            plain = re.sub(r"\s+", " ", value).strip().casefold()
            if plain in seen:
                pairs.append((seen[plain], value))
            seen.setdefault(plain, value)
    return pairs


def _joint_type(old: pa.DataType | None, new: pa.DataType) -> pa.DataType:
    """Choose a type that holds the values of both columns."""
    if is_text(new) or (old is not None and is_text(old)):
        return pa.string()
    if pa.types.is_boolean(new) and (old is None or pa.types.is_boolean(old)):
        return pa.bool_()
    if pa.types.is_integer(new) and (old is None or pa.types.is_integer(old)):
        return pa.int64()
    return pa.float64()
