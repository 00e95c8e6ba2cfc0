"""A folder that is written appears whole, whatever killed processes left beside it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from models.files import whole_folder

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
