"""Estimate how long a job will wait in an engine process that several workers share.

Other workers use it too. With every answer the process says when all that waited there would be done. What this worker
has sent since is added.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter

from service.inference.engine import Engine, Job
from service.inference.run_times import RunTimes


class Backlog:
    """Follow what one engine process has said of its work.

    Used from the event loop only.
    """

    def __init__(self) -> None:
        self._seen = -1
        self._free_at = self._idle_at = 0.0

    def tell(self, seen: int, free_at: float, idle_at: float) -> None:
        """Note that the process is done at `free_at` with all jobs up to `seen`.

        Those of other workers are done by then, too. Jobs in the background are done at `idle_at`.
        """
        self._seen, self._free_at, self._idle_at = seen, free_at, idle_at

    def leave(self, number: int, until: float) -> None:
        """Note that this job was withdrawn, though it may run until then.

        The process has not said so if it has spoken of earlier jobs only.
        """
        if number > self._seen:
            self._free_at, self._idle_at = max(self._free_at, until), max(self._idle_at, until)

    @property
    def is_over(self) -> bool:
        """Tell whether the process has done by now what it spoke of.

        That includes jobs in the background.
        """
        return self._idle_at <= perf_counter()

    def seconds_until_done(
        self, pending: Iterable[tuple[int, Job]], times: RunTimes, engine: Engine, *, background: bool
    ) -> float:
        """Estimate the time until one more job is done.

        `pending` are this worker's before it, by their numbers. One in the background waits for all of those as well;
        others wait for none in the background.
        """
        ahead = sum(1 for number, job in pending if number > self._seen and (background or not job.background))
        free_at = self._idle_at if background else self._free_at
        return max(0.0, free_at - perf_counter()) + times.of_jobs(engine, ahead + 1)
