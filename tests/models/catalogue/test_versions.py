"""A version appears whole or not at all, under the next name, and one process at a time makes one."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from models.catalogue import making
from models.catalogue.build import build_catalogue, update_catalogue
from models.catalogue.versions import new_version
from models.contract.catalogue.manifest import CatalogueError
from models.locks import LockedError
from tests.models.catalogue.making import OTHER_SPEC, SPEC, delta, features, files, write_items

HOLD = """
import sys, time
from pathlib import Path
from models.catalogue.versions import new_version
from tests.models.catalogue.making import SPEC

with new_version(Path(sys.argv[1]), SPEC, None) as new:
    (new.folder / "half").write_text("half")
    print("held", flush=True)
    time.sleep(60)
"""


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="paths of open files are read from /proc")


def test_versions_are_numbered_and_a_name_may_be_given(tmp_path: Path) -> None:
    path, root = write_items(tmp_path / "items.parquet"), tmp_path / "root"
    names = [build_catalogue(path, SPEC, root, version=version).name for version in (None, None, "2.1", None, "10")]
    assert names == ["1", "2", "2.1", "3", "10"]
    assert update_catalogue(write_items(tmp_path / "delta.parquet", delta(["a"])), SPEC, root).name == "11"


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("2", "is there already, and what is published is never changed"),
        ("1", "would not be the newest, which is '2'$"),
        ("../x", "is not a plain folder name"),
        (".x", "is not a plain folder name"),
    ],
)
def test_a_version_that_would_not_be_served_is_refused(tmp_path: Path, version: str, reason: str) -> None:
    path, root = write_items(tmp_path / "items.parquet"), tmp_path / "root"
    build_catalogue(path, SPEC, root, version="2")
    before = files(root)
    with pytest.raises(CatalogueError, match=reason):
        build_catalogue(path, SPEC, root, version=version)
    assert files(root) == before


def test_after_dates_a_number_must_be_said(tmp_path: Path) -> None:
    path, root = write_items(tmp_path / "items.parquet"), tmp_path / "root"
    build_catalogue(path, SPEC, root, version="2024-06-01-x")
    with pytest.raises(CatalogueError, match=r"version '1': would not be the newest.*; say --version"):
        build_catalogue(path, SPEC, root)


def test_a_build_that_fails_at_the_end_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    root = tmp_path / "root"
    monkeypatch.setattr(making, "write_segment", fail)
    with pytest.raises(OSError, match="No space left"):
        build_catalogue(write_items(tmp_path / "items.parquet"), SPEC, root)
    assert files(root) == {}
    assert not list(root.glob("[!.]*"))


def test_one_process_at_a_time_and_a_killed_one_blocks_nobody(tmp_path: Path) -> None:
    path, root = write_items(tmp_path / "items.parquet"), tmp_path / "root"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(root)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=rf"another process \({holder.pid}\) is working here"):
            build_catalogue(path, SPEC, root)
        assert build_catalogue(path, OTHER_SPEC, root).name == "1", "for another spec there is nothing to wait for"
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert list(root.rglob("half")), "the killed process had no time to tidy up"
    found = build_catalogue(path, SPEC, root)
    assert not list(root.rglob("half"))
    assert features(found, ["a"]) != [None]


def test_a_version_is_in_no_folder_that_a_service_reads_before_it_is_whole(tmp_path: Path) -> None:
    with new_version(tmp_path, SPEC, None) as new:
        (new.folder / "catalogue.json").touch()
        assert [path.name[0] for path in tmp_path.iterdir()] == ["."]
    assert new.target.is_dir()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where whatever is written through to the disk lies at that moment, in order."""
    found: list[Path] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        found.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return found


@needs_proc
def test_a_version_is_on_the_disk_before_it_has_its_name_and_the_name_after(tmp_path: Path, synced: list[Path]) -> None:
    root = tmp_path / "root"
    made = build_catalogue(write_items(tmp_path / "items.parquet"), SPEC, root)
    *before, parent, top = synced
    hidden = root / f".{SPEC.fingerprint[:12]}" / made.name
    assert {path.relative_to(hidden) for path in before} == {
        path.relative_to(made) for path in (made, *made.rglob("*"))
    }
    assert before[-1] == hidden, "a folder comes after what is in it"
    assert [parent, top] == [made.parent, root]


@needs_proc
def test_an_update_writes_only_its_own_files_through(tmp_path: Path, synced: list[Path]) -> None:
    root = tmp_path / "root"
    build_catalogue(write_items(tmp_path / "items.parquet"), SPEC, root)
    synced.clear()
    made = update_catalogue(write_items(tmp_path / "delta.parquet", delta(["a"])), SPEC, root)
    own = {path.name for path in (made / "segment-01").iterdir()} | {"catalogue.json"}
    assert sorted(path.name for path in synced if path.suffix in {".npy", ".parquet", ".json"}) == sorted(own)


def test_a_version_that_cannot_be_written_through_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    root = tmp_path / "root"
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        build_catalogue(write_items(tmp_path / "items.parquet"), SPEC, root)
    assert files(root) == {}


def test_a_file_system_that_cannot_sync_folders_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    made = build_catalogue(write_items(tmp_path / "items.parquet"), SPEC, tmp_path / "root")
    assert features(made, ["a"]) != [None]
