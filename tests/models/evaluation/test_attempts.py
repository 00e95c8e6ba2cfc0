"""An attempt of a step waits for what another machine still holds, or has not shown yet."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from models.evaluation import attempts
from models.evaluation.attempts import Attempts
from models.evaluation.steps import ExperimentStep, is_done, read_marker, run_step
from models.locks import only_one
from tests.models.evaluation.parallel_fakes import make_step, write_number


@pytest.fixture(autouse=True)
def _print_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_print_to", lambda _: None)


def _steps() -> Sequence[ExperimentStep]:
    return [make_step("first", write_number(1)), make_step("second", write_number(2), "first")]


def _attempts(root: Path, patience: float) -> Attempts:
    return Attempts(root, _steps, patience, Path.cwd())


def test_a_step_whose_lost_owner_still_holds_it_is_run_once_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = threading.Event()
    monkeypatch.setattr(time, "sleep", lambda _: refused.set())
    with only_one(tmp_path / "first"):
        attempt = threading.Thread(target=_attempts(tmp_path, 600)(), args=["first"])
        attempt.start()
        assert refused.wait(60)
        assert not is_done(tmp_path, "first")
    attempt.join(60)
    assert read_marker(tmp_path, "first") is not None


def test_a_step_that_another_process_keeps_is_refused(tmp_path: Path) -> None:
    with only_one(tmp_path / "first"):
        reason = _attempts(tmp_path, 0)()("first")
    assert reason is not None
    assert reason.startswith(f"LockedError: {tmp_path / 'first'}: another process")


def test_what_a_step_needs_must_be_seen_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = f"StepError: {tmp_path / 'first'}: is not seen to be done; do all machines see one folder?"
    assert _attempts(tmp_path, 0)()("second") == expected
    monkeypatch.setattr(time, "sleep", lambda _: run_step(tmp_path, _steps()[0]))
    assert _attempts(tmp_path, 600)()("second") is None


def test_relative_paths_mean_the_same_in_a_worker_that_began_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Attempts(tmp_path, _steps, 0, elsewhere)()
    assert Path.cwd() == elsewhere
    (tmp_path / "a file").touch()
    for folder in ("only on another machine", "a file"):
        Attempts(tmp_path, _steps, 0, tmp_path / folder)()
        assert Path.cwd() == elsewhere
