"""A release holds every file of the packages and no other, and says the version that the change log does."""

from __future__ import annotations

import re
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.files import ROOT
from tests.release.build import BESIDE, PACKAGES, build, contents, tracked
from tests.release.conftest import Release

PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
DATED: Final = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", re.MULTILINE)


@pytest.mark.long
def test_the_wheel_holds_the_files_of_the_packages_and_no_other(release: Release) -> None:
    names = {name for name in contents(release.wheel) if ".dist-info/" not in name}
    assert names == set(tracked(*PACKAGES))


@pytest.mark.parametrize(
    "name",
    [
        *(f"{package}/py.typed" for package in PACKAGES),
        "loadtest/demo_requests.json",
        "loadtest/demo_scenes.toml",
        "loadtest/rig/openloop/openloop.c",
        "loadtest/rig/openloop/pool.h",
        "models/embedded/catalogue/d89ac4eaf7c8/1/catalogue.json",
        "models/embedded/catalogue/d89ac4eaf7c8/1/segment-00/hashes.npy",
        "models/embedded/demo/1/bundle.json",
        "models/embedded/demo/1/golden.npz",
        "models/embedded/demo/1/golden_ruled.npz",
        "models/embedded/demo/1/model.onnx",
        "models/embedded/demo/1/ruled.onnx",
    ],
)
def test_files_that_are_no_python_are_in_the_wheel(release: Release, name: str) -> None:
    assert name in contents(release.wheel)


def test_the_sdist_holds_the_packages_what_builds_them_and_no_tests(release: Release) -> None:
    with tarfile.open(release.sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    made = {name for name in names if ".egg-info/" in name} | {"PKG-INFO", "setup.cfg"}
    assert names - made == {*tracked(*PACKAGES), *BESIDE}


@pytest.mark.long
def test_the_sdist_builds_the_wheel_that_the_checkout_builds(release: Release, tmp_path: Path) -> None:
    with tarfile.open(release.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    (wheel,) = build(source, tmp_path / "dist", "--wheel")
    assert wheel.name == release.wheel.name
    assert contents(wheel) == contents(release.wheel)


def test_the_wheel_says_the_version_of_the_newest_dated_section_of_the_change_log(release: Release) -> None:
    with zipfile.ZipFile(release.wheel) as archive:
        metadata = message_from_bytes(archive.read(f"listwright-{PROJECT['version']}.dist-info/METADATA"))
    dated = DATED.findall((ROOT / "CHANGELOG.md").read_text("utf-8"))
    assert metadata["Version"] == PROJECT["version"] == dated[0]
    assert dated == sorted(dated, key=lambda v: [int(part) for part in v.split(".")], reverse=True)


def test_what_is_not_released_yet_stands_above_it() -> None:
    headings = re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
