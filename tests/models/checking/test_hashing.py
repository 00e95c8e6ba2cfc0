"""Hashes of columns tell values apart, and sketches count distinct ones."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.checking.hashing import Sketch, column_hashes, mix, sequence_hashes


@given(st.lists(st.none() | st.text(max_size=8), max_size=40), st.integers(0, 5))
def test_texts_have_the_same_hash_exactly_if_they_are_equal(values: list[str | None], skipped: int) -> None:
    values = [v if v is None else v.encode("utf-8", "replace").decode() for v in values]
    hashes = column_hashes(pa.array(values, pa.string()).slice(skipped))
    assert len(set(hashes.tolist())) == len(set(values[skipped:]))
    again = column_hashes(pa.array(values[skipped:], pa.large_string()))
    np.testing.assert_array_equal(hashes, again)


@given(st.lists(st.none() | st.floats(allow_nan=False), max_size=40))
def test_numbers_have_the_same_hash_exactly_if_they_are_equal(values: list[float | None]) -> None:
    assert len(set(column_hashes(pa.array(values, pa.float64())).tolist())) == len(set(values))


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=20))
def test_sequences_have_the_same_hash_exactly_if_they_are_equal(rows: list[list[int]]) -> None:
    starts = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    flat = np.array([v for row in rows for v in row], np.uint64)
    assert len(set(sequence_hashes(flat, starts).tolist())) == len({tuple(row) for row in rows})


@given(st.lists(st.lists(st.integers(0, 30), max_size=20), max_size=8))
def test_a_small_sketch_counts_exactly(additions: list[list[int]]) -> None:
    sketch = Sketch(most=64)
    for values in additions:
        sketch.add(mix(np.array(values, np.uint64)))
    everything = [v for values in additions for v in values]
    assert sketch.exact
    assert sketch.distinct == len(set(everything))
    repeated = 1 - len(set(everything)) / len(everything) if everything else 0
    assert sketch.repeated_share == pytest.approx(repeated)


def test_a_full_sketch_estimates_within_a_few_percent_and_does_not_grow() -> None:
    one, other = Sketch(most=4096), Sketch(most=4096)
    for begin in range(0, 200_000, 20_000):
        values = np.arange(begin, begin + 20_000, dtype=np.uint64)
        one.add(mix(values))
        one.add(mix(values))
        other.add(mix(values[values % 4 == 0]))
    assert not one.exact
    assert one.distinct == pytest.approx(200_000, rel=0.08)
    assert one.repeated_share == pytest.approx(0.5, abs=0.01)
    assert other.share_within(one) == 1.0
    assert one.share_within(other) == pytest.approx(0.25, abs=0.05)
    assert len(one._hashes) == 4096


@given(st.lists(st.lists(st.integers(0, 200), max_size=60), min_size=2, max_size=5), st.integers(1, 5))
def test_sketches_of_parts_join_to_the_sketch_of_all(parts: list[list[int]], step: int) -> None:
    whole, joint = Sketch(most=32), Sketch(most=32)
    for part in parts:
        hashes, own = mix(np.array(part, np.uint64)), Sketch(most=32)
        for i in range(step):
            whole.add(hashes[i::step])
            own.add(hashes[i::step])
        joint.extend(own)
    assert (joint.exact, joint.distinct) == (whole.exact, whole.distinct)
    assert joint.repeated_share == whole.repeated_share
    assert joint.share_within(whole) == (1.0 if any(parts) else 0.0)
