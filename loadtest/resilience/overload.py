"""Offer a service three times its goodput, and judge its answers and its recovery.

One service on a CPU of its own, the client on another. Unless --rate names it, the goodput is searched first. One run
of the client goes below it, to a multiple of it and back without a gap; a service of its own then shows the cost of a
refusal. `overload_figures` judges. The exit status is 0 for figures, and 2 for none.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import numpy as np

from loadtest.resilience.overload_figures import Figures, Parts, RefusalCost, figures, judge
from loadtest.rig.answers import read_answers
from loadtest.rig.contender import Endpoint
from loadtest.rig.openloop.client import run_load
from loadtest.rig.server import ServerError
from loadtest.rig.subject import Outcome, Subject, command_parser, run_at_goodput
from loadtest.rig.verdict import checks_table

ONE_AT_A_TIME: Final = ("--workers", "1", "--max-in-flight", "1", "--read-timeout-seconds", "600")
_WAIT: Final = 5.0


def overload(subject: Subject, parts: Parts, *, refusal_seconds: float) -> tuple[Figures, dict[str, Any]]:
    """Overload the subject; return the figures, and the client's own. Raises `ServerError` or `ClientError`."""
    stretches = ((parts.rate, parts.seconds), (parts.base_rate, parts.around))
    load = replace(subject.load(parts.rate, parts.around, keep_bodies=True), rate=parts.base_rate, then=stretches)
    with subject.running() as (_, endpoint):
        subject.closed(endpoint, 1.0)
        window = run_load(endpoint.port, subject.messages(endpoint), load)
    refusal = refusal_cost(subject, parts.rate - parts.goodput, refusal_seconds)
    return figures(window, read_answers(window, subject.payloads), parts, refusal), window.client_figures()


def refusal_cost(subject: Subject, rate: float, seconds: float) -> RefusalCost:
    """Measure the CPU time of a refusal in a service that does nothing else.

    A service that lets in one request at a time is sent one whose body never ends; all others are refused by their
    headers meanwhile. Refusing for a standing queue instead takes a few arithmetic operations more. Time that an idle
    service uses counts too, so the figure errs upwards. Raises `ServerError` if a request is not refused after all.
    """
    with subject.running(options=ONE_AT_A_TIME) as (_, endpoint):
        messages, load = subject.messages(endpoint), subject.load(rate, seconds)
        with _held(endpoint, messages[0]):
            run_load(endpoint.port, messages, replace(load, seconds=0.3))
            before = endpoint.cpu_seconds()
            window = run_load(endpoint.port, messages, load)
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


def render(f: Figures) -> str:
    """Show the verdicts and further figures as Markdown."""
    share = [f"{rung} {n} ({n / max(f.lists, 1):.1%})" for rung, n in sorted(f.degraded.items())]
    lines = [
        f"Goodput {f.parts.goodput:.0f}/s; offered {f.parts.rate:.0f}/s for {f.parts.seconds:g} s "
        f"({f.requests} requests), with {f.parts.base_rate:.0f}/s for {f.parts.around:g} s before and after.",
        "",
        checks_table(judge(f)),
        "",
        f"- Lists: {f.lists}, of which {f.full} full; p50 {f.p50_ms:.2f} ms. Refused: {f.refused}.",
        f"- Degraded: {', '.join(share) or 'none'}.",
        f"- A refusal's CPU was taken from {f.refusal.refusals} refusals at {f.refusal.rate:.0f}/s by a service that "
        "did nothing else.",
        f"- The client sent 99% within {f.late_ms:.2f} ms of their time and {f.unsent} not at all.",
    ]
    return "\n".join(lines)


def measure(options: argparse.Namespace, subject: Subject, goodput: float) -> Outcome:
    """Overload a service as the options say."""
    parts = Parts(goodput, options.factor, options.seconds, around=options.around_seconds)
    found, client = overload(subject, parts, refusal_seconds=options.refusal_seconds)
    checks = [asdict(check) for check in judge(found)]
    return render(found), {**asdict(found), "full_rate": found.full_rate, "client": client, "checks": checks}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; see the module for the exit status."""
    parser = command_parser("loadtest.resilience.overload", __doc__)
    add = parser.add_argument
    add("--factor", type=float, default=3.0, help="times the goodput to offer (3)")
    add("--seconds", type=float, default=60.0, help="length of the overload (60)")
    add("--around-seconds", type=float, default=10.0, help="length of the load before, and of that after (10)")
    add("--refusal-seconds", type=float, default=5.0, help="for how long requests are refused to see the cost (5)")
    return run_at_goodput(parser, argv, measure)


if __name__ == "__main__":
    raise SystemExit(main())
