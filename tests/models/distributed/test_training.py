"""What a training on a cluster says before it starts, and of how it failed."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from models.cli import main
from models.distributed.cluster import RayError, RayOptions
from models.distributed.training import _failure, train_on_ray
from models.locks import LockedError, only_one
from models.nets.checkpoint import CheckpointError
from models.training.loop import STATE_FILE

LOCAL = RayOptions("local", workers=2)


def nothing(device: str, resume: bool) -> str:
    raise AssertionError(f"was started on {device}, resumed: {resume}")


def test_a_run_that_has_begun_is_only_gone_on_with_when_asked(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no run to resume"):
        train_on_ray(nothing, tmp_path, LOCAL, resume=True)
    (tmp_path / STATE_FILE).touch()
    with pytest.raises(ValueError, match="already holds a run; resume it or choose another folder"):
        train_on_ray(nothing, tmp_path, LOCAL, resume=False)


def test_a_second_run_in_a_folder_is_refused(tmp_path: Path) -> None:
    with only_one(tmp_path / ".ray"), pytest.raises(LockedError, match="another process"):
        train_on_ray(nothing, tmp_path, LOCAL, resume=False)


def test_the_error_of_the_first_process_is_told_and_others_are_of_the_run() -> None:
    class GroupError(Exception):
        worker_failures: dict[int, Exception]

    failed = GroupError("two failed")
    failed.worker_failures = {1: RuntimeError("lost its peer"), 0: ValueError("lists.parquet: cannot be read\nat all")}
    assert str(_failure(failed)) == "lists.parquet: cannot be read"
    failed.worker_failures = {1: RuntimeError("lost its peer")}
    assert isinstance(_failure(failed), RayError)
    assert str(_failure(failed)) == "--ray: the training failed: two failed"


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
