"""Run steps in processes of this machine.

Each process computes on one thread, ends with the process that started it, and keeps what steps cache between them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Final

from models.evaluation.attempts import Attempt
from models.files import ended_by_sigterm

_PATIENCE: Final = 10.0
"""Seconds that a process has to end by itself, before it is killed."""
_SPAWN: Final = get_context("spawn")


@dataclass(eq=False)
class StepProcess:
    """Hold a process, the connection to it, and whether an answer of it is awaited."""

    process: SpawnProcess
    connection: Connection
    awaited: bool = True

    @classmethod
    def start(cls, begin: Callable[[], Attempt]) -> StepProcess:
        """Start a process that computes on one thread."""
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_work, args=(theirs, begin))
        with _one_thread():
            process.start()
        theirs.close()  # so that the end of the process is seen here as the end of the connection
        return cls(process, ours)

    def give(self, step: str | None) -> None:
        """Let the process run a step, or with None just answer."""
        self.awaited = True
        with suppress(OSError):  # if the process has ended, `answer` says so
            self.connection.send(step)

    def answer(self) -> str | None:
        """Return the reason why its step failed, or None.

        Raises `EOFError` if the process has ended.
        """
        try:
            reason: str | None = self.connection.recv()
        except (EOFError, ConnectionError):
            self.end()
            raise EOFError(_ending(self.process.exitcode)) from None
        self.awaited = False
        return reason

    def end(self) -> None:
        """End the process, by force if it takes long."""
        self.connection.close()
        if self.awaited:
            self.process.terminate()
        self.process.join(_PATIENCE)
        self.process.kill()
        self.process.join()


@dataclass(frozen=True)
class StepProcesses:
    """Start processes of this machine, up to `count`.

    A step that kills its process would do so again.
    """

    count: int
    tries: int = 1
    patience: float = 0.0

    def start(self, begin: Callable[[], Attempt]) -> StepProcess:
        """Start a process."""
        return StepProcess.start(begin)

    def wait(self, workers: Sequence[StepProcess]) -> list[StepProcess]:
        """Wait until any of the processes has an answer or has ended."""
        ended = wait([worker.connection for worker in workers])
        return [worker for worker in workers if worker.connection in ended]


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        return f"by {signal.Signals(-status).name}"
    return f"with status {status}"


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that start meanwhile compute on one thread.

    Libraries read the variable as they are loaded.
    """
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _work(connection: Connection, begin: Callable[[], Attempt]) -> None:
    """Run the steps whose names come, until the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the process that started this one ends it.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with ended_by_sigterm():
        attempt = begin()
        connection.send(None)  # ready
        while True:
            try:
                name = connection.recv()
            except EOFError:
                return
            connection.send(None if name is None else attempt(name))


def _end_with_parent() -> None:
    """End this process, whatever it does, when the one that started it has ended."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
