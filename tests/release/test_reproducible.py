"""Two builds of one commit are the same bytes, whatever clone, umask, time zone and time they are made in."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.deploy.files import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("git") is None or not (ROOT / ".git").exists() or find_spec("build") is None,
        reason="needs a git checkout and the extra `dev`",
    ),
]


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build in two clones that differ in all that a build should not depend on."""
    folder = tmp_path_factory.mktemp("reproducible")
    ours = _built(folder / "ours", umask=0o022, zone="UTC")
    began = time.time()
    theirs = _built(folder / "a longer name" / "theirs", umask=0o077, zone="Asia/Tokyo")
    # The formats of archives have seconds, or two of them; a build takes longer than that.
    assert time.time() - began > 2
    return ours, theirs


def _built(folder: Path, umask: int, zone: str) -> Path:
    clone, out = folder / "clone", folder / "dist"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], umask=umask, check=True)
    for path in (clone / "README.md", clone / "service" / "app.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    (clone / "service" / "not_committed.py").write_text('"""Not part of the commit."""\n')
    command = [
        sys.executable,
        str(ROOT / "deploy" / "supply" / "release.py"),
        "--source",
        str(clone),
        "--out",
        str(out),
    ]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "TZ": zone}, umask=umask, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (out / "SHA256SUMS").read_text("utf-8")
    return out


def test_both_distributions_are_the_same_bytes(builds: tuple[Path, Path]) -> None:
    ours, theirs = builds
    names = sorted(path.name for path in ours.iterdir())
    assert [name.rpartition(".")[2] for name in names] == ["SHA256SUMS", "whl", "gz"]
    for name in names:
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name


def test_the_checksums_are_those_of_the_files(builds: tuple[Path, Path]) -> None:
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(command, cwd=builds[0], capture_output=True, check=False).returncode == 0


def test_files_have_the_time_of_the_commit_and_may_be_read_by_all(builds: tuple[Path, Path]) -> None:
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    epoch = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    (sdist,) = builds[1].glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        for member in archive.getmembers():
            assert (member.mtime, member.uid, member.uname) == (epoch, 0, ""), member.name
            assert member.mode in ((0o755,) if member.isdir() else (0o644, 0o755)), member.name
    (wheel,) = builds[1].glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        times = {info.date_time for info in archive.infolist()}
        assert times == {(*time.gmtime(epoch)[:5], time.gmtime(epoch).tm_sec // 2 * 2)}
        assert all(stat.S_IMODE(info.external_attr >> 16) in (0o644, 0o755, 0o664) for info in archive.infolist())


def test_what_is_not_committed_stays_out(builds: tuple[Path, Path]) -> None:
    (wheel,) = builds[0].glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if "not_committed" in name]


def test_the_notice_and_the_licence_are_in_both(builds: tuple[Path, Path]) -> None:
    (wheel,), (sdist,) = builds[0].glob("*.whl"), builds[0].glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive, tarfile.open(sdist) as packed:
        for name in ("NOTICE", "LICENSE"):
            (inside,) = [n for n in archive.namelist() if n.endswith(f".dist-info/licenses/{name}")]
            own = (ROOT / name).read_bytes()
            assert archive.read(inside) == own
            (member,) = [m for m in packed.getmembers() if m.name.count("/") == 1 and m.name.endswith(f"/{name}")]
            unpacked = packed.extractfile(member)
            assert unpacked is not None
            assert unpacked.read() == own
