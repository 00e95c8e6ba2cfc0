"""The list file: what is written is read back, broken rows are named, and nothing is left half-written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.data.list_file import read_lists, read_metadata
from models.data.list_writer import write_lists
from models.data.records import Candidate, ListFileError, ListRecord

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
PRICES = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.sampled_from(["a", "b", "ä.1"])
# One field holds one kind of value throughout a file, as in any table.
FEATURES: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {}, optional={"number": NUMBERS, "whole": st.integers(-(2**53), 2**53), "text": TEXTS, "flag": st.booleans()}
)


@st.composite
def records(draw: st.DrawFn) -> ListRecord:
    ids = draw(st.lists(TEXTS.filter(bool), min_size=1, max_size=5, unique=True))
    width = draw(st.integers(0, 3))
    candidates = tuple(
        Candidate(
            id=i,
            scores=draw(st.dictionaries(NAMES, NUMBERS, max_size=2)),
            price=draw(st.none() | PRICES),
            features=draw(FEATURES),
            embedding=draw(st.none() | st.tuples(*[NUMBERS] * width)),
        )
        for i in ids
    )
    exposed = tuple(draw(st.lists(st.integers(0, len(ids) - 1), unique=True)))
    labels = st.tuples(*[st.integers(0, 1)] * len(exposed))
    return ListRecord(
        request_id="",
        candidates=candidates,
        exposed=exposed,
        clicks=draw(labels),
        purchases=draw(st.none() | labels),
        gmv=draw(st.none() | st.tuples(*[PRICES] * len(exposed))),
        user=draw(FEATURES),
        context=draw(FEATURES),
        split=draw(st.sampled_from(["train", "valid", "test"])),
    )


def a_record(name: str = "r", **changes: Any) -> ListRecord:
    record = ListRecord(
        request_id=name,
        candidates=(
            Candidate("x", {"ctr": 0.2}, 5.0, {"stars": 3.0}, (1.0, 0.0)),
            Candidate("y", {"ctr": 0.1}, 7.0, {"stars": 4.0}, (0.0, 1.0)),
        ),
        exposed=(1, 0),
        clicks=(1, 0),
        purchases=(0, 0),
        gmv=(0.0, 0.0),
    )
    return dataclasses.replace(record, **changes)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(records(), min_size=1, max_size=5))
def test_what_is_written_is_read_back(tmp_path: Path, drawn: list[ListRecord]) -> None:
    numbered = [dataclasses.replace(r, request_id=f"r{i}") for i, r in enumerate(drawn)]
    path = tmp_path / "lists.parquet"
    assert write_lists(path, numbered, {"source": "test", "seed": 3}) == len(numbered)
    assert list(read_lists(path)) == numbered
    assert read_metadata(path) == {"source": "test", "seed": 3}
    for split in ("train", "valid", "test"):
        assert list(read_lists(path, split)) == [r for r in numbered if r.split == split]


def test_fields_that_first_appear_thousands_of_lists_later_are_kept(tmp_path: Path) -> None:
    early = [a_record(f"a{i}", user={"age": 3}) for i in range(2500)]
    late = [a_record(f"b{i}", user={"age": 3.5, "city": "Pécs"}, purchases=None, gmv=None) for i in range(2500)]
    path = tmp_path / "lists.parquet"
    write_lists(path, [*early, *late], {})
    assert list(read_lists(path)) == [*early, *late]


def test_a_feature_without_a_value_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    write_lists(path, [a_record(user={"age": None, "city": "Graz"})], {})
    assert next(read_lists(path)).user == {"city": "Graz"}


def test_a_foreign_file_without_purchases_gmv_and_metadata_is_read(tmp_path: Path) -> None:
    path = tmp_path / "foreign.parquet"
    row = {
        "request_id": 17,
        "user": {"city": "Graz"},
        "context": None,
        "candidates": [{"id": 4, "scores": {"ctr": 0.5}}, {"id": 5, "scores": {"ctr": None}}],
        "exposed": [1],
        "clicks": [0],
        "split": "test",
        "comment": "not ours",
    }
    pq.write_table(pa.Table.from_pylist([row]), path)
    assert read_metadata(path) == {}
    expected = ListRecord("17", (Candidate("4", {"ctr": 0.5}), Candidate("5")), (1,), (0,), user={"city": "Graz"})
    assert list(read_lists(path)) == [dataclasses.replace(expected, split="test")]


BROKEN: list[tuple[str, dict[str, Any]]] = [
    ("split", {"split": "holdout"}),
    ("candidates", {"candidates": ()}),
    ("candidates.id", {"candidates": (Candidate("x"), Candidate("x"))}),
    ("candidates[0].scores.ctr", {"candidates": (Candidate("x", {"ctr": math.nan}), Candidate("y"))}),
    ("candidates[1].price", {"candidates": (Candidate("x"), Candidate("y", price=-1.0))}),
    ("candidates[1].price", {"candidates": (Candidate("x"), Candidate("y", price=math.inf))}),
    ("candidates[1].features.f", {"candidates": (Candidate("x"), Candidate("y", features={"f": math.inf}))}),
    ("candidates[0].embedding", {"candidates": (Candidate("x", embedding=(math.nan,)), Candidate("y"))}),
    ("candidates.embedding", {"candidates": (Candidate("x", embedding=(1.0,)), Candidate("y", embedding=(1.0, 2.0)))}),
    ("user.age", {"user": {"age": math.nan}}),
    ("context.hour", {"context": {"hour": math.inf}}),
    ("exposed", {"exposed": (0, 2)}),
    ("exposed", {"exposed": (-1, 0)}),
    ("exposed", {"exposed": (0, 0)}),
    ("clicks", {"clicks": (1,)}),
    ("clicks", {"clicks": (2, 0)}),
    ("purchases", {"purchases": (0, 0, 0)}),
    ("purchases", {"purchases": (0, -1)}),
    ("gmv", {"gmv": (0.0,)}),
    ("gmv", {"gmv": (0.0, math.nan)}),
    ("gmv", {"gmv": (0.0, -2.0)}),
]


@pytest.mark.parametrize(("column", "change"), BROKEN)
def test_a_broken_record_is_named_and_nothing_is_written(tmp_path: Path, column: str, change: dict[str, Any]) -> None:
    path = tmp_path / "lists.parquet"
    with pytest.raises(ListFileError) as caught:
        write_lists(path, [a_record("r0"), a_record("r1", **change)], {})
    assert f"{path}: row 1, column {column}: " in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def plain(record: ListRecord) -> dict[str, Any]:
    """A record as another program would write it, with no checks."""
    return dataclasses.asdict(record) | {"user": {"age": 1.0}, "context": {"hour": 1.0}}


@pytest.mark.parametrize(
    ("column", "change"),
    [
        *BROKEN,
        *((name, {name: None}) for name in ("request_id", "candidates", "exposed", "clicks", "split")),
        ("clicks", {"clicks": (None, 1)}),
        ("exposed", {"exposed": (None, 1)}),
        ("candidates[0].scores.ctr", {"candidates": (Candidate("x", {"ctr": math.inf}), Candidate("y"))}),
    ],
)
def test_a_broken_row_of_a_file_is_named(tmp_path: Path, column: str, change: dict[str, Any]) -> None:
    path = tmp_path / "lists.parquet"
    candidates = change.get("candidates")
    as_rows = {} if candidates is None else {"candidates": [dataclasses.asdict(c) for c in candidates]}
    rows = [plain(a_record(f"r{i}")) for i in range(700)] + [plain(a_record("bad")) | change | as_rows]
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(ListFileError) as caught:
        list(read_lists(path))
    assert f"{path}: row 700, column {column}: " in str(caught.value)


@pytest.mark.parametrize("column", ["request_id", "candidates", "exposed", "clicks", "split"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = tmp_path / "lists.parquet"
    pq.write_table(pa.Table.from_pylist([plain(a_record())]).drop_columns([column]), path)
    with pytest.raises(ListFileError, match=f"there is no column '{column}'"):
        list(read_lists(path))


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"candidates": [1, 2]}, "candidates"),
        ({"candidates": [{"price": 2.0}]}, "candidates.id"),
        ({"candidates": [{"id": "x", "scores": 3.0}]}, "candidates.scores"),
        ({"candidates": [{"id": "x", "embedding": 3.0}]}, "candidates.embedding"),
        ({"exposed": 1}, "exposed"),
        ({"clicks": "01"}, "clicks"),
        ({"user": "me"}, "user"),
        ({"request_id": 1.5}, "request_id"),
    ],
)
def test_a_column_of_another_shape_is_named(tmp_path: Path, change: dict[str, Any], column: str) -> None:
    path = tmp_path / "lists.parquet"
    pq.write_table(pa.Table.from_pylist([plain(a_record()) | change]), path)
    with pytest.raises(ListFileError, match=f"column {column}: "):
        list(read_lists(path))


def test_a_repeated_request_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ListFileError, match="row 2, column request_id: 'r0' stands twice"):
        write_lists(tmp_path / "lists.parquet", [a_record("r0"), a_record("r1"), a_record("r0")], {})


@pytest.mark.parametrize("apart", [1, 5000])
def test_a_feature_of_two_kinds_is_refused(tmp_path: Path, apart: int) -> None:
    def mixed() -> Iterator[ListRecord]:
        for i in range(apart):
            yield a_record(f"r{i}", user={"age": 3.0})
        yield a_record("last", user={"age": "old"})

    with pytest.raises(ListFileError):
        write_lists(tmp_path / "lists.parquet", mixed(), {})
    assert list(tmp_path.iterdir()) == []


def test_no_lists_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ListFileError, match="there are no lists to write"):
        write_lists(tmp_path / "lists.parquet", [], {})


def test_a_failure_half_way_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    write_lists(path, [a_record("old")], {})

    def failing() -> Iterator[ListRecord]:
        yield from (a_record(f"r{i}") for i in range(3000))
        raise OSError("the source went away")

    with pytest.raises(OSError, match="went away"):
        write_lists(path, failing(), {})
    assert [r.request_id for r in read_lists(path)] == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["lists.parquet"]


@pytest.mark.parametrize("content", [None, b"", b"request_id,clicks\n1,0\n"])
def test_what_is_not_parquet_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "lists.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ListFileError, match="cannot be read as Parquet"):
        list(read_lists(path))
