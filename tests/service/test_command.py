"""Which bundles `listwright serve` serves: those that are named, else a folder `bundles`, else the embedded ones."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import pytest

from models.contract.manifest import DEMO_BUNDLE, EMBEDDED_BUNDLES, Manifest
from service import command
from service.settings import Settings, SettingsError

EMBEDDED = "serving the embedded demo bundle"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Settings]:
    """The settings that a service would have been run with, in an empty folder."""
    seen: list[Settings] = []

    def run_alone(settings: Settings) -> int:
        seen.append(settings)
        return 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LISTWRIGHT_BUNDLES", raising=False)
    monkeypatch.setattr(command, "configure_logging", lambda **_: None)
    monkeypatch.setattr(command, "run_alone", run_alone)
    return seen


def serve(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args(arguments))


def test_without_a_bundles_folder_the_embedded_bundle_is_served_and_the_log_says_so(
    served: list[Settings], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert serve() == 0
    assert served[0].bundles == EMBEDDED_BUNDLES
    assert EMBEDDED in caplog.text
    assert (Manifest.read(DEMO_BUNDLE).name, DEMO_BUNDLE.parents[1]) == ("demo", EMBEDDED_BUNDLES)


@pytest.mark.parametrize("name", ["flag", "variable", "default"])
def test_a_bundles_folder_that_is_named_or_there_is_the_one_that_is_served(
    served: list[Settings], name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path("bundles" if name == "default" else "mine")
    folder.mkdir()
    if name == "variable":
        monkeypatch.setenv("listwright_bundles", "mine")  # Names of variables are read without regard to case.
    assert serve(*(("--bundles", "mine") if name == "flag" else ())) == 0
    assert served[0].bundles == folder
    assert EMBEDDED not in caplog.text


@pytest.mark.parametrize("name", ["flag", "variable"])
def test_a_named_folder_that_does_not_exist_is_still_an_error(
    served: list[Settings], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "variable":
        monkeypatch.setenv("LISTWRIGHT_BUNDLES", "none")
    with pytest.raises(SettingsError, match=r"LISTWRIGHT_BUNDLES \(--bundles\): no such folder: none"):
        serve(*(("--bundles", "none") if name == "flag" else ()))
    assert not served
