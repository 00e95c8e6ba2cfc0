"""Choose the jobs of the next run, and tell how long jobs take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final, Protocol, TypeVar

from service.timing.deadline import NEVER

PATIENCE_SECONDS: Final = 0.25
"""So long work in the background gives way that has no deadline.

Else a reload would never end where the engine is never idle.
"""

BACKGROUND_SECONDS: Final = 0.005
"""Most expected time of a run over several jobs in the background: a request that comes meanwhile waits for it."""

_deadline: Final = attrgetter("deadline")


class Batched(Protocol):
    """An engine, as far as it is known here."""

    @property
    def largest_batch(self) -> int:
        """Most rows that one run may hold."""


class Waiting(Protocol):
    """A job that waits for its engine; see `engine.Job`."""

    @property
    def engine(self) -> Batched: ...
    @property
    def deadline(self) -> float: ...
    @property
    def background(self) -> bool: ...
    @property
    def submitted(self) -> float: ...


J = TypeVar("J", bound=Waiting)


def seconds_for(jobs: int, largest_batch: int, predict: Callable[[int], float]) -> float:
    """Return the time of so many jobs, in full batches and one of the rest."""
    full, last = divmod(jobs, largest_batch)
    return full * predict(largest_batch) + (predict(last) if last else 0.0)


def most_urgent(waiting: Sequence[J], now: float) -> J:
    """Return the job with the earliest deadline.

    Work in the background comes last. Without a deadline, which would end its waiting, it does so only until it has
    waited for long enough.
    """

    def rank(job: J) -> tuple[int, float]:
        if not job.background:
            return 0, job.deadline
        waited = job.deadline == NEVER and now - job.submitted > PATIENCE_SECONDS
        return (-1 if waited else 1), job.deadline

    return min(waiting, key=rank)


def next_batch(waiting: Sequence[J], predict: Callable[[int], float], now: float) -> list[J]:
    """Choose the jobs to run now: the most urgent, and others that fit in time.

    `predict` gives the seconds of a run over n jobs. Work in the background has batches of its own, and short ones.
    """
    head = most_urgent(waiting, now)
    mates = [job for job in waiting if job.engine is head.engine and job.background == head.background]
    if head.background:
        return _background_batch(head, mates, predict)
    mates.sort(key=_deadline)
    # A job that would be late even alone is called back shortly, and would only make the others late as well. If all
    # would be late the estimate may be wrong, so the one with the most time left is tried.
    mates = [job for job in mates if now + predict(1) <= job.deadline] or mates[-1:]
    tightest = mates[0].deadline
    n = 1
    # Jobs are in the order of their deadlines, so the first is the tightest of any batch.
    while n < min(len(mates), head.engine.largest_batch) and now + predict(n + 1) <= tightest:
        n += 1
    return mates[:n]


def _background_batch(head: J, mates: Sequence[J], predict: Callable[[int], float]) -> list[J]:
    """Choose jobs in the background, beginning with `head`, whose run is short."""
    batch = [head, *sorted((job for job in mates if job is not head), key=_deadline)]
    n = 1
    while n < min(len(batch), head.engine.largest_batch) and predict(n + 1) <= BACKGROUND_SECONDS:
        n += 1
    return batch[:n]
