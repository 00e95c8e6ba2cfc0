"""Build distributions from a copy of what git tracks, so that nothing else in the checkout can get into them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

from tests.deploy.files import ROOT

PACKAGES: Final = ("service", "models", "export", "loadtest")
BESIDE: Final = (
    "CHANGELOG.md",
    "LICENSE",
    "MANIFEST.in",
    "NOTICE",
    "README.md",
    "constraints-gpu.txt",
    "constraints.txt",
    "pyproject.toml",
)
"""Files beside the packages that an sdist has."""


def tracked(*paths: str) -> list[str]:
    """Return the files under `paths` that git tracks or would track, relative to the checkout."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *paths]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(name for name in set(listed) if (ROOT / name).is_file())


def copy_tracked(folder: Path) -> Path:
    """Copy all that git tracks into `folder`, and return it."""
    for name in tracked():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    return folder


def build(source: Path, out: Path, *kinds: str) -> list[Path]:
    """Build `source` with the setuptools that is installed here (no index is asked), and return what came out."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), *kinds, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(out.iterdir())


def contents(wheel: Path) -> dict[str, str]:
    """Map every file of a wheel to its SHA-256."""
    with zipfile.ZipFile(wheel) as archive:
        return {i.filename: hashlib.sha256(archive.read(i)).hexdigest() for i in archive.infolist() if not i.is_dir()}
