"""One reading of every form in which programs write list files."""

from __future__ import annotations

import dataclasses
import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.data.list_file import ListFile, read_lists
from models.data.records import ListFileError, ListRecord
from tests.models.data.tables import COLUMNS, ITEMS, RECORDS, table, written

CASES = Path(__file__).parent / "cases"


def remade(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column in another type; Arrow cannot cast to all of them."""
    return pa.array(column.to_pylist(), kind)


def as_map(column: pa.Array, kind: pa.DataType, value: type = float) -> pa.Array:
    """The struct column as a map, with what is null left out."""
    rows = [[(k, value(v)) for k, v in row.items() if v is not None] for row in column.to_pylist()]
    return pa.array(rows, kind)


def as_entries(column: pa.Array) -> pa.Array:
    """The struct column as lists of a key and a value."""
    rows = [[{"key": k, "value": v} for k, v in row.items() if v is not None] for row in column.to_pylist()]
    return pa.array(rows, pa.list_(pa.struct([("key", pa.string()), ("value", pa.float64())])))


def with_field(column: pa.Array, name: str, field: pa.Array) -> pa.Array:
    """A struct column with another array in one field."""
    names = [f.name for f in column.type]
    fields = [field if f == name else part for f, part in zip(names, column.flatten(), strict=True)]
    return pa.StructArray.from_arrays(fields, names)


def decimals(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_list(column.type):
        rows = [[Decimal(str(v)) for v in row] for row in column.to_pylist()]
        return pa.array(rows, pa.list_(kind))
    return pa.array([None if v is None else Decimal(str(v)) for v in column.to_pylist()], kind)


VECTORS = ITEMS["embedding"]
TEXT_MAP = pa.map_(pa.string(), pa.string())
NUMBER_MAP = pa.map_(pa.string(), pa.float64())
BRAND, STARS = ITEMS["features"].flatten()

FORMS: dict[str, tuple[dict[str, pa.Array | None], dict[str, pa.Array | None]]] = {
    "fixed-size-list embedding": ({"embedding": remade(VECTORS, pa.list_(pa.float64(), 2))}, {}),
    "fixed-size-list of float32": ({"embedding": remade(VECTORS, pa.list_(pa.float32(), 2))}, {}),
    "large-list embedding": ({"embedding": remade(VECTORS, pa.large_list(pa.float64()))}, {}),
    "list-view embedding": ({"embedding": remade(VECTORS, pa.list_view(pa.float32()))}, {}),
    "large-list-view embedding": ({"embedding": remade(VECTORS, pa.large_list_view(pa.float64()))}, {}),
    "float16 embedding": ({"embedding": remade(VECTORS, pa.list_(pa.float16()))}, {}),
    "decimal embedding": ({"embedding": decimals(VECTORS, pa.decimal128(5, 2))}, {}),
    "map scores": ({"scores": as_map(ITEMS["scores"], NUMBER_MAP)}, {}),
    "map scores of float32": ({"scores": as_map(ITEMS["scores"], pa.map_(pa.string(), pa.float32()))}, {}),
    "map scores with coded keys": (
        {"scores": as_map(ITEMS["scores"], pa.map_(pa.dictionary(pa.int32(), pa.string()), pa.float64()))},
        {},
    ),
    "scores as keys and values": ({"scores": as_entries(ITEMS["scores"])}, {}),
    "map user": ({}, {"user": as_map(COLUMNS["user"], TEXT_MAP, str)}),
    "map context": ({}, {"context": as_map(COLUMNS["context"], pa.map_(pa.large_string(), pa.int32()), int)}),
    "coded text": (
        {"id": ITEMS["id"].dictionary_encode()},
        {name: COLUMNS[name].dictionary_encode() for name in ("request_id", "split")},
    ),
    "coded feature": ({"features": with_field(ITEMS["features"], "brand", BRAND.dictionary_encode())}, {}),
    "string-view text": ({}, {name: COLUMNS[name].cast(pa.string_view()) for name in ("request_id", "split")}),
    "large-string text": ({"features": with_field(ITEMS["features"], "brand", BRAND.cast(pa.large_string()))}, {}),
    "bytes in UTF-8": (
        {"id": ITEMS["id"].cast(pa.binary()), "features": with_field(ITEMS["features"], "brand", BRAND.cast("binary"))},
        {"split": COLUMNS["split"].cast(pa.large_binary())},
    ),
    "whole numbers as ids": ({"id": ITEMS["id"].cast(pa.uint32())}, {"request_id": COLUMNS["request_id"].cast("int8")}),
    "decimals as ids": (
        {"id": decimals(ITEMS["id"], pa.decimal128(38, 0))},
        {"request_id": decimals(COLUMNS["request_id"], pa.decimal128(38, 0))},
    ),
    "decimal price": ({"price": decimals(ITEMS["price"], pa.decimal128(10, 2))}, {}),
    "float32 price": ({"price": ITEMS["price"].cast(pa.float32())}, {}),
    "decimal scores": (
        {"scores": with_field(ITEMS["scores"], "ctr", decimals(ITEMS["scores"].field(0), pa.decimal256(50, 6)))},
        {},
    ),
    "decimal feature": (
        {"features": with_field(ITEMS["features"], "stars", decimals(STARS, pa.decimal128(38, 0)))},
        {},
    ),
    "unsigned feature": ({"features": with_field(ITEMS["features"], "stars", STARS.cast(pa.uint8()))}, {}),
    "decimal gmv": ({}, {"gmv": decimals(COLUMNS["gmv"], pa.decimal128(10, 2))}),
    "wide decimal gmv": ({}, {"gmv": decimals(COLUMNS["gmv"], pa.decimal256(60, 4))}),
    "list-view labels": ({}, {"clicks": remade(COLUMNS["clicks"], pa.list_view(pa.int8()))}),
    "another order of columns": ({}, dict(reversed(COLUMNS.items()))),
    "columns of no use": ({"title": ITEMS["id"]}, {"comment": pa.array([None, "x", "y"])}),
} | {
    f"{name} as {kind}": ({}, {name: COLUMNS[name].cast(pa.list_(kind))})
    for name in ("exposed", "clicks", "purchases")
    for kind in (pa.float64(), pa.float16(), pa.uint64(), pa.int8(), pa.decimal128(20, 1))
} | {
    f"{name} as boolean": ({}, {name: COLUMNS[name].cast(pa.list_(pa.bool_()))}) for name in ("clicks", "purchases")
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_one_reading(tmp_path: Path, form: str) -> None:
    items, columns = FORMS[form]
    assert list(read_lists(written(tmp_path, table(items, **columns)))) == RECORDS


@pytest.mark.parametrize(
    "wrapped", [pa.large_list, pa.list_view, pa.large_list_view], ids=["large_list", "list_view", "large_list_view"]
)
def test_candidates_may_be_lists_of_any_form(tmp_path: Path, wrapped: Any) -> None:
    lists = table()
    column = lists["candidates"].combine_chunks()
    at = lists.schema.get_field_index("candidates")
    lists = lists.set_column(at, "candidates", remade(column, wrapped(column.type.value_type)))
    assert list(read_lists(written(tmp_path, lists))) == RECORDS


def test_what_is_absent_may_be_a_null_or_no_column_at_all(tmp_path: Path) -> None:
    expected = [
        dataclasses.replace(
            record,
            user={},
            context={},
            purchases=None,
            gmv=None,
            candidates=tuple(
                dataclasses.replace(c, scores={}, features={}, price=None, embedding=None) for c in record.candidates
            ),
        )
        for record in RECORDS
    ]
    without: dict[str, Any] = dict.fromkeys(("user", "context", "purchases", "gmv"))
    bare: dict[str, Any] = dict.fromkeys(("scores", "features", "price", "embedding"))
    assert list(read_lists(written(tmp_path, table(bare, **without)))) == expected
    nulls = table(dict.fromkeys(bare, pa.nulls(7)), **dict.fromkeys(without, pa.nulls(3)))
    assert list(read_lists(written(tmp_path, nulls))) == expected
    # A type for each column, and nothing in it.
    typed = table(
        {name: pa.nulls(7, ITEMS[name].type) for name in bare},
        **{name: pa.nulls(3, COLUMNS[name].type) for name in without},
    )
    assert list(read_lists(written(tmp_path, typed))) == expected


def test_a_field_that_holds_nothing_by_its_type_is_no_field(tmp_path: Path) -> None:
    path = written(tmp_path, table(user=with_field(COLUMNS["user"], "age", pa.nulls(3))))
    assert [dict(window.user) for window in ListFile(path).windows()] == [{}]
    assert [record.user for record in read_lists(path)] == [{}, {}, {}]


def test_maps_of_features_keep_their_values(tmp_path: Path) -> None:
    rows = [[("brand", "a")], [], [("brand", None), ("colour", "red")], [], [], [], [("colour", "blue")]]
    read = list(read_lists(written(tmp_path, table({"features": pa.array(rows, TEXT_MAP)}))))
    found = [dict(candidate.features) for record in read for candidate in record.candidates]
    assert found == [{"brand": "a"}, {}, {"colour": "red"}, {}, {}, {}, {"colour": "blue"}]


def test_embeddings_may_be_of_whole_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, table({"embedding": pa.array([[i, -1] for i in range(7)], pa.list_(pa.int16()))}))
    found = [c.embedding for record in read_lists(path) for c in record.candidates]
    assert found == [(float(i), -1.0) for i in range(7)]


def test_some_embeddings_may_be_absent_in_a_fixed_size_list(tmp_path: Path) -> None:
    rows = [[1.0, 2.0], None, [3.0, 4.0], None, None, None, [5.0, 6.0]]
    path = written(tmp_path, table({"embedding": pa.array(rows, pa.list_(pa.float32(), 2))}))
    found = [c.embedding for record in read_lists(path) for c in record.candidates]
    assert found == [None if row is None else tuple(row) for row in rows]


LATIN = pa.array([b"a"] * 6 + [b"\xe9"])
HUGE = pa.array([0] * 6 + [2**64 - 1], pa.uint64())
MOMENT = datetime.datetime(2026, 3, 1, 12)
REFUSED: list[tuple[str, dict[str, pa.Array | None], dict[str, pa.Array | None], str]] = [
    ("float id", {"id": pa.array(np.arange(7.0))}, {},
     "column candidates.id: must be text or whole numbers, not double"),
    ("boolean request", {}, {"request_id": pa.array([True, False, None])}, "row 2, column request_id: is null"),
    ("time feature", {"features": with_field(ITEMS["features"], "stars", pa.array([MOMENT] * 7))}, {},
     r"column candidates.features.stars: is timestamp\[us\]; write the hour, the weekday or an age"),
    ("date in user", {}, {"user": with_field(COLUMNS["user"], "age", pa.array([MOMENT.date()] * 3))},
     "column user.age: is date32.*; write the hour"),
    ("list feature", {}, {"context": pa.array([{"hour": [1]}] * 3)}, "column context.hour: is list.*one value"),
    ("text score", {"scores": pa.array([{"ctr": "0.5"}] * 7)}, {}, "column candidates.scores.ctr: must be numbers"),
    ("text price", {"price": pa.array(["1"] * 7)}, {}, "column candidates.price: must be numbers, not string"),
    ("half exposed", {}, {"exposed": pa.array([[1.0, 0.0], [0.5], [0.0]])},
     "row 1, column exposed: holds 0.5, not a whole number"),
    ("half click", {}, {"clicks": pa.array([[1, 0], [0], [0.5]])},
     "row 2, column clicks: holds 0.5, not a whole number"),
    ("NaN exposed", {}, {"exposed": pa.array([[1.0, 0.0], [float("nan")], [0.0]])}, "row 1, column exposed: holds nan"),
    ("decimal click", {}, {"clicks": decimals(pa.array([[1, 0], [0], [0.5]]), pa.decimal128(4, 1))},
     "row 2, column clicks: holds 0.5, not a whole number"),
    ("key twice", {"scores": pa.array([[]] * 3 + [[("ctr", 1.0), ("ctr", 2.0)]] + [[]] * 3, NUMBER_MAP)},
     {},
     r"row 1, column candidates\[1\].scores: has the key 'ctr' twice"),
    ("bytes of another encoding", {"features": with_field(ITEMS["features"], "brand", LATIN)},
     {}, r"row 2, column candidates\[1\].features.brand: holds bytes that are not text in UTF-8"),
    ("huge code", {"features": with_field(ITEMS["features"], "stars", HUGE)}, {},
     r"row 2, column candidates\[1\].features.stars: holds 18446744073709551615, beyond 64-bit integers"),
    ("null in a vector", {"embedding": pa.array([[1.0, 2.0]] * 5 + [[1.0, None]] * 2)}, {},
     r"row 2, column candidates\[0\].embedding: holds a null"),
]  # fmt: skip


@pytest.mark.parametrize(("items", "columns", "message"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
def test_what_has_no_right_reading_is_refused_by_name(
    tmp_path: Path, items: dict[str, pa.Array | None], columns: dict[str, pa.Array | None], message: str
) -> None:
    path = written(tmp_path, table(items, **columns))
    with pytest.raises(ListFileError, match=message) as caught:
        list(read_lists(path))
    assert str(caught.value).startswith(f"{path}: ")


def case(name: str) -> list[ListRecord]:
    return list(read_lists(CASES / name))


@pytest.mark.parametrize(
    "name",
    ["dict_candidate_id", "dict_request_id", "dict_split", "float_exposed", "map_scores", "map_user", "spark_dir"],
)
def test_files_of_other_programs_hold_the_same_lists(name: str) -> None:
    """All of them were made from the same twenty lists, which one of them holds in the plain form."""
    plain = pq.read_table(CASES / "int_features_only.parquet").to_pylist()
    read = case(f"{name}.parquet")
    assert [r.request_id for r in read] == [row["request_id"] for row in plain]
    assert [r.exposed for r in read] == [tuple(row["exposed"]) for row in plain]
    assert [r.gmv for r in read] == [tuple(row["gmv"]) for row in plain]
    assert [r.user for r in read] == [row["user"] for row in plain]
    assert [[c.id for c in r.candidates] for r in read] == [[c["id"] for c in row["candidates"]] for row in plain]
    assert [[c.scores for c in r.candidates] for r in read] == [
        [c["scores"] for c in row["candidates"]] for row in plain
    ]
    # Only this file has another category: its code.
    assert [c.features["category"] for c in read[0].candidates] == [
        chr(c["features"]["category"]) for c in plain[0]["candidates"]
    ]


def test_a_case_of_decimals_and_one_of_fixed_size_vectors() -> None:
    plain = case("dict_split.parquet")
    assert [r.gmv for r in case("decimal_gmv.parquet")] == [
        tuple(round(value, 2) for value in r.gmv or ()) for r in plain
    ]
    for short, whole in zip(case("fixed_size_embedding.parquet"), plain, strict=True):
        for a, b in zip(short.candidates, whole.candidates, strict=True):
            assert a.embedding is not None
            assert b.embedding is not None
            np.testing.assert_allclose(a.embedding, b.embedding, rtol=1e-7)
