"""What is wrong in a file of items is named by file, row and column, and nothing is published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.catalogue import index
from models.catalogue.build import build_catalogue, update_catalogue
from models.contract.catalogue.lookup import Hashes, hash_ids
from models.contract.catalogue.manifest import CatalogueError
from models.contract.spec import Category, FeatureSpec
from tests.models.catalogue.making import COLUMNS, OTHER_SPEC, SPEC, delta, features, files, write_items

NAN, INF = float("nan"), float("inf")
SINGLE = pa.list_(pa.float32())

MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no id": ({"id": None}, "there is no column 'id'"),
    "a null id": ({"id": ["a", None, "c", "d"]}, "row 1, column id: holds a null"),
    "an empty id": ({"id": ["a", "b", "", "d"]}, "row 2, column id: must have 1 to 256 characters, not 0"),
    "a long id": ({"id": ["a", "b", "c", "ü" * 257]}, "row 3, column id: must have 1 to 256 characters, not 257"),
    "ids that are numbers": ({"id": [1, 2, 3, 4]}, "column id: must be text, not int64"),
    "ids that are no text": ({"id": [b"a", b"b", b"\xff", b"d"]}, "row 2, column id: holds bytes that are not text"),
    "an id twice": ({"id": ["a", "b", "c", "b"]}, "row 3, column id: 'b' is there already, in .*items.parquet, row 1"),
    "a price that is text": ({"price": ["1", "2", "3", "4"]}, "column price: must be numbers, not string"),
    "a price that is no number": ({"price": [1, NAN, 2, 3]}, "row 1, column price: holds nan; write null"),
    "a price without end": ({"price": [1, 2, 3, INF]}, "row 3, column price: holds inf"),
    "a price below 0": ({"price": [1, -0.5, 2, 3]}, r"row 1, column price: must be within 0..1e\+12, not -0.5"),
    "a price too high": ({"price": [1, 2, 3, 2e12]}, "row 3, column price: must be within"),
    "a number that is none": ({"stars": [1, 2, NAN, 3]}, "row 2, column stars: holds nan; write null"),
    "a field that is none": ({"height": [1.0, -INF, 2, 3]}, "row 1, column height: holds -inf"),
    "text for a number": ({"stars": ["1", "2", "3", "4"]}, "column stars: must be numbers, as the spec has it"),
    "lists in a field": ({"brand": [["a"]] * 4}, "column brand: is list.*; a field holds one value"),
    "dates in a field": ({"brand": [date(2024, 1, 1)] * 4}, "column brand: is date32"),
    "a field twice": ({"features": [{"brand": "x"}] * 4}, "column brand: is there twice"),
    "no list of numbers": ({"embedding": [1.0, 2.0, 3.0, 4.0]}, "column embedding: must be a list, not double"),
    "texts in an embedding": ({"embedding": [["x", "y"]] * 4}, "column embedding: must be numbers, not string"),
    "ragged embeddings": (
        {"embedding": [[1.0, 2], None, [1.0, 2, 3], [1.0, 2]]},
        "row 2, column embedding: has 3 numbers, where others have 2",
    ),
    "a hole in an embedding": ({"embedding": [None, [1.0, None], None, None]}, "row 1, column embedding: holds a null"),
    "nan in an embedding": (
        {"embedding": pa.array([None, [1.0, 2], [1.0, NAN], None], SINGLE)},
        "row 2, column embedding: holds nan",
    ),
    "an embedding too wide": ({"embedding": [[1.0] * 4097, None, None, None]}, "row 0, column embedding: has 4097"),
    "tombstones": ({"deleted": [False, True, False, False]}, "column deleted: is for updates"),
    "no items": ({name: pa.array([], pa.string()) for name in ("id", "brand")}, "there are no items"),
}


def sides(mistake: str) -> dict[str, Any]:
    others = MISTAKES[mistake][0]
    return {**COLUMNS, **others} if mistake != "no items" else others


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_and_nothing_is_published(tmp_path: Path, mistake: str) -> None:
    path = write_items(tmp_path / "items.parquet", sides(mistake))
    with pytest.raises(CatalogueError, match=f"items.parquet: {MISTAKES[mistake][1]}"):
        build_catalogue(path, SPEC, tmp_path / "root")
    assert files(tmp_path / "root") == {}
    assert not list((tmp_path / "root").glob("[!.]*"))


def test_a_spec_with_a_text_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    spec = FeatureSpec(item=(Category("brand", ("acme", "\ud800")),))
    with pytest.raises(CatalogueError, match="the feature spec: has half a surrogate pair in a text"):
        build_catalogue(tmp_path / "no such items.parquet", spec, tmp_path / "root")
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(("content", "reason"), [(b"", "it is empty"), (b"id,price\na,1\n", "it is CSV"), (None, "")])
def test_what_is_no_parquet_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "items.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CatalogueError, match=f"items.parquet.*{reason}"):
        build_catalogue(path, SPEC, tmp_path / "root")


def test_an_id_twice_in_two_files_names_both(tmp_path: Path) -> None:
    write_items(tmp_path / "items" / "1.parquet")
    write_items(tmp_path / "items" / "2.parquet", id=["e", "f", "c", "g"])
    with pytest.raises(
        CatalogueError, match=r"2.parquet: row 2, column id: 'c' is there already, in .*1.parquet, row 2"
    ):
        build_catalogue(tmp_path / "items", SPEC, tmp_path / "root")


def test_types_that_differ_between_files_are_named(tmp_path: Path) -> None:
    write_items(tmp_path / "items" / "1.parquet")
    write_items(tmp_path / "items" / "2.parquet", id=["e", "f", "g", "h"], brand=[1, 2, 3, 4])
    with pytest.raises(CatalogueError, match=r"2.parquet: column brand: is int64 here and string in .*1.parquet"):
        build_catalogue(tmp_path / "items", SPEC, tmp_path / "root")


def hashing_alike(*names: str) -> Callable[[Sequence[str]], Hashes]:
    """A hash function under which some ids are alike."""

    def hash_all(ids: Sequence[str]) -> Hashes:
        return hash_ids([names[0] if name in names else name for name in ids])

    return hash_all


def test_ids_of_one_hash_are_found_in_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "hash_ids", hashing_alike("b", "d"))
    path = write_items(tmp_path / "items.parquet")
    with pytest.raises(CatalogueError, match="row 3, column id: 'd' has the same hash as 'b'; rename one"):
        build_catalogue(path, SPEC, tmp_path / "root")
    assert files(tmp_path / "root") == {}


@pytest.mark.parametrize("gone", [False, True])
def test_ids_of_one_hash_are_found_in_an_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool) -> None:
    monkeypatch.setattr(index, "hash_ids", hashing_alike("b", "new"))
    folder = build_catalogue(write_items(tmp_path / "items.parquet"), SPEC, tmp_path / "root")
    before = files(tmp_path / "root")
    path = write_items(tmp_path / "delta.parquet", delta(["a", "new"], deleted=[False, gone]))
    with pytest.raises(CatalogueError, match=r"delta.parquet: row 1, column id: 'new' has the same hash as 'b'"):
        update_catalogue(path, SPEC, tmp_path / "root")
    assert files(tmp_path / "root") == before
    assert features(folder, ["b"]) == [{"brand": "bolt", "shop": 12.0, "height": 2.0, "fresh": False}]


UPDATES: dict[str, tuple[dict[str, Any], str]] = {
    "a column that is not there": ({"brand": None}, "there is no column 'brand', which the catalogue has"),
    "no price": ({"price": None}, "there is no column 'price', which the catalogue has"),
    "no embedding": ({"embedding": None}, "there is no column 'embedding'"),
    "another type": ({"height": ["1"]}, "column height: is a text here, but a number in the catalogue"),
    "numbers past 2^53": ({"height": [2**60]}, "is a text here, as whole numbers past 2.53 are, but a number"),
    "another width": ({"embedding": [[1.0, 2.0, 3.0]]}, "row 0, column embedding: has 3 numbers, where others have 2"),
    "deleted that is no flag": ({"deleted": [1]}, "column deleted: must be true or false, not int64"),
}


@pytest.mark.parametrize("mistake", UPDATES)
def test_an_update_that_does_not_fit_is_named_and_changes_nothing(tmp_path: Path, mistake: str) -> None:
    build_catalogue(write_items(tmp_path / "items.parquet"), SPEC, tmp_path / "root")
    before = files(tmp_path / "root")
    others, reason = UPDATES[mistake]
    path = write_items(tmp_path / "delta.parquet", delta(["a"], **others))
    with pytest.raises(CatalogueError, match=f"delta.parquet: .*{reason}"):
        update_catalogue(path, SPEC, tmp_path / "root")
    assert files(tmp_path / "root") == before


def test_there_is_nothing_to_update_for_a_spec_without_a_catalogue(tmp_path: Path) -> None:
    path = write_items(tmp_path / "items.parquet")
    build_catalogue(path, SPEC, tmp_path / "root")
    with pytest.raises(CatalogueError, match="there is no version for this feature spec yet; build one first"):
        update_catalogue(path, OTHER_SPEC, tmp_path / "root")


def test_items_that_were_changed_after_they_were_written_are_not_merged(tmp_path: Path) -> None:
    folder = build_catalogue(write_items(tmp_path / "items.parquet"), SPEC, tmp_path / "root")
    write_items(folder / "segment-00" / "items.parquet", stars=np.zeros(4))
    with pytest.raises(CatalogueError, match=r"segment-00/items.parquet: its checksum differs"):
        build_catalogue(folder, OTHER_SPEC, tmp_path / "root")
