"""Run tasks that are slow, fail, end their process or return much, on a cluster; for a network namespace."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.records import ListFileError
from models.distributed.cluster import RayCluster, RayError, RayOptions, connected
from models.distributed.tasks import run_tasks

OPTIONS = RayOptions("local", workers=2)
MUCH = 300 << 20
"""Bytes of a result, more than the object store of a local cluster has."""


def uneven(task: int) -> int:
    """Take longest for the first task."""
    time.sleep(0.5 if task == 0 else 0.0)
    return task * task


def failing(task: int) -> int:
    """Fail at the second task, while others would run for long."""
    if task == 1:
        raise ListFileError("part-00001.parquet: is not there")
    time.sleep(0 if task == 0 else 600)
    return task


def dying(_: int) -> int:
    """End the process, as a lack of memory would."""
    os._exit(1)


def much(task: int) -> Any:
    """Return a large array."""
    return np.full(MUCH // 8, float(task))


def error_of(cluster: RayCluster, work: Callable[[int], int], kind: type[ValueError]) -> str:
    """Run tasks that must fail, and return the message."""
    with pytest.raises(kind) as caught:
        list(run_tasks("fails", work, range(4), cluster, workers=2))
    assert caught.type is kind
    return str(caught.value)


def lost_once(folder: Path) -> Callable[[int], int]:
    """Return work whose process ends at the first try of each task."""

    def work(task: int) -> int:
        seen = folder / str(task)
        if not seen.exists():
            seen.touch()
            os._exit(1)
        return task

    return work


def main(folder: Path) -> None:
    """Run all of it."""
    with connected(OPTIONS) as cluster:
        assert list(run_tasks("uneven", uneven, range(9), cluster, workers=2)) == [n * n for n in range(9)]
        assert list(run_tasks("none", uneven, [], cluster, workers=2)) == []
        assert list(run_tasks("lost", lost_once(folder), range(3), cluster, workers=2)) == [0, 1, 2]
        assert error_of(cluster, failing, ListFileError) == "part-00001.parquet: is not there"
        assert error_of(cluster, dying, RayError).startswith("--ray: the run failed: ")
        assert [float(array[-1]) for array in run_tasks("much", much, range(3), cluster, workers=2)] == [0.0, 1.0, 2.0]
    print("all as expected")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
