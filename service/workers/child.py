"""Run a child of the supervisor until it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

from service.inference.watch import end_process, threads_left
from service.transport.sockets import loop_factory

_log = logging.getLogger(__name__)


def run_child(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run `work`, which returns the exit status, and end the process with it."""
    # Only the supervisor reloads: one child alone would differ from the others.
    with contextlib.suppress(AttributeError):  # Windows has no such signal.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        try:
            status = runner.run(work)
        except Exception:
            _log.critical("this process ends because of a fault of its own", exc_info=True)
            status = 1
        if threads_left():
            end_process(status)
    sys.exit(status)
