from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from models import cli
from models.data.item_table import latest_items, write_items
from models.data.list_writer import write_lists
from models.data.records import Candidate, ListFileError, ListRecord


def record(request_id: str, *candidates: Candidate) -> ListRecord:
    return ListRecord(request_id=request_id, candidates=candidates, exposed=(0,), clicks=(0,))


def test_the_last_that_was_seen_of_every_item_is_written_once(tmp_path: Path) -> None:
    lists, items = tmp_path / "lists.parquet", tmp_path / "items.parquet"
    old = Candidate("a", scores={"ctr": 0.1}, price=1.0, features={"brand": "x", "stars": 3})
    new = Candidate("a", scores={"ctr": 0.2}, price=2.0, features={"brand": "y", "stars": 4})
    other = Candidate("b", scores={"ctr": 0.3}, features={"brand": "z"}, embedding=(1.0, 0.0))
    write_lists(lists, [record("r1", old, other), record("r2", new)], {})
    assert cli.main(["data", "items", str(lists), "--output", str(items), "--quiet"]) == 0
    assert pq.read_table(items).to_pylist() == [
        {"id": "a", "price": 2.0, "features": {"brand": "y", "stars": 4}, "embedding": None},
        {"id": "b", "price": None, "features": {"brand": "z", "stars": None}, "embedding": [1.0, 0.0]},
    ]


def test_what_no_item_has_is_no_column(tmp_path: Path) -> None:
    items = latest_items([record("r", Candidate("a", scores={"ctr": 0.1}))])
    write_items(tmp_path / "items.parquet", items.values())
    assert pq.read_table(tmp_path / "items.parquet").to_pylist() == [{"id": "a"}]


def test_no_items_and_values_of_mixed_types_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    with pytest.raises(ListFileError, match="no items"):
        write_items(path, [])
    with pytest.raises(ListFileError, match=r"candidates\.features\.brand"):
        write_items(path, [Candidate("a", features={"brand": "x"}), Candidate("b", features={"brand": 5})])
    assert not path.exists()


def test_the_lists_are_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = tmp_path / "lists.parquet"
    write_lists(lists, [record("r", Candidate("a", scores={"ctr": 0.1}))], {})
    before = lists.read_bytes()
    assert cli.main(["data", "items", str(lists), "-o", str(lists)]) != 0
    assert "would be replaced" in capsys.readouterr().err
    assert lists.read_bytes() == before
