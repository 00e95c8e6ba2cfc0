"""Run a function for many tasks on a Ray cluster; take results in order.

A task whose process is lost is run again by Ray, so that a task must be one that may be run twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any, Final, TypeVar

from models.distributed.cluster import RayCluster, RayError, first_line, load_ray, raised_there

_LOSSES: Final = 5
"""How often the process of one task may be lost before the run fails."""
_AHEAD: Final = 2
"""Tasks that are begun or finished and not yet taken, for each worker: it bounds what results take."""
_STOPPING: Final = 10.0
"""Seconds that the tasks of a run that failed have to end."""

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def run_tasks(
    name: str, work: Callable[[_Task], _Result], tasks: Iterable[_Task], cluster: RayCluster, *, workers: int
) -> Generator[_Result]:
    """Run `work` for every task, `workers` at a time; yield results in the tasks' order.

    `name` is that of the tasks on the cluster, where `work` is sent once. The process must be connected to the cluster.
    Raises `ValueError` as `work` does, and `RayError` for a run that failed otherwise. Tasks that are left are stopped
    then, or once the generator is closed.
    """
    ray = load_ray("ray")

    def run(task: _Task) -> _Result:
        return work(task)

    # Ray runs again what a lost process did, and not what raised an error of its own.
    begin = ray.remote(num_cpus=cluster.threads, max_retries=_LOSSES, retry_exceptions=False)(run)
    begin = begin.options(name=name).remote
    rest, waiting = iter(tasks), deque[Any]()
    running: list[Any] = []
    try:
        while True:
            while len(running) < workers and len(waiting) < _AHEAD * workers:
                task = next(rest, None)
                if task is None:
                    break
                waiting.append(begin(task))
                running.append(waiting[-1])
            if not waiting:
                return
            if waiting[0] not in running:
                yield _result(ray, waiting.popleft())
            else:
                _, running = ray.wait(running, num_returns=1)
    finally:
        _stop(ray, running)


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except Exception as error:  # Ray has errors of its own, which differ from version to version.
        raise _failure(error) from error


def _failure(error: Exception) -> Exception:
    """Turn an error of a task into one of ours, by what it raised."""
    found = raised_there(error, ValueError, OSError)
    if found is None:
        return RayError(f"--ray: the run failed: {first_line(error)}")
    return found if isinstance(found, ValueError) else RayError(f"--ray: a task failed: {found}")


def _stop(ray: Any, running: list[Any]) -> None:
    """Stop the tasks that still run, so that none writes once the run is over."""
    if not running or not ray.is_initialized():
        return
    for reference in running:
        ray.cancel(reference, force=True)
    ray.wait(running, num_returns=len(running), timeout=_STOPPING, fetch_local=False)
