"""Which bundles `listwright serve` serves, and which model is the default.

Those that are named, else a folder `bundles`, else the embedded ones.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import pytest

from models.contract.manifest import DEMO_BUNDLE, EMBEDDED_BUNDLES, MANIFEST_FILE, Manifest
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
    monkeypatch.setattr(command, "run_workers", run_alone)
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


def put(*bundles: str) -> None:
    for bundle in bundles:
        Path("bundles", bundle).mkdir(parents=True)
        Path("bundles", bundle, MANIFEST_FILE).touch()


def test_the_only_model_at_start_is_the_default_for_good(served: list[Settings]) -> None:
    put("tiny/1", "tiny/2")
    assert serve() == 0
    assert served[0].default_model == "tiny"


def test_an_empty_folder_leaves_the_default_to_the_first_model_that_goes_live(served: list[Settings]) -> None:
    Path("bundles").mkdir()
    assert serve() == 0
    assert served[0].default_model is None


def test_several_models_and_no_default_is_an_error_that_names_them(served: list[Settings]) -> None:
    put("a/1", "b/1")
    with pytest.raises(SettingsError, match=r"^LISTWRIGHT_DEFAULT_MODEL \(--default-model\): .*: a, b; 'none' if "):
        serve()
    assert not served
    for given in ("none", "b"):
        assert serve("--default-model", given) == 0
    assert [settings.default_model for settings in served] == ["none", "b"]


def test_a_default_model_that_is_not_among_those_of_the_folder_is_an_error(served: list[Settings]) -> None:
    Path("bundles").mkdir()
    assert serve("--default-model", "later") == 0  # It may come with the others.
    put("a/1", "b/1")
    with pytest.raises(SettingsError) as caught:
        serve("--default-model", "later")
    setting = "LISTWRIGHT_DEFAULT_MODEL (--default-model)"
    assert str(caught.value) == f"{setting}: there is no bundle 'later' in bundles; there is: a, b"
    assert [settings.default_model for settings in served] == ["later"]


def test_a_default_model_that_cannot_be_read_is_waited_for(served: list[Settings]) -> None:
    put("a/1", "b/1")
    folder = Path("bundles", "later", "1")
    folder.mkdir(parents=True)
    (folder / MANIFEST_FILE).symlink_to("nowhere")
    assert serve("--default-model", "later") == 0
    assert [settings.default_model for settings in served] == ["later"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_one_process_and_several_workers_are_given_the_same_default(served: list[Settings], workers: str) -> None:
    put("tiny/1")
    assert serve("--workers", workers) == 0
    assert (served[0].default_model, served[0].workers) == ("tiny", int(workers))


def test_a_variable_of_kubernetes_in_a_settings_place_is_said_to_be_ignored(
    served: list[Settings], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LISTWRIGHT_PORT", "tcp://10.0.0.1:80")
    with caplog.at_level(logging.INFO):
        assert serve() == 0
    assert served[0].port == 8000
    assert "LISTWRIGHT_PORT is ignored: Kubernetes has set it" in caplog.text


def test_a_fault_of_the_service_itself_is_a_line_of_the_log_and_an_error(
    served: list[Settings], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Settings) -> int:
        raise ExceptionGroup("unhandled errors", [KeyError("no such thing")])

    monkeypatch.setattr(command, "run_alone", fail)
    assert serve() == 1
    (line,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert line.getMessage() == "the service ends because of a fault of its own"
    assert "no such thing" in caplog.text
    assert served == []
