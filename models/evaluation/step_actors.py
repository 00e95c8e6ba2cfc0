"""Run the steps of an experiment by actors of a Ray cluster.

Each actor keeps what steps cache between them. One that is lost is replaced as soon as the cluster has room, and its
step goes on in its folder by the next actor that is free; so the folder must be one that all machines see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch

from models.distributed.cluster import RayCluster, first_line, load_ray, raised_there
from models.evaluation.attempts import Attempt

_TRIES: Final = 3
_PATIENCE: Final = 180.0
"""Longer than Ray and a file server take to notice that a machine is lost, a minute or two."""
_DETAIL: Final = "Worker exit detail: "
_ADVICE: Final = " Some common causes"
_LONGEST: Final = 200


class StepActor:
    """Attempt steps by name."""

    def __init__(self, begin: Callable[[], Attempt], threads: int) -> None:
        torch.set_num_threads(threads)
        self._begin = begin

    def begin(self) -> None:
        """Do once what comes before the first step."""
        self._attempt = self._begin()

    def run(self, step: str | None) -> str | None:
        """Run a step, and return the reason of its failure; None without one."""
        return None if step is None else self._attempt(step)


@dataclass(eq=False)
class RayWorker:
    """Hold an actor, and the answer that it owes."""

    actor: Any
    awaited: Any

    def give(self, step: str | None) -> None:
        """Let the actor run a step, or with None just answer."""
        self.awaited = self.actor.run.remote(step)

    def answer(self) -> str | None:
        """Return the reason why its step failed, or None.

        Raises `EOFError` if the actor is lost.
        """
        ray = load_ray("ray")
        try:
            reason: str | None = ray.get(self.awaited)
        except ray.exceptions.RayError as error:
            self.end()  # One that cannot be reached may still be at work.
            raise EOFError(how_it_ended(error)) from error
        return reason

    def end(self) -> None:
        """Kill the actor."""
        load_ray("ray").kill(self.actor)


@dataclass(frozen=True)
class RayWorkers:
    """Start actors on the connected cluster."""

    cluster: RayCluster
    tries: int = _TRIES
    patience: float = _PATIENCE

    @property
    def count(self) -> int:
        """Count the actors."""
        return self.cluster.workers

    def start(self, begin: Callable[[], Attempt]) -> RayWorker:
        """Start an actor, which waits for room if there is none."""
        handle = self._actors.remote(begin, self.cluster.threads)
        return RayWorker(handle, handle.begin.remote())

    def wait(self, workers: Sequence[RayWorker]) -> list[RayWorker]:
        """Wait until any of the actors has an answer or is lost."""
        ended, _ = load_ray("ray").wait([worker.awaited for worker in workers])
        return [worker for worker in workers if worker.awaited in ended]

    @cached_property
    def _actors(self) -> Any:
        # Ray could start an actor again by itself, but its step would wait for room with it, while others are idle.
        needs = {"num_cpus": self.cluster.threads, "num_gpus": int(self.cluster.gpu)}
        return load_ray("ray").remote(**needs, max_restarts=0, max_task_retries=0)(StepActor)


def how_it_ended(error: Exception) -> str:
    """Say in one line what became of an actor."""
    cause = raised_there(error, Exception)
    if cause is not None:
        text = f"{type(cause).__name__}: {first_line(cause)}"
    else:  # Ray says the cause in its last line, with advice behind it.
        text = (str(error).strip() or repr(error)).splitlines()[-1].rpartition(_DETAIL)[2].partition(_ADVICE)[0]
    return f"on the cluster: {text[:_LONGEST].rstrip('.')}"
