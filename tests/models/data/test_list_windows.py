"""Windows of any size, of one file or of parts, hold the same lists."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.data.list_file import ListFile, read_lists
from models.data.list_writer import write_lists
from models.data.reading import request_ids
from models.data.reading.request_ids import RequestIds
from models.data.records import Candidate, ListFileError, ListRecord, Split

SPLITS: tuple[Split, ...] = ("train", "valid", "test")


def a_record(i: int, items: int, shown: int, split: Split, extra: bool) -> ListRecord:
    """A list whose every value depends on its number, so that one in another's place is seen."""
    shown = min(shown, items)
    return ListRecord(
        request_id=f"r{i}",
        candidates=tuple(
            Candidate(
                f"i{i}-{j}",
                {"ctr": (i + j) / 97} | ({"cvr": j / 11} if extra else {}),
                price=None if j % 3 == 0 else i + j / 4,
                features={"brand": f"b{j}"} | ({"stars": j} if extra else {}),
                embedding=None if j % 2 else (float(i), float(j)),
            )
            for j in range(items)
        ),
        exposed=tuple(reversed(range(shown))),
        clicks=tuple(j % 2 for j in range(shown)),
        purchases=None if extra else tuple(0 for _ in range(shown)),
        gmv=tuple(float(i) for _ in range(shown)) if extra else None,
        user={"age": i / 2} if extra else {},
        context={"hour": i % 24},
        split=split,
    )


lists = st.lists(
    st.tuples(st.integers(1, 5), st.integers(0, 5), st.sampled_from(SPLITS), st.booleans()), min_size=1, max_size=40
).map(lambda drawn: [a_record(i, *values) for i, values in enumerate(drawn)])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lists, st.integers(1, 50), st.integers(1, 60), st.data())
def test_windows_of_any_size_and_parts_hold_the_lists_written(
    tmp_path: Path, records: list[ListRecord], size: int, group: int, data: st.DataObject
) -> None:
    one = tmp_path / "lists.parquet"
    many = tmp_path / "parts"
    parts = data.draw(st.integers(1, len(records)))
    write_lists(one, records, {"seed": 3})
    write_lists(many, records, {"seed": 3}, parts=parts)
    groups = tmp_path / "groups.parquet"
    pq.write_table(pq.read_table(one), groups, row_group_size=group)
    assert len(list(many.iterdir())) == parts
    for source in (one, many, groups):
        file = ListFile(source)
        assert len(file) == len(records)
        assert file.metadata == {"seed": 3}
        for split in (None, *SPLITS):
            windows = list(file.windows(split, size=size))
            assert all(0 < len(window) <= size for window in windows)
            expected = [r for r in records if split in (None, r.split)]
            assert [r for window in windows for r in window.records()] == expected
            rows = [row for window in windows for row in window.rows.tolist()]
            if source != many:
                assert rows == [i for i, r in enumerate(records) if split in (None, r.split)]


def test_embeddings_are_read_only_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    records = [a_record(i, 3, 2, "train", extra=False) for i in range(5)]
    write_lists(path, records, {})
    table = pq.read_table(path)
    # What is not asked for may be broken: it is not read.
    broken = [{**item, "embedding": [float("nan")]} for row in table["candidates"].to_pylist() for item in row]
    column = pa.ListArray.from_arrays(pa.array(range(0, 16, 3), pa.int32()), pa.array(broken))
    pq.write_table(table.set_column(table.schema.get_field_index("candidates"), "candidates", column), path)
    (window,) = ListFile(path).windows(embeddings=False)
    assert window.candidates.embeddings is None
    without = [
        dataclasses.replace(r, candidates=tuple(dataclasses.replace(c, embedding=None) for c in r.candidates))
        for r in records
    ]
    assert list(window.records()) == without
    with pytest.raises(ListFileError, match="embedding: holds nan"):
        list(ListFile(path).windows())


def test_row_groups_without_a_list_of_the_split_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    records = [a_record(i, 2, 1, "train" if i < 8 else "test", extra=False) for i in range(12)]
    write_lists(path, records, {})
    table = pq.read_table(path)
    clicks = pa.array([[7]] * 8 + [[0]] * 4)
    table = table.set_column(table.schema.get_field_index("clicks"), "clicks", clicks)
    pq.write_table(table, path, row_group_size=4)
    (window,) = ListFile(path).windows("test")
    assert window.rows.tolist() == [8, 9, 10, 11]
    assert list(window.records()) == records[8:]
    with pytest.raises(ListFileError, match="row 0, column clicks: must hold 0 or 1, not 7"):
        list(ListFile(path).windows("train"))


def test_files_without_statistics_are_read_by_split_too(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    records = [a_record(i, 2, 1, SPLITS[i % 3], extra=False) for i in range(9)]
    write_lists(path, records, {})
    pq.write_table(pq.read_table(path), path, write_statistics=False, row_group_size=2)
    assert list(read_lists(path, "valid")) == [r for r in records if r.split == "valid"]


def test_a_window_of_large_lists_is_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lists.parquet"
    write_lists(path, [a_record(i, 5, 2, "train", extra=True) for i in range(100)], {})
    monkeypatch.setattr("models.data.reading.parquet_part._BATCH_BYTES", 5_000)
    windows = list(ListFile(path).windows())
    assert sum(map(len, windows)) == 100
    assert max(map(len, windows)) < 50


def test_ids_that_stand_twice_are_found_among_many() -> None:
    batches = [pa.array([f"id{i}" for i in range(start, start + 100)]) for start in range(0, 5000, 100)]
    seen = RequestIds(lambda: iter(batches))
    assert [seen.repeated(batch) for batch in batches] == [None] * 50
    assert seen.repeated(pa.array(["new", "id1234", "id1"])) == 1
    assert RequestIds(lambda: iter([])).repeated(pa.array(["a", "b", "a"])) == 2


def test_two_ids_of_one_hash_are_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_ids, "hash", lambda word: len(word), raising=False)
    batches = [pa.array(["a", "b"]), pa.array(["c", "dd"]), pa.array(["e", "dd"])]
    seen = RequestIds(lambda: iter(batches))
    assert [seen.repeated(batch) for batch in batches] == [None, None, 1]


def test_taking_lists_keeps_them_whole(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    records = [a_record(i, 1 + i % 4, i % 3, "train", extra=bool(i % 2)) for i in range(10)]
    write_lists(path, records, {})
    (window,) = ListFile(path).windows()
    order = np.array([7, 0, 3])
    assert list(window.take(order).records()) == [records[i] for i in order]
