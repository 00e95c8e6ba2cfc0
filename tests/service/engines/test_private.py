"""Sockets stand where nobody else can reach them, and what somebody else could reach is refused."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from service.engines.private import NotPrivate, check_peer, check_private, listen, private_folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_only_this_user_enters_the_folder_and_reaches_the_socket(path: Path) -> None:
    before = os.umask(0)
    try:
        with private_folder() as folder, listen(path):
            assert mode(folder) == 0o700
            assert mode(path.parent) == 0o700
            assert mode(path) == 0o600
            check_private(path.parent)
            check_private(path)
    finally:
        os.umask(before)
    assert not folder.exists()


@pytest.mark.parametrize("others", [0o040, 0o004, 0o010, 0o022, 0o001])
def test_what_is_open_to_group_or_others_is_refused_with_its_mode(path: Path, others: int) -> None:
    with listen(path):
        path.chmod(0o600 | others)
        with pytest.raises(NotPrivate, match=f"open to other users: its mode is {0o600 | others:o}"):
            check_private(path)
    path.parent.chmod(0o700 | others)
    with pytest.raises(NotPrivate, match=f"open to other users: its mode is {0o700 | others:o}"):
        check_private(path.parent)
    with pytest.raises(NotPrivate, match="open to other users"):
        listen(path)


def test_what_belongs_to_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.geteuid()
    with listen(path):
        monkeypatch.setattr(os, "geteuid", lambda: own + 1)
        for one in (path, path.parent):
            with pytest.raises(NotPrivate, match=f"belongs to user {own}, not to {own + 1}"):
                check_private(one)


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="Linux tells who is at the other end")
def test_a_peer_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.geteuid()
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        check_peer(one)
        monkeypatch.setattr(os, "geteuid", lambda: own + 1)
        with pytest.raises(NotPrivate, match=f"runs as user {own}"):
            check_peer(one)


def test_a_file_and_a_link_in_its_place_are_refused(path: Path) -> None:
    path.touch(0o600)
    with pytest.raises(NotPrivate, match="neither a socket nor a folder"):
        check_private(path)
    path.unlink()
    real = path.with_name("real.sock")
    with listen(real):
        path.symlink_to(real)
        with pytest.raises(NotPrivate, match="neither a socket nor a folder"):
            check_private(path)


def test_nothing_there_is_an_error_of_its_own(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check_private(path)
    with pytest.raises(FileNotFoundError):
        listen(path.parent / "none" / path.name)


def test_a_long_way_to_temporary_files_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as root:
        deep = Path(root, "a" * 100)
        deep.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(deep))
        with (
            pytest.raises(OSError, match="too long a path: let TMPDIR name a folder nearer the root"),
            private_folder(),
        ):
            pass
        assert not list(deep.iterdir()), "nothing is left behind"


def test_a_folder_takes_the_longest_name_that_a_socket_may_get() -> None:
    with private_folder() as folder, listen(folder / "engine-99999999-999.sock"):
        pass


def test_the_socket_of_a_dead_process_gives_way_to_the_next(path: Path) -> None:
    listen(path).close()
    assert path.exists()
    with listen(path), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))


def test_two_listeners_in_turn_are_reached_by_the_same_path(path: Path) -> None:
    """The one before may still see its workers off."""
    with listen(path) as before, listen(path) as now, socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
        now.accept()[0].close()
        before.setblocking(False)
        with pytest.raises(BlockingIOError):
            before.accept()
