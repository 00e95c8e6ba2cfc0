"""Tasks that run where the test does, for what they do apart from a cluster."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import pytest

from models.distributed import checking, parts
from models.distributed.cluster import RayCluster


@pytest.fixture
def tasks_here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Iterator[Any]]:
    """Run every task twice, as those of a process that is lost after its work are. Return what runs them."""

    def run_tasks(
        _: str, work: Callable[[Any], Any], tasks: Iterable[Any], cluster: RayCluster, *, workers: int
    ) -> Generator[Any]:
        assert 1 <= workers <= cluster.workers
        for task in tasks:
            work(task)
            yield pickle.loads(pickle.dumps(work(pickle.loads(pickle.dumps(task)))))

    for module in (parts, checking):
        monkeypatch.setattr(module, "run_tasks", run_tasks)
    return run_tasks
