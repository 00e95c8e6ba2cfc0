"""Run a child of the supervisor until it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Coroutine
from typing import Any, Final, NoReturn

import msgspec

from service.inference.watch import end_process, threads_left
from service.settings import Settings
from service.telemetry.logs import configure_logging
from service.transport.sockets import loop_factory
from service.workers.messages import Channel, NumberedCommand, Start

_log = logging.getLogger(__name__)
_DECODER: Final[msgspec.json.Decoder[NumberedCommand]] = msgspec.json.Decoder(NumberedCommand)


async def take_settings(control: socket.socket) -> tuple[Channel[NumberedCommand], Settings] | None:
    """Open the channel to the supervisor, and wait for the order to start.

    Returns None if the supervisor has gone.
    """
    channel = await Channel.open(control, _DECODER)
    first = await channel.receive()
    if first is None:
        return None
    if not isinstance(first.command, Start):
        raise RuntimeError("the first order must be to start")
    settings = Settings(**first.command.settings)
    configure_logging(level=settings.log_level, as_json=settings.log_json)
    return channel, settings


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
