"""What a training on a cluster says before it starts, and of how it failed."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from models.cli import main
from models.distributed import training
from models.distributed.cluster import RayCluster, RayError, RayOptions
from models.distributed.training import _failure, _work, train_on_ray
from models.locks import LockedError, only_one
from models.nets.checkpoint import CheckpointError
from models.training.loop import STATE_FILE
from tests.models.distributed.machines import TWO_CORES, let_have


def nothing(device: str, resume: bool) -> str:
    raise AssertionError(f"was started on {device}, resumed: {resume}")


def test_a_run_that_has_begun_is_only_gone_on_with_when_asked(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no run to resume"):
        train_on_ray(nothing, tmp_path, TWO_CORES, resume=True)
    (tmp_path / STATE_FILE).touch()
    with pytest.raises(ValueError, match="already holds a run; resume it or choose another folder"):
        train_on_ray(nothing, tmp_path, TWO_CORES, resume=False)


def test_a_second_run_in_a_folder_is_refused(tmp_path: Path) -> None:
    with only_one(tmp_path, ".ray.lock"), pytest.raises(LockedError, match="another process"):
        train_on_ray(nothing, tmp_path, TWO_CORES, resume=False)


def test_a_wait_for_more_machines_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    let_have(monkeypatch, {"CPU": 2.0}, {"CPU": 1.0})
    assert training._processes(RayCluster.at_hand(RayOptions("head:6379", workers=3))) == 3
    assert capsys.readouterr().err == ""
    assert training._processes(RayCluster.at_hand(RayOptions("head:6379", workers=4))) == 4
    told = "--workers: 4 processes train together, and head:6379 has room for 3"
    assert capsys.readouterr().err == f"warning: {told}; the training waits for more machines\n"


def test_more_processes_than_this_machine_can_run_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    let_have(monkeypatch, {"CPU": 8.0, "GPU": 1.0})
    with pytest.raises(RayError, match="--workers: 2 processes train together, and local has room for 1"):
        training._processes(RayCluster.at_hand(RayOptions("local", workers=2)))


def test_a_problem_of_the_input_is_told_and_not_tried_again(tmp_path: Path) -> None:
    starts = list[str]()

    def broken(device: str, resume: bool) -> str:
        starts.append(f"{device} {resume}")
        raise ValueError("part-3.parquet: cannot be read as Parquet")

    config = {"work": broken, "folder": tmp_path, "device": "cpu"}
    with pytest.raises(ValueError, match=r"part-3\.parquet"):
        _work(config)
    with pytest.raises(RuntimeError, match=r"part-3\.parquet"):
        _work(config)
    assert starts == ["cpu False"]
    told = _failure(tmp_path, RuntimeError("workers failed"))
    assert isinstance(told, ValueError)
    assert str(told) == "part-3.parquet: cannot be read as Parquet"


def test_a_problem_that_a_killed_command_left_is_not_one_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(work: Callable[[str, bool], str], folder: Path, _: RayCluster) -> str:
        with pytest.raises(LockedError, match="another process"):
            train_on_ray(nothing, folder, TWO_CORES, resume=False)
        return _work({"work": work, "folder": folder, "device": "cpu"})

    (tmp_path / ".ray" / "train").mkdir(parents=True)
    (tmp_path / ".ray" / "problem.txt").write_text("lists.parquet: is not there", "utf-8")
    monkeypatch.setattr(training, "_fit", fit)
    assert train_on_ray(lambda device, resume: f"{device} {resume}", tmp_path, TWO_CORES, resume=False) == "cpu False"
    assert list(tmp_path.iterdir()) == []


def test_a_run_keeps_others_out_until_its_files_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    delete, refused = shutil.rmtree, list[bool]()

    def rmtree(path: Path, *, ignore_errors: bool) -> None:
        delete(path, ignore_errors=ignore_errors)
        with pytest.raises(LockedError), only_one(tmp_path, ".ray.lock"):
            pass
        refused.append(True)

    monkeypatch.setattr(training, "_fit", lambda *_: "report")
    monkeypatch.setattr(shutil, "rmtree", rmtree)
    assert train_on_ray(nothing, tmp_path, TWO_CORES, resume=False) == "report"
    assert refused == [True, True]


def test_a_run_that_failed_otherwise_is_told_as_that(tmp_path: Path) -> None:
    told = _failure(tmp_path, RuntimeError("workers were lost\nand more"))
    assert isinstance(told, RayError)
    assert str(told) == "--ray: the training failed: workers were lost"


def test_a_start_after_an_epoch_goes_on(tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).touch()
    config = {"work": lambda device, resume: f"{device} {resume}", "folder": tmp_path, "device": "cpu"}
    assert _work(config) == "cpu True"


def test_an_address_where_nothing_listens_is_named_before_any_list_is_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    assert main(["train", "sort-gen", "--data", "nowhere", "--out", str(tmp_path / "run"), "--ray", place]) == 2
    assert f"there is no Ray cluster at {place}: Connection refused" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
