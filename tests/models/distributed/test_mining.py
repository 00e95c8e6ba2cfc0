"""An actor mines the shards that one process would, and says what it cannot read."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.distributed.cluster import RayError
from models.distributed.mining import ShardActor, ShardTask, _failure, read_requests, write_requests
from models.mining.mine import MiningRun, mine
from models.mining.miner import MiningOptions
from models.mining.shards import MinedError, shard_path
from models.nets.checkpoint import CheckpointError, save_checkpoint
from tests.models.mining.examples import CPU, encoded, evaluator, mine_some, some_records

RECORDS = some_records()
EVALUATOR = evaluator(RECORDS)
OPTIONS = MiningOptions(width=4, shard_size=3)


@pytest.fixture
def begun(tmp_path: Path) -> tuple[MiningRun, ShardTask]:
    """A run of which nothing is mined yet, with the requests of its shards laid out."""
    runs = list[MiningRun]()
    slates = encoded(RECORDS, EVALUATOR)
    manifest = mine(EVALUATOR, slates, tmp_path / "out", options=OPTIONS, device=CPU, fill=runs.append)
    save_checkpoint(tmp_path / "evaluator.pt", EVALUATOR)
    task = ShardTask(tmp_path / "out", tmp_path / "evaluator.pt", manifest, OPTIONS, 1, "cpu")
    for shard in runs[0].missing:
        write_requests(task.requests_path(shard), *runs[0].requests(shard))
    return runs[0], task


def test_an_actor_writes_the_shards_that_one_process_writes(begun: tuple[MiningRun, ShardTask], tmp_path: Path) -> None:
    run, task = begun
    mine_some(tmp_path / "here", EVALUATOR, RECORDS)
    assert run.missing == (0, 1, 2)
    counts = ShardActor(task)({"shard": np.array(run.missing)})["requests"]
    assert counts.tolist() == [3, 3, 3]
    for shard in run.missing:
        assert shard_path(task.folder, shard).read_bytes() == shard_path(tmp_path / "here", shard).read_bytes()


def test_a_shard_of_a_lost_actor_is_not_mined_twice(begun: tuple[MiningRun, ShardTask]) -> None:
    _, task = begun
    ShardActor(task)({"shard": np.array([1])})
    written = shard_path(task.folder, 1).stat().st_mtime_ns
    task.requests_path(1).unlink()
    ShardActor(task)({"shard": np.array([1])})
    assert shard_path(task.folder, 1).stat().st_mtime_ns == written


def test_requests_that_vanish_or_are_cut_short_are_named(begun: tuple[MiningRun, ShardTask]) -> None:
    _, task = begun
    actor = ShardActor(task)
    whole = task.requests_path(0).read_bytes()
    task.requests_path(0).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MinedError, match=r"requests-00000\.npz: cannot be read as requests"):
        actor({"shard": np.array([0])})
    task.requests_path(1).unlink()
    with pytest.raises(MinedError, match=r"requests-00001\.npz: is not there any more"):
        actor({"shard": np.array([1])})
    np.savez(task.requests_path(2), other=np.zeros(3))
    with pytest.raises(MinedError, match=r"requests-00002\.npz: cannot be read as requests"):
        actor({"shard": np.array([2])})


def test_an_evaluator_that_was_replaced_is_refused(begun: tuple[MiningRun, ShardTask]) -> None:
    _, task = begun
    save_checkpoint(task.evaluator, evaluator(RECORDS, seed=1))
    actor = ShardActor(task)  # The reason of a failure in here would be lost.
    with pytest.raises(MinedError, match=r"evaluator\.pt: is another evaluator"):
        actor({"shard": np.array([0])})
    task.evaluator.unlink()
    with pytest.raises(CheckpointError, match=r"evaluator\.pt: there is no such file"):
        actor({"shard": np.array([0])})


def test_an_actor_reads_the_evaluator_once(begun: tuple[MiningRun, ShardTask]) -> None:
    _, task = begun
    actor = ShardActor(task)
    actor({"shard": np.array([0])})
    task.evaluator.unlink()
    assert actor({"shard": np.array([1])})["requests"].tolist() == [3]


def test_requests_come_back_as_they_were(tmp_path: Path) -> None:
    slates = dataclasses.replace(
        encoded(RECORDS, EVALUATOR), request_ids=tuple(f"ü\0{i}\0" for i in range(len(RECORDS)))
    )
    weights = np.ones((len(RECORDS), 3), np.float32)
    write_requests(tmp_path / "requests.npz", slates, weights)
    read, as_mined_under = read_requests(tmp_path / "requests.npz")
    assert read.digest == slates.digest
    assert read.request_ids == slates.request_ids
    assert np.array_equal(as_mined_under, weights)


def test_a_finished_run_asks_no_cluster(tmp_path: Path) -> None:
    mine_some(tmp_path, EVALUATOR, RECORDS)
    shutil.rmtree(tmp_path / ".requests", ignore_errors=True)
    seen = list[MiningRun]()
    mine(EVALUATOR, encoded(RECORDS, EVALUATOR), tmp_path, options=OPTIONS, device=CPU, fill=seen.append)
    assert seen[0].missing == ()


def test_the_error_of_an_actor_is_told_and_others_are_of_the_run() -> None:
    class TaskError(Exception):
        cause: Exception

    def told(raised: Exception) -> Exception:
        actors = TaskError()
        actors.cause = raised
        outer = RuntimeError("a dataset failed")
        outer.__cause__ = actors
        return _failure(outer)

    for own in (MinedError("requests-00000.npz: is gone"), CheckpointError("evaluator.pt: there is no such file")):
        assert told(own) is own
    full = told(OSError("shard-00000.parquet: no space is left"))
    assert isinstance(full, MinedError)
    assert str(full) == "shard-00000.parquet: no space is left"
    other = _failure(RuntimeError("no room"))
    assert isinstance(other, RayError)
    assert "no room" in str(other)
