"""A folder is held by one process at a time, and never by one that has ended."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models.locks import LOCK_FILE, LockedError, only_one, only_writer

HOLD = """
import sys, time
from pathlib import Path
from models.locks import only_one

with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_held_folder_is_refused_with_the_process_that_holds_it_until_that_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=rf"another process \({holder.pid}\) is working here"), only_one(tmp_path):
            raise AssertionError("both hold the folder")
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert (tmp_path / LOCK_FILE).exists(), "the killed process had no time to tidy up"
    with only_one(tmp_path):
        pass


def test_a_folder_is_made_and_left_without_a_trace_even_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), only_one(tmp_path / "new" / "folder"):
        raise ZeroDivisionError
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_different_folders_do_not_stand_in_each_others_way(tmp_path: Path) -> None:
    with only_one(tmp_path), only_one(tmp_path / "inner"):
        assert (tmp_path / "inner" / LOCK_FILE).exists()


def test_a_refusal_leaves_the_lock_with_its_owner(tmp_path: Path) -> None:
    with only_one(tmp_path):
        for _ in range(2):
            with pytest.raises(LockedError), only_one(tmp_path):
                raise AssertionError("held twice")


def test_what_is_written_is_held_by_a_lock_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lists"
    with only_writer(path):
        assert [entry.name for entry in path.parent.iterdir()] == [".lists.lock"]
        with pytest.raises(LockedError, match=r"lists: another process \(\d+\) is writing it"), only_writer(path):
            raise AssertionError("both write it")
        with only_writer(path.with_name("others")):
            pass
    assert list(path.parent.iterdir()) == []
