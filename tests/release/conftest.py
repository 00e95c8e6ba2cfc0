"""The sdist and the wheel, built once for all tests here."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.deploy.files import ROOT
from tests.release.build import build, copy_tracked


@dataclass(frozen=True)
class Release:
    """The two files of a release."""

    sdist: Path
    wheel: Path


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("a release is built from what git tracks, and this is no git checkout")
    if find_spec("build") is None:
        pytest.skip("needs the extra `dev`")
    folder = tmp_path_factory.mktemp("release")
    sdist, wheel = sorted(
        build(copy_tracked(folder / "tree"), folder / "dist", "--sdist", "--wheel"), key=lambda path: path.suffix
    )
    return Release(sdist, wheel)
