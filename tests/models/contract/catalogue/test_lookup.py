"""Looking hashes up finds what a dictionary would, however they are spread."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from models.contract.catalogue.lookup import Hashes, find_rows, hash_ids, make_directory

LAST = 2**64 - 1
ANY = st.integers(0, LAST) | st.sampled_from([0, 1, LAST - 1, LAST])
CROWDED = st.integers(0, 40).map(lambda i: (0xABCD << 48) + i)
"""Hashes whose upper bits are all the same, so that one bucket holds them."""

HASHES = st.lists(ANY | CROWDED, max_size=60, unique=True)


def ascending(hashes: list[int]) -> Hashes:
    return np.array(sorted(hashes), np.uint64)


@given(HASHES, st.lists(ANY | CROWDED, max_size=20), st.data())
def test_it_finds_what_a_dictionary_finds(hashes: list[int], others: list[int], data: st.DataObject) -> None:
    wanted = [*others, *(data.draw(st.lists(st.sampled_from(hashes))) if hashes else [])]
    rows = {value: row for row, value in enumerate(sorted(hashes))}
    array = ascending(hashes)
    found = find_rows(array, make_directory(array), np.array(wanted, np.uint64))
    assert found.tolist() == [rows.get(value, -1) for value in wanted]
    assert found.dtype == np.int64


@pytest.mark.parametrize("n", [0, 1, 2, 3, 1000])
def test_the_directory_says_where_the_rows_of_each_prefix_begin(n: int) -> None:
    hashes = np.sort(hash_ids([f"item-{i}" for i in range(n)]))
    directory = make_directory(hashes)
    bits = len(directory).bit_length() - 1
    assert len(directory) == 2**bits + 1
    assert 2**bits >= max(n, 2)
    first = [int(np.count_nonzero(hashes < (i << (64 - bits)))) for i in range(2**bits)]
    assert directory.tolist() == [*first, n]
    assert directory.dtype == np.uint32


def test_the_outermost_hashes_are_found_alone_and_together() -> None:
    for hashes in ([0], [LAST], [0, LAST]):
        array = ascending(hashes)
        found = find_rows(array, make_directory(array), np.array([0, LAST, 7], np.uint64))
        assert found.tolist() == [hashes.index(h) if h in hashes else -1 for h in (0, LAST, 7)]


def test_many_hashes_with_one_prefix_are_all_found() -> None:
    hashes = ascending([(1 << 63) + 5 * i for i in range(5000)])
    directory = make_directory(hashes)
    assert find_rows(hashes, directory, hashes).tolist() == list(range(5000))
    assert set(find_rows(hashes, directory, hashes + np.uint64(1)).tolist()) == {-1}


def test_ids_are_hashed_by_their_utf8() -> None:
    ids = ["", "a", "größe", "長い" * 100]
    assert hash_ids(ids).tolist() == [xxhash.xxh3_64_intdigest(name.encode("utf-8")) for name in ids]
    assert len(hash_ids([])) == 0


def test_half_a_surrogate_pair_is_hashed_too_and_changes_no_other_id() -> None:
    found = hash_ids(["a", "\ud800", "b"])
    assert found[[0, 2]].tolist() == hash_ids(["a", "b"]).tolist()
    assert len(set(found.tolist())) == 3
