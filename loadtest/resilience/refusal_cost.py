"""Measure the CPU time of one refusal, in a service that does nothing else.

A service that lets in one request at a time is sent one whose body never ends; all others are refused by their headers
meanwhile. Refusing for a standing queue instead takes a few arithmetic operations more. Time that an idle service
uses counts too, so the figure errs upwards.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadtest.rig.contender import Endpoint
from loadtest.rig.openloop.client import Load, open_loop
from loadtest.rig.server import ServerError
from loadtest.rig.subject import Subject, connections_for

OPTIONS: Final = ("--workers", "1", "--max-in-flight", "1", "--read-timeout-seconds", "600")
_WAIT: Final = 5.0


@dataclass(frozen=True, slots=True)
class RefusalCost:
    """CPU milliseconds of one refusal, over so many of them, which came at `rate` a second."""

    cpu_ms: float
    refusals: int
    rate: float


def refusal_cost(subject: Subject, rate: float, seconds: float) -> RefusalCost:
    """Let requests be refused at `rate` for `seconds`. Raises `ServerError` if one is not refused after all."""
    with subject.running(options=OPTIONS) as (_, endpoint):
        message = subject.messages(endpoint)[0]
        with _held(endpoint, message):
            load = Load(rate=rate, seconds=seconds, connections=connections_for(rate), cpu=subject.client_cpu)
            open_loop(endpoint.port, subject.messages(endpoint), Load(**{**vars(load), "seconds": 0.3}))
            before = endpoint.cpu_seconds()
            window = open_loop(endpoint.port, subject.messages(endpoint), load)
            spent = endpoint.cpu_seconds() - before
    refused = int(np.count_nonzero(window.records["status"] == 503))
    if refused != len(window):
        raise ServerError(
            f"of {len(window)} requests beside one that never ends, {len(window) - refused} were not refused"
        )
    return RefusalCost(spent / refused * 1e3, refused, rate)


@contextlib.contextmanager
def _held(endpoint: Endpoint, message: bytes) -> Iterator[None]:
    """Keep one request in progress; on entry the service refuses all others."""
    with socket.create_connection((endpoint.host, endpoint.port)) as connection:
        connection.sendall(message[: len(message) // 2])
        deadline = time.monotonic() + _WAIT
        while not _is_refused(endpoint, message):
            if time.monotonic() > deadline:
                raise ServerError(f"{endpoint.host}:{endpoint.port} lets a second request in beside the first")
        yield


def _is_refused(endpoint: Endpoint, message: bytes) -> bool:
    with socket.create_connection((endpoint.host, endpoint.port)) as probe:
        probe.sendall(message)
        return probe.recv(16).startswith(b"HTTP/1.1 503")
