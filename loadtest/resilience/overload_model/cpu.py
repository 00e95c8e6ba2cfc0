"""Share one CPU between two threads, as the system's scheduler and the interpreter's lock do.

A thread is a generator. It yields what it does next: `Work`, which takes time on the CPU, `RELEASE` where it lets go of
the lock for a moment, or `SLEEP` until it is woken. The thread that has run less goes first. One that runs is
interrupted by one that wakes up and has run less, or after a slice. Work in Python needs the lock as well, and keeps it
when interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from enum import Enum
from typing import Final, NamedTuple


class Work(NamedTuple):
    """Time on the CPU in seconds; `python` holds the interpreter's lock."""

    seconds: float
    python: bool = True


class Pause(Enum):
    """Things that a thread may yield beside work."""

    RELEASE = 0
    SLEEP = 1


RELEASE: Final = Pause.RELEASE
SLEEP: Final = Pause.SLEEP
Steps = Generator[Work | Pause, None, None]


class Thread:
    """One thread; `steps` is set before the run begins."""

    __slots__ = ("asked", "asleep", "left", "python", "ran", "steps")

    def __init__(self) -> None:
        self.steps: Steps
        self.left = 0.0
        self.ran = 0.0
        self.python = False
        self.asleep = False
        self.asked: float | None = None
        """Since when it has waited for the lock; None: it does not."""


class Cpu:
    """Run two threads until a time; `now` is the clock of everything that they do.

    The loop is woken by events from outside, the inference thread by the loop.
    """

    def __init__(self, first: Thread, second: Thread, *, slice_seconds: float, switch_seconds: float) -> None:
        self.now = 0.0
        self._threads = (first, second)
        self._slice = slice_seconds
        self._switch = switch_seconds
        self._owner: Thread | None = None
        self._current = first
        self._slice_ends = 0.0

    def wake(self, thread: Thread) -> None:
        """End a thread's sleep; what it has not run meanwhile counts up to a slice."""
        if thread.asleep:
            thread.asleep = False
            thread.ran = max(thread.ran, self._other(thread).ran - self._slice)

    def run(
        self,
        until: float,
        next_event: Callable[[], float],
        wake: Callable[[], None],
        taken: Sequence[tuple[float, float]] = (),
    ) -> None:
        """Run to the end.

        `next_event` says when the outside world next changes, and `wake` is called then. `taken` are times at which
        somebody else has the CPU, and for how long.
        """
        for thread in self._threads:
            self._advance(thread)
        stolen = iter([*taken, (math.inf, 0.0)])
        theft, length = next(stolen)
        while self.now < until:
            if self.now >= theft:
                self.now += length
                theft, length = next(stolen)
            if self.now >= next_event():
                wake()
            stop = min(next_event(), theft, until)
            if not any(map(self._ready, self._threads)):
                self.now = max(self.now, stop)
                continue
            thread = self._pick()
            if self._ready(self._other(thread)):
                stop = min(stop, self._slice_ends)
            spent = max(0.0, min(thread.left, stop - self.now))
            self.now += spent
            thread.left -= spent
            thread.ran += spent
            if thread.left <= 0:
                self._advance(thread)

    def _other(self, thread: Thread) -> Thread:
        first, second = self._threads
        return second if thread is first else first

    def _ready(self, thread: Thread) -> bool:
        return not thread.asleep and thread.asked is None

    def _pick(self) -> Thread:
        """Choose the thread that runs now.

        It is the present one while its slice lasts, unless the other has run much less.
        """
        current = self._current
        other = self._other(current)
        if not self._ready(current):
            chosen = other
        elif not self._ready(other) or other.ran >= current.ran:
            chosen = current
        else:
            chosen = other if self.now >= self._slice_ends or other.ran < current.ran - self._slice / 2 else current
        if chosen is not current or self.now >= self._slice_ends:
            self._slice_ends = self.now + self._slice
        self._current = chosen
        return chosen

    def _advance(self, thread: Thread) -> None:
        """Take a thread to its next work that needs time."""
        while True:
            step = next(thread.steps)
            if isinstance(step, Work):
                thread.left, thread.python = step
                if thread.python:
                    self._acquire(thread)
                elif self._owner is thread:
                    self._release(thread)
                return
            other = self._other(thread)
            if step is SLEEP:
                thread.asleep = True
                if self._owner is thread:
                    self._release(thread)
                return
            # The other takes the lock if it is its turn on the CPU, or if it has waited for the switch interval.
            if self._owner is thread and (
                other.asked is None or other.ran < thread.ran or self.now - other.asked >= self._switch
            ):
                self._release(thread)

    def _acquire(self, thread: Thread) -> None:
        if self._owner is None:
            self._owner = thread
        elif self._owner is not thread:
            thread.asked = self.now

    def _release(self, thread: Thread) -> None:
        other, self._owner = self._other(thread), None
        if other.asked is not None:
            other.asked, self._owner = None, other
