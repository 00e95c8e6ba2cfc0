"""Parts made by tasks are those that one process writes, and a run that fails leaves nothing."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from models.cli import main
from models.data.list_writer import write_lists
from models.data.records import Candidate, ListFileError, ListRecord
from models.datasets import simulated_logs
from models.datasets.simulator import SimulatorConfig
from models.datasets.source import ListSource, Summary
from models.distributed import parts
from models.distributed.cluster import RayError
from models.distributed.parts import WritePart, write_parts
from models.locks import only_writer
from tests.models.distributed.machines import TWO_CORES

pytestmark = pytest.mark.usefixtures("tasks_here")
TOTAL = 60
CHUNKS = 4200
"""More records than two chunks."""
METADATA = {"seed": 1}


@dataclass(frozen=True)
class Rows:
    """Make records, each changed as a function of its row says."""

    change: Callable[[int], dict[str, Any]] = lambda _: {}

    def __call__(self, rows: range) -> Iterator[ListRecord]:
        for row in rows:
            item = Candidate("a", features={"colour": f"c{row % 3}"}, scores={"ctr": 0.1})
            candidates = (item, Candidate("b", scores={"ctr": 0.2}))
            values = {"request_id": f"r{row}", "user": {"age": row}, "clicks": (0, 1), **self.change(row)}
            yield ListRecord(candidates=candidates, exposed=(1, 0), **values)


def source(rows: Rows = Rows(), total: int = TOTAL) -> ListSource:
    return ListSource(rows(range(total)), total, METADATA, rows)


def written(path: Path, from_: ListSource, count: int = 4, done: Callable[[int], object] = lambda _: None) -> Summary:
    return write_parts(path, from_, parts=count, cluster=TWO_CORES, done=done)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def late(row: int) -> dict[str, Any]:
    """Let the last records have a field more, and the first whole numbers only."""
    return {"user": {"age": row if row < 3500 else row + 0.5, **({"late": "yes"} if row > 4000 else {})}}


@pytest.mark.long
@pytest.mark.parametrize("count", [2, 7])
def test_parts_are_byte_for_byte_those_of_one_process(tmp_path: Path, count: int) -> None:
    made, here, counted = source(Rows(late), CHUNKS), Summary(), list[int]()
    write_lists(tmp_path / "here", here.watch(made.records), METADATA, parts=count)
    summary = written(tmp_path / "ray", made, count, counted.append)
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")
    assert len({str(pq.read_schema(file)) for file in (tmp_path / "ray").iterdir()}) == 1
    assert summary.text() == here.text()
    assert sum(counted) == CHUNKS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "ray"]


def test_a_simulated_log_is_the_same_in_parts(tmp_path: Path) -> None:
    config = SimulatorConfig(candidates=9, items=60, users=50, brands=3)
    here, log = Summary(), simulated_logs.load(config, seed=3, lists=60, length=5, exploration=0.2)
    write_lists(tmp_path / "here", here.watch(log.records), log.metadata, parts=3)
    assert written(tmp_path / "ray", log, 3).text() == here.text()
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")


def test_a_folder_of_parts_is_replaced_as_a_whole(tmp_path: Path) -> None:
    written(tmp_path / "lists", source(), 7)
    written(tmp_path / "lists", source(), 2)
    assert sorted(contents(tmp_path / "lists")) == ["part-00000.parquet", "part-00001.parquet"]


def test_a_request_id_that_stands_twice_in_two_parts_is_named(tmp_path: Path) -> None:
    rows = Rows(lambda row: {"request_id": "r7"} if row == 59 else {})
    with pytest.raises(ListFileError, match=r"part-00003\.parquet: row 14, column request_id: 'r7' stands twice"):
        written(tmp_path / "lists", source(rows))
    assert list(tmp_path.iterdir()) == []


def test_fields_of_two_types_in_two_parts_are_named_as_in_one_process(tmp_path: Path) -> None:
    rows = Rows(lambda row: {"user": {"age": "old"}} if row >= 45 else {})
    with pytest.raises(ListFileError, match=r"lists: rows 45 to 59: column user\.age: is string here and"):
        written(tmp_path / "lists", source(rows))
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_record_is_named_by_its_row_in_the_whole(tmp_path: Path) -> None:
    rows = Rows(lambda row: {"clicks": (0, 2)} if row == 50 else {})
    with pytest.raises(ListFileError, match="lists: row 50, column clicks: must hold 0 or 1, not 2"):
        written(tmp_path / "lists", source(rows))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [None, 0, 100, -100])
def test_records_that_vanish_or_are_cut_short_are_named(
    tmp_path: Path, keep: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = WritePart.__call__

    def spoilt(self: WritePart, kept: tuple[parts.PartTask, int]) -> None:
        if kept[0].part == 2:
            whole = kept[0].records.read_bytes()
            kept[0].records.unlink()
            if keep is not None:
                kept[0].records.write_bytes(whole[:keep])
        write(self, kept)

    monkeypatch.setattr(WritePart, "__call__", spoilt)
    with pytest.raises(ListFileError, match=r"records-00002\.arrow: cannot be read as the records of a part"):
        written(tmp_path / "lists", source())
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_this_machine_does_not_see_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WritePart, "__call__", lambda *_: None)
    with pytest.raises(RayError, match=r"part-00000\.parquet: was written, but is not there; do all machines see"):
        written(tmp_path / "lists", source())
    assert list(tmp_path.iterdir()) == []


def test_what_a_lost_process_left_is_not_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = WritePart.__call__

    def leaving(self: WritePart, kept: tuple[parts.PartTask, int]) -> None:
        (kept[0].work / ".part-00000.parquet.1.partial").touch()
        write(self, kept)

    monkeypatch.setattr(WritePart, "__call__", leaving)
    written(tmp_path / "lists", source(), 2)
    assert sorted(contents(tmp_path / "lists")) == ["part-00000.parquet", "part-00001.parquet"]


def test_what_a_killed_command_of_the_same_name_left_is_not_in_the_folder(tmp_path: Path) -> None:
    for end in ("partial", "work"):
        folder = tmp_path / f".lists.{socket.gethostname()}.{os.getpid()}.{end}"
        folder.mkdir()
        (folder / "part-00009.parquet").touch()
    written(tmp_path / "lists", source(), 2)
    assert sorted(contents(tmp_path / "lists")) == ["part-00000.parquet", "part-00001.parquet"]
    assert [path.name for path in tmp_path.iterdir()] == ["lists"]


def test_what_cannot_be_deleted_costs_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rmtree(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise OSError(f"{path}: resource busy")

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    written(tmp_path / "lists", source(), 2)
    assert sorted(contents(tmp_path / "lists")) == ["part-00000.parquet", "part-00001.parquet"]


def test_what_is_no_folder_of_parts_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "notes.txt").touch()
    with pytest.raises(ListFileError, match=r"holds 'notes\.txt' besides part files"):
        written(tmp_path / "lists", source())
    with pytest.raises(ListFileError, match="60 lists do not fill 70 parts"):
        written(tmp_path / "others", source(), 70)
    with pytest.raises(RayError, match="can only be read in one sequence"):
        written(tmp_path / "others", ListSource(iter(()), 0, {}))


COMMAND = ["data", "simulator", "--lists", "20", "--items", "60", "--quiet"]


def test_the_command_asks_for_parts_and_a_cluster(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = [*COMMAND, "-o", str(tmp_path / "lists")]
    assert main([*command, "--ray", "local"]) == 2
    assert "--ray: writes a folder of part files; say with --parts how many" in capsys.readouterr().err
    assert main([*command, "--parts", "2", "--workers", "2"]) == 2
    assert "--workers: needs --ray" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_address_without_a_cluster_leaves_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    assert main([*COMMAND, "-o", str(tmp_path / "lists"), "--parts", "2", "--ray", "127.0.0.1:1"]) == 2
    assert "--ray: there is no Ray cluster at 127.0.0.1:1" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_two_runs_into_one_folder_are_told_apart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = [*COMMAND, "-o", str(tmp_path / "lists"), "--parts", "2"]
    with only_writer(tmp_path / "lists"):
        for options in ([], ["--ray", "local"]):
            assert main([*command, *options]) == 2
            assert f"{tmp_path / 'lists'}: another process (" in capsys.readouterr().err
    assert main(command) == 0


def test_a_source_that_is_read_in_sequence_has_no_ray(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["data", "movielens", "--path", "x", "-o", str(tmp_path / "lists"), "--parts", "2", "--ray", "local"])
    assert "unrecognized arguments: --ray\n" in capsys.readouterr().err
