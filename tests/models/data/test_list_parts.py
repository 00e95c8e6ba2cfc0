"""Folders of part files are written whole or not at all."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.cli import main
from models.data.list_file import read_lists, read_metadata
from models.data.list_writer import write_lists
from models.data.records import Candidate, ListFileError, ListRecord


def records(count: int) -> Iterator[ListRecord]:
    for i in range(count):
        user = {"age": float(i)} if i > 3000 else {}
        yield ListRecord(f"r{i}", (Candidate("a"), Candidate("b")), (1,), (0,), user=user)


def test_parts_have_nearly_one_size_and_one_schema(tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    assert write_lists(folder, records(5000), {"seed": 1}, parts=3) == 5000
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"part-0000{i}.parquet" for i in range(3)]
    assert [pq.read_metadata(file).num_rows for file in files] == [1666, 1667, 1667]
    assert len({str(pq.read_schema(file)) for file in files}) == 1
    assert list(read_lists(folder)) == list(records(5000))
    assert read_metadata(folder) == {"seed": 1}


def test_a_folder_of_parts_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    write_lists(folder, records(30), {}, parts=5)
    write_lists(folder, records(10), {}, parts=2)
    assert list(read_lists(folder)) == list(records(10))
    assert [entry.name for entry in tmp_path.iterdir()] == ["lists"]


def test_a_failure_half_way_leaves_the_folder_that_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    write_lists(folder, records(30), {}, parts=5)

    def failing() -> Iterator[ListRecord]:
        yield from records(3000)
        raise OSError("the source went away")

    with pytest.raises(OSError, match="went away"):
        write_lists(folder, failing(), {}, parts=2)
    assert list(read_lists(folder)) == list(records(30))
    assert [entry.name for entry in tmp_path.iterdir()] == ["lists"]


def test_nothing_else_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "notes.txt").touch()
    with pytest.raises(ListFileError, match=r"lists: holds 'notes.txt' besides part files and is not replaced"):
        write_lists(folder, records(3), {}, parts=2)
    with pytest.raises(ListFileError, match="lists: is a folder, and one file is to be written"):
        write_lists(folder, records(3), {})
    file = tmp_path / "file.parquet"
    write_lists(file, records(3), {})
    with pytest.raises(ListFileError, match=r"file.parquet: is a file, and a folder of parts is to be written"):
        write_lists(file, records(3), {}, parts=2)
    assert [entry.name for entry in folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("parts", "message"), [(4, "3 lists do not fill 4 parts"), (0, "cannot be written in 0 parts")]
)
def test_parts_that_cannot_be_filled_are_refused(tmp_path: Path, parts: int, message: str) -> None:
    with pytest.raises(ListFileError, match=message):
        write_lists(tmp_path / "lists", records(3), {}, parts=parts)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "lists"
    options = ["--lists", "20", "--candidates", "12", "--parts", "2", "--quiet"]
    assert main(["data", "simulator", *options, "--output", str(out)]) == 0
    assert re.search(r"20 lists", capsys.readouterr().out)
    assert [pq.read_metadata(out / f"part-0000{i}.parquet").num_rows for i in range(2)] == [10, 10]


@pytest.mark.long
def test_writing_holds_a_chunk_and_not_the_lists(tmp_path: Path) -> None:
    """Twice the lists take no more memory, neither of Python nor of Arrow."""

    def peak(count: int) -> tuple[int, int]:
        pool = pa.proxy_memory_pool(pa.default_memory_pool())
        before = pa.default_memory_pool()
        pa.set_memory_pool(pool)
        tracemalloc.start()
        try:
            write_lists(tmp_path / "lists.parquet", records(count), {})
            return tracemalloc.get_traced_memory()[1], pool.max_memory()
        finally:
            tracemalloc.stop()
            pa.set_memory_pool(before)

    (python, arrow), (python_twice, arrow_twice) = peak(3 * 2048), peak(9 * 2048)
    assert python_twice < 1.3 * python
    assert arrow_twice < 1.3 * arrow
