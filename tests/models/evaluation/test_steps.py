"""Steps are done once, go on after an interruption, and refuse folders begun under other options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from models.evaluation.steps import ExperimentStep, StepError, is_done, read_marker, run_steps
from models.locks import LockedError, only_one


def _step(name: str, run: Callable[[Path], Mapping[str, Any]], **options: Any) -> ExperimentStep:
    return ExperimentStep(name, "some", options, run)


def _silent(text: str) -> None:
    del text


def test_a_step_that_is_done_is_not_run_again(tmp_path: Path) -> None:
    runs: list[Path] = []

    def run(folder: Path) -> dict[str, Any]:
        runs.append(folder)
        return {"found": 3}

    step = _step("a/b", run, sizes=(1, 2))
    run_steps(tmp_path, [step], _silent)
    run_steps(tmp_path, [step], _silent)
    assert runs == [tmp_path / "a/b"]
    marker = read_marker(tmp_path, "a/b")
    assert marker is not None
    assert marker["notes"] == {"found": 3}
    assert marker["seconds"] >= 0
    assert not marker["resumed"]


def test_an_interrupted_step_runs_again_in_its_folder_and_later_ones_follow(tmp_path: Path) -> None:
    tries = iter([KeyboardInterrupt, None])
    done: list[str] = []

    def interrupted(folder: Path) -> dict[str, Any]:
        (folder / "half").touch()
        error = next(tries)
        if error is not None:
            raise error
        done.append("first")
        return {}

    def later(folder: Path) -> dict[str, Any]:
        del folder
        done.append("second")
        return {}

    steps = [_step("first", interrupted), _step("second", later)]
    with pytest.raises(KeyboardInterrupt):
        run_steps(tmp_path, steps, _silent)
    assert done == []
    assert not is_done(tmp_path, "first")
    run_steps(tmp_path, steps, _silent)
    assert done == ["first", "second"]
    marker = read_marker(tmp_path, "first")
    assert marker is not None
    assert marker["resumed"]


@pytest.mark.parametrize("finished", [True, False])
def test_other_options_are_refused_before_anything_is_run(tmp_path: Path, finished: bool) -> None:
    def run(folder: Path) -> dict[str, Any]:
        del folder
        if not finished:
            raise KeyboardInterrupt
        return {}

    def never(folder: Path) -> dict[str, Any]:
        raise AssertionError(folder)

    if finished:
        run_steps(tmp_path, [_step("train", run, dim=8)], _silent)
    else:
        with pytest.raises(KeyboardInterrupt):
            run_steps(tmp_path, [_step("train", run, dim=8)], _silent)
    with pytest.raises(StepError, match=r"train: was begun with dim 8, not 16"):
        run_steps(tmp_path, [_step("new", never), _step("train", never, dim=16)], _silent)


def test_what_is_being_run_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    run_steps(tmp_path, [_step(name, lambda _: {}) for name in ("a", "b")], said.append)
    assert said == ["[1/2] a", "[2/2] b"]


def test_a_step_that_another_process_runs_is_refused_and_the_others_are_not(tmp_path: Path) -> None:
    with only_one(tmp_path / "busy"):
        run_steps(tmp_path, [_step("free", lambda _: {})], _silent)
        with pytest.raises(LockedError, match="busy: another process"):
            run_steps(tmp_path, [_step("busy", lambda _: {})], _silent)
    assert is_done(tmp_path, "free")
    assert not is_done(tmp_path, "busy")
    run_steps(tmp_path, [_step("busy", lambda _: {})], _silent)
    assert is_done(tmp_path, "busy")


def test_a_step_that_was_finished_elsewhere_while_others_ran_is_not_run_again(tmp_path: Path) -> None:
    runs: list[Path] = []

    def run(folder: Path) -> dict[str, Any]:
        runs.append(folder)
        return {}

    def meanwhile(folder: Path) -> dict[str, Any]:
        run_steps(tmp_path, [_step("second", run)], _silent)
        return run(folder)

    run_steps(tmp_path, [_step("first", meanwhile), _step("second", run)], _silent)
    assert runs == [tmp_path / "second", tmp_path / "first"]
