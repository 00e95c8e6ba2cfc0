"""Bundles on disk: what cannot be read is named and hides nothing else, and versions are in the order people mean."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract.manifest import MANIFEST_FILE
from models.contract.versions import in_order
from service.bundles.folder import BundleFolder
from service.bundles.model import BundleError


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / MANIFEST_FILE).touch()


@pytest.mark.parametrize(
    ("ordered", "why"),
    [
        (["1.0.0.dev3", "1.0.0a1", "1.0.0-rc1", "1.0.0", "1.0.0.post1", "1.0.1", "v2", "10"], "PEP 440"),
        (["2024.9.30", "2024.10.1"], "dates that are versions"),
        (["2024-09-30", "2024-10-01"], "dates that are none"),
        (["20240930", "20241001"], "dates as one number"),
        (["prod_3", "prod_20"], "natural order"),
        (["1.0.0", "1.0.0-rc1", "prod_3"], "one name that is no version puts all in natural order"),
        (["1.0", "1.0.0", "1.1"], "equal by PEP 440: natural order"),
        (["0a1b2c3", "9f86d08"], "hashes"),
    ],
)
def test_versions_are_ordered_by_pep_440_if_all_follow_it(ordered: list[str], why: str) -> None:
    assert in_order(ordered[::-1]) == in_order(ordered) == ordered, why


@given(st.lists(st.text("01aAcr._-", min_size=1, max_size=8), unique=True), st.randoms())
def test_any_names_have_one_order(names: list[str], random: Any) -> None:
    ordered = in_order(names)
    random.shuffle(names)
    assert in_order(names) == ordered


def test_what_cannot_be_read_is_named_and_hides_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, "a/1", "a/2", "b/1", "none/1", "not plain/1", ".upload/1")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "file").touch()
    (tmp_path / "a" / "3").symlink_to("3")
    (tmp_path / "a" / "4").symlink_to("nowhere")
    (tmp_path / "a" / "notes.txt").touch()
    (tmp_path / "a" / "5").mkdir()
    (tmp_path / "a" / "6").mkdir()
    (tmp_path / "a" / "6" / MANIFEST_FILE).symlink_to(MANIFEST_FILE)
    (tmp_path / "a" / "7").mkdir()
    (tmp_path / "a" / "7" / MANIFEST_FILE).symlink_to("nowhere")
    (tmp_path / os.fsdecode(b"\xff\n")).mkdir()
    with caplog.at_level(logging.WARNING):
        found = BundleFolder(tmp_path).bundles()
    assert found == {"a": ["1", "2"], "b": ["1"]}
    named = sorted(record.getMessage().partition(str(tmp_path))[2].partition("'")[0] for record in caplog.records)
    left_out = ["a/3", "a/4", "a/6", "a/7", "a/notes.txt", "broken", "circle", "file", "none", "not plain", r"\udcff\n"]
    assert named == sorted(f"/{name}" for name in left_out)
    assert all("\n" not in record.getMessage() for record in caplog.records)
    assert f"a/7': {MANIFEST_FILE} is a link to a file that is not there" in caplog.text


def test_a_folder_without_the_right_to_read_it_is_named_and_hides_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "a/1", "locked/1", "z/1", "z/2")
    iterdir, stat = Path.iterdir, Path.stat

    def refused(path: Path) -> bool:
        return "locked" in path.parts or path.parts[-2:] == ("2", MANIFEST_FILE)

    def guarded_iterdir(self: Path) -> Any:
        if refused(self):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return iterdir(self)

    def guarded_stat(self: Path, **options: Any) -> os.stat_result:
        if refused(self) and self.name != "locked":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return stat(self, **options)

    monkeypatch.setattr(Path, "iterdir", guarded_iterdir)  # The tests may run as root, whom no mode stops.
    monkeypatch.setattr(Path, "stat", guarded_stat)
    assert BundleFolder(tmp_path).bundles() == {"a": ["1"], "z": ["1"]}
    assert [r.getMessage().endswith("Permission denied") for r in caplog.records] == [True, True]
    with pytest.raises(BundleError, match=r"z/2: cannot be read: .*Permission denied"):
        BundleFolder(tmp_path).folder("z", "2")


def test_a_root_that_is_gone_has_no_bundles_and_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert BundleFolder(tmp_path / "gone").bundles() == {}
    assert "No such file or directory" in caplog.text


@pytest.mark.parametrize("name", ["circle", "none", "catalogue"])
def test_a_name_that_no_bundle_can_have_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "circle").symlink_to("circle")
    put(tmp_path, "none/1", "catalogue/1")
    for version in (None, "1"):
        with pytest.raises(BundleError):
            BundleFolder(tmp_path).folder(name, version)
