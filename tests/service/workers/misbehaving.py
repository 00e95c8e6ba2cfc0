"""Run a real worker or supervisor that misbehaves once, where and how a file says: `<where> <how>`.

As a worker: `misbehaving.py <file> -P -m service.workers.worker <arguments>`; where: an order's name, `drain`, or
`close` (the end of the inference thread); how: `stop` the process or `sleep` for ever. As a supervisor, which starts
such workers, and gives them less time to prepare a version: `misbehaving.py <file> serve <flags>`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
import time
from pathlib import Path
from typing import Any

FILE = Path(sys.argv[1])
PREPARE_SECONDS = 8.0


def due(where: str) -> str:
    """How to misbehave here and now, for one process and time; empty for not at all."""
    try:
        place, how = FILE.read_text().split()
        if place != where:
            return ""
        FILE.unlink()
    except (FileNotFoundError, ValueError):
        return ""
    return how


async def misbehave(where: str) -> None:
    match due(where):
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "sleep":
            await asyncio.sleep(3600)


def work(arguments: list[str]) -> None:
    from service.inference.thread import InferenceThread
    from service.workers import worker

    answer, drain, close = worker.Worker._answer, worker.Worker.drain, InferenceThread.close

    async def answer_or_not(self: worker.Worker, order: Any) -> Any:
        await misbehave(type(order.command).__name__)
        return await answer(self, order)

    async def drain_or_not(self: worker.Worker) -> None:
        await misbehave("drain")
        await drain(self)

    def close_or_not(self: InferenceThread, seconds: float = 5.0) -> None:
        if due("close"):
            time.sleep(3600)
        close(self, seconds)

    worker.Worker._answer = answer_or_not  # type: ignore[method-assign]
    worker.Worker.drain = drain_or_not  # type: ignore[method-assign]
    InferenceThread.close = close_or_not  # type: ignore[method-assign]
    sys.argv = ["worker", *arguments[3:]]
    worker.main()


def supervise(arguments: list[str]) -> int:
    from models.cli import main
    from service.workers.fleet import Fleet

    make = Fleet.__init__

    def make_impatient(self: Fleet, *given: Any, **named: Any) -> None:
        make(self, *given, **named)
        self._models._seconds = PREPARE_SECONDS

    Fleet.__init__ = make_impatient  # type: ignore[method-assign]
    launcher = FILE.with_name("python")
    launcher.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        f'*service.workers.worker*) exec "{sys.executable}" "{__file__}" "{FILE}" "$@" ;;\n'
        f'*) exec "{sys.executable}" "$@" ;;\n'
        "esac\n"
    )
    launcher.chmod(stat.S_IRWXU)
    sys.executable = str(launcher)
    return main(arguments)


if __name__ == "__main__":
    rest = sys.argv[2:]
    if rest[0] == "serve":
        sys.exit(supervise(rest))
    work(rest)
