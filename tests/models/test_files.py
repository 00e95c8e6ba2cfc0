"""What is written appears whole, whatever killed processes left beside it, and a full disk is told with its name."""

from __future__ import annotations

import errno
import io
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from models.files import whole_file, whole_folder
from models.nets.checkpoint import save_payload

HOST = socket.gethostname()


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave(path: Path, end: str, process: int, host: str = HOST) -> Path:
    """Leave a folder with a file, as a killed process would."""
    folder = path.with_name(f".{path.name}.{host}.{process}.{end}")
    folder.mkdir()
    (folder / "left").touch()
    return folder


def write(path: Path) -> None:
    with whole_folder(path) as folder:
        (folder / "new").touch()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("replaced", [False, True])
def test_folders_that_a_process_of_the_same_name_left_are_deleted(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "lists"
    if replaced:
        write(path)
    for end in ("partial", "work", "former"):
        leave(path, end, os.getpid())
    write(path)
    assert names(path) == ["new"]
    assert names(tmp_path) == ["lists"]


def test_folders_of_ended_processes_are_deleted_and_others_are_kept(tmp_path: Path, ended: int) -> None:
    path = tmp_path / "lists"
    for end in ("partial", "work", "former"):
        leave(path, end, ended)
    kept = [leave(path, "partial", 1), leave(path, "partial", ended, "elsewhere"), leave(path, "other", ended)]
    kept.append(leave(tmp_path / "lists.2", "partial", ended))
    write(path)
    assert names(tmp_path) == sorted(["lists", *(folder.name for folder in kept)])


def test_a_folder_that_a_killed_process_moved_aside_is_kept_until_a_new_one_stands(tmp_path: Path, ended: int) -> None:
    path = tmp_path / "lists"
    partial, former = leave(path, "partial", ended), leave(path, "former", ended)
    with pytest.raises(ZeroDivisionError), whole_folder(path):
        raise ZeroDivisionError
    assert not partial.exists()
    assert names(tmp_path) == [former.name]
    write(path)
    assert names(tmp_path) == ["lists"]


def full(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write_text(path: Path) -> None:
    with whole_file(path) as partial, partial.open("w") as file, Path("/dev/full").open("w") as device:
        file.write("begun")
        device.write("more")


def write_table(path: Path) -> None:
    with whole_file(path) as partial:
        partial.symlink_to("/dev/full")
        pq.write_table(pa.table({"a": range(1000)}), partial)


def write_part(path: Path) -> None:
    with whole_folder(path):
        full()


def write_checkpoint(path: Path) -> None:
    save_payload(path, "state", {"weights": torch.ones(100_000)})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("write", [write_text, write_table, write_part])
def test_a_full_disk_is_told_with_what_was_to_be_written(tmp_path: Path, write: Callable[[Path], None]) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught:
        write(tmp_path / "out")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "out"))
    assert names(tmp_path) == []


@pytest.mark.parametrize("room", [0, 1000, 200_000])
def test_a_full_disk_is_told_with_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr(Path, "open", lambda path, mode: FullDisk(path, mode, room))
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_checkpoint(tmp_path / "last.pt")
    assert caught.value.filename == str(tmp_path / "last.pt")
    assert names(tmp_path) == []


class FullDisk(io.FileIO):
    """A file on a disk with room for so many bytes."""

    def __init__(self, path: Path, mode: str, room: int) -> None:
        super().__init__(path, mode)
        self.room = room

    def write(self, data: Any, /) -> int:
        self.room -= len(data)
        return super().write(data) if self.room >= 0 else full()


def test_an_error_that_names_a_file_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none left") as caught, whole_file(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "none left", "elsewhere")
    assert caught.value.filename == "elsewhere"
