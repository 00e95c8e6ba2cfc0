"""Typical mistakes in list files, each refused by file, row and column."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.data.list_file import ListFile, read_lists
from models.data.records import ListFileError
from tests.models.data.tables import ITEMS, table, written
from tests.models.data.tables import wrong_items as wrong

Columns = dict[str, pa.Array | None]


def nulled(name: str) -> Columns:
    """The lists' candidates with one value of a column null."""
    return wrong(name, 3, None)


def null_candidate() -> pa.Array:
    column = table()["candidates"].combine_chunks()
    rows = column.to_pylist()
    rows[1][2] = None
    return pa.array(rows, column.type)


MISTAKES: dict[str, tuple[Columns, Columns, str]] = {
    "no id of the request": ({}, {"request_id": None}, "there is no column 'request_id'"),
    "no candidates": ({}, {"candidates": None}, "there is no column 'candidates'"),
    "no items shown": ({}, {"exposed": None}, "there is no column 'exposed'"),
    "no clicks": ({}, {"clicks": None}, "there is no column 'clicks'"),
    "no split": ({}, {"split": None}, "there is no column 'split'"),
    "no id of the items": ({"id": None}, {}, "column candidates.id: is missing"),
    "a null request": ({}, {"request_id": pa.array(["1", None, "3"])}, "row 1, column request_id: is null"),
    "a request without a name": ({}, {"request_id": pa.array(["1", "", "3"])}, "row 1, column request_id: is empty"),
    "a request twice": ({}, {"request_id": pa.array(["1", "2", "1"])}, "row 2, column request_id: '1' stands twice"),
    "an unknown split": (
        {},
        {"split": pa.array(["train", "validation", "test"])},
        "row 1, column split: must be one of train, valid, test, not 'validation'",
    ),
    "splits as numbers": ({}, {"split": pa.array([0, 1, 2])}, "row 0, column split: must be one of train, valid, test"),
    "a null list of candidates": (
        {},
        {"candidates": pa.array([None, [{"id": "a"}], [{"id": "b"}]])},
        "row 0, column candidates: is null",
    ),
    "an empty list of candidates": (
        {},
        {"candidates": pa.array([[{"id": "a"}, {"id": "b"}], [], [{"id": "b"}]])},
        "row 1, column candidates: is empty",
    ),
    "candidates in a struct, as BigQuery may export them": (
        {},
        {"candidates": pa.array([{"list": [{"element": {"id": "a"}}]}] * 3)},
        "column candidates: must be a list, not struct<list",
    ),
    "items with an id of another name": (
        {},
        {"candidates": pa.array([[{"sku": "a"}]] * 3)},
        "column candidates.id: is missing",
    ),
    "candidates as ids": (
        {},
        {"candidates": pa.array([["a", "b"]] * 3)},
        "column candidates: must be a list of structs",
    ),
    "a null candidate": ({}, {"candidates": null_candidate()}, r"row 1, column candidates\[2\]: is null"),
    "a null id": (nulled("id"), {}, r"row 1, column candidates\[1\].id: is null"),
    "an empty id": (wrong("id", 3, ""), {}, r"row 1, column candidates\[1\].id: is empty"),
    "an item twice in a list": (wrong("id", 4, "13"), {}, "row 1, column candidates.id: has the same id twice: '13'"),
    "an infinite score": (
        wrong("scores", 5, {"ctr": math.inf, "cvr": 0.5}),
        {},
        r"row 2, column candidates\[0\].scores.ctr: is inf, not a",
    ),
    "a score that is no number": (
        wrong("scores", 5, {"ctr": 0.5, "cvr": math.nan}),
        {},
        r"row 2, column candidates\[0\].scores.cvr: is nan, not a",
    ),
    "scores as one number": (
        {"scores": pa.array([0.5] * 7)},
        {},
        "column candidates.scores: must be a struct or a map",
    ),
    "a negative price": (wrong("price", 6, -0.5), {}, r"row 2, column candidates\[1\].price: is -0.5, not a finite"),
    "a price that is no number": (
        wrong("price", 0, math.nan),
        {},
        r"row 0, column candidates\[0\].price: is nan, not a",
    ),
    "prices as text": ({"price": pa.array(["9.99"] * 7)}, {}, "column candidates.price: must be numbers, not string"),
    "a feature that is no number": (
        {"features": pa.array([{"stars": 1.0}] * 6 + [{"stars": math.nan}])},
        {},
        r"row 2, column candidates\[1\].features.stars: is nan, not text or a finite number",
    ),
    "an embedding with an infinity": (
        wrong("embedding", 2, [1.0, -math.inf]),
        {},
        r"row 1, column candidates\[0\].embedding: holds -inf, not a finite",
    ),
    "embeddings of two lengths": (
        wrong("embedding", 4, [1.0]),
        {},
        "row 1, column candidates.embedding: has different lengths: 1 and 2",
    ),
    "a user as text": ({}, {"user": pa.array(["u1"] * 3)}, "column user: must be a struct or a map, not string"),
    "an infinite field of the user": (
        {},
        {"user": pa.array([{"age": 1.0}, {"age": math.inf}, {"age": 2.0}])},
        "row 1, column user.age: is inf, not text or a finite number",
    ),
    "a time of the request": (
        {},
        {"context": pa.array([{"at": 0}] * 3, pa.struct([("at", pa.timestamp("s"))]))},
        r"column context.at: is timestamp\[ms\]; write the hour",
    ),
    "null items shown": ({}, {"exposed": pa.array([[1, 0], None, [0]])}, "row 1, column exposed: is null"),
    "a null among the items shown": (
        {},
        {"exposed": pa.array([[1, None], [2], [0]])},
        "row 0, column exposed: holds a null",
    ),
    "positions from one": (
        {},
        {"exposed": pa.array([[1, 2], [2], [1]])},
        "row 0, column exposed: must hold indices between 0 and 1, not 2",
    ),
    "an unshown position": (
        {},
        {"exposed": pa.array([[1, 0], [-1], [0]])},
        "row 1, column exposed: must hold indices between 0 and 2, not -1",
    ),
    "an item shown twice": (
        {},
        {"exposed": pa.array([[1, 1], [2], [0]])},
        "row 0, column exposed: shows a candidate twice: 1",
    ),
    "items shown by their ids": (
        {},
        {"exposed": pa.array([["12", "11"], ["11"], ["15"]])},
        "column exposed: must be numbers, not string",
    ),
    "null clicks": ({}, {"clicks": pa.array([None, [0], [1]])}, "row 0, column clicks: is null"),
    "a null click": ({}, {"clicks": pa.array([[1, 0], [None], [1]])}, "row 1, column clicks: holds a null"),
    "a click on what was not shown": (
        {},
        {"clicks": pa.array([[1, 0], [0, 1], [1]])},
        "row 1, column clicks: has 2 values for 1 exposed positions",
    ),
    "a label for every candidate": (
        {},
        {"purchases": pa.array([[0, 0], [0, 0, 0], [1]])},
        "row 1, column purchases: has 3 values for 1 exposed positions",
    ),
    "clicks that are counted": (
        {},
        {"clicks": pa.array([[3, 0], [0], [1]])},
        "row 0, column clicks: must hold 0 or 1, not 3",
    ),
    "a negative purchase": (
        {},
        {"purchases": pa.array([[0, 0], [-1], [1]])},
        "row 1, column purchases: must hold 0 or 1, not -1",
    ),
    "clicks as text": ({}, {"clicks": pa.array(["10", "0", "1"])}, "column clicks: must be a list, not string"),
    "a refund": (
        {},
        {"gmv": pa.array([[0, 0], [0], [-6.5]])},
        "row 2, column gmv: must hold finite numbers of at least 0, not -6.5",
    ),
    "gmv that is no number": (
        {},
        {"gmv": pa.array([[0, math.nan], [0], [1.0]])},
        "row 0, column gmv: must hold finite numbers of at least 0, not nan",
    ),
    "a null in gmv": ({}, {"gmv": pa.array([[0, None], [0], [1.0]])}, "row 0, column gmv: holds a null"),
    "gmv as one number": ({}, {"gmv": pa.array([0.0, 0.0, 6.5])}, "column gmv: must be a list, not double"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(tmp_path: Path, mistake: str) -> None:
    items, columns, message = MISTAKES[mistake]
    path = written(tmp_path, table(items, **columns))
    with pytest.raises(ListFileError, match=message) as caught:
        list(read_lists(path))
    assert str(caught.value).startswith(f"{path}: ")


def test_the_row_is_that_of_the_file(tmp_path: Path) -> None:
    """Rows are counted from the file's first, whatever window and row group they are read in."""
    plain = pa.concat_tables([table(request_id=pa.array([f"{i}-{j}" for j in range(3)])) for i in range(50)])
    broken = table(split=pa.array(["train", "train", "later"]))
    path = tmp_path / "lists.parquet"
    pq.write_table(pa.concat_tables([plain, broken]), path, row_group_size=40)
    with pytest.raises(ListFileError, match="row 152, column split: "):
        list(ListFile(path).windows(size=7))


def test_vectors_of_another_length_in_another_list_are_no_mistake(tmp_path: Path) -> None:
    """Lengths are compared within a list; those that train a model compare them over all lists."""
    vectors = ITEMS["embedding"].to_pylist()[:5] + [[1.0]] * 2
    assert len(list(read_lists(written(tmp_path, table({"embedding": pa.array(vectors)}))))) == 3
