"""Build the wheel and the sdist of a commit with the same bytes each time.

``python deploy/supply/release.py [--source CHECKOUT] [--revision HEAD] [--out dist]``. Only what the commit has gets
in. Times are the commit's (or `SOURCE_DATE_EPOCH`), modes 644 and 755, owners nobody. The bytes still depend on the
versions of setuptools, which constraints.txt pins, and of zlib. Needs `build` and setuptools beside it, and no network.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path


def checked_out(source: Path, revision: str, folder: Path, epoch: int) -> None:
    """Write the files of a commit into `folder`, with modes of its own."""
    archive = subprocess.run(
        ["git", "-C", str(source), "archive", "--format=tar", revision], stdout=subprocess.PIPE, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        members = [_plain(member, epoch) for member in files.getmembers()]
        files.extractall(folder, members, filter="tar")


def commit_time(source: Path, revision: str) -> int:
    """Return `SOURCE_DATE_EPOCH`, or the time of the commit in seconds since 1970."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(source), "log", "-1", "--format=%ct", revision]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def build(folder: Path, out: Path, epoch: int) -> list[Path]:
    """Build both distributions of `folder` with the setuptools that is installed here."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", str(out), str(folder)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0"}
    subprocess.run(command, env=environment, umask=0o022, stdout=sys.stderr, check=True)
    return sorted(out.iterdir())


def repack(sdist: Path, epoch: int) -> None:
    """Write a `.tar.gz` again without the times, owners and umask of its build."""
    with tarfile.open(sdist) as archive:
        members = sorted(archive.getmembers(), key=lambda member: member.name)
        contents = [(_plain(m, epoch), archive.extractfile(m).read() if m.isfile() else b"") for m in members]  # type: ignore[union-attr]
    with (
        sdist.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member, content in contents:
            member.pax_headers = {}
            archive.addfile(member, io.BytesIO(content))


def _plain(member: tarfile.TarInfo, epoch: int) -> tarfile.TarInfo:
    """Give a member of an archive the times, modes and owners that all builds have."""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    member.mtime = epoch
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def main() -> None:
    """Build, move the files to their folder, and print checksums as sha256sum does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--source", type=Path, default=Path(), help="a checkout of the repository")
    parser.add_argument("--revision", default="HEAD", help="commit to build; what is not committed stays out")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder for the distributions")
    options = parser.parse_args()
    epoch = commit_time(options.source, options.revision)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        tree, built = Path(folder, "tree"), Path(folder, "dist")
        checked_out(options.source, options.revision, tree, epoch)
        sums = []
        for path in build(tree, built, epoch):
            if path.name.endswith(".tar.gz"):
                repack(path, epoch)
            content = path.read_bytes()
            (options.out / path.name).write_bytes(content)
            sums.append(f"{hashlib.sha256(content).hexdigest()}  {path.name}\n")
    (options.out / "SHA256SUMS").write_text("".join(sums), "utf-8")
    print("".join(sums), end="")


if __name__ == "__main__":
    main()
