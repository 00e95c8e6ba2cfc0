"""Offer a service three times its goodput, and judge its answers and its recovery.

One service on a CPU of its own, the client on another. Unless --rate names it, the goodput is searched first. One run
of the client goes below it, to a multiple of it and back without a gap; a service of its own then shows the cost of a
refusal. Times count from the intended start. An answer other than 200 counts as infinitely slow before and after the
overload, so that a refusal never makes them look quick; during it the p99 is that of the lists alone, since refusals
are meant to be there. The exit status is 0, 1 if a target is missed, and 2 without figures.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from loadtest.rig.answers import Answers, read_answers
from loadtest.rig.contender import Endpoint
from loadtest.rig.openloop.client import run_load
from loadtest.rig.openloop.window import Fault, Window, nearest_rank, status_200
from loadtest.rig.server import HOST, ServerError
from loadtest.rig.statistics import BUDGET_MS
from loadtest.rig.subject import Check, Measured, Subject, checks_table, command_parser, counts, missed, run_at_goodput

STEP: Final = 0.1
PIECE: Final = 0.5
TOLERATED_MS: Final = BUDGET_MS * 1.1
FULL_SHARE: Final = 0.8
REFUSAL_MS: Final = 0.3
RECOVERED: Final = 1.2
RECOVERY_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Parts:
    """A run: `share` of the goodput (requests/s), `factor` times it for `seconds`, then `share` again."""

    goodput: float
    factor: float = 3.0
    seconds: float = 60.0
    share: float = 0.7
    around: float = 10.0

    def __post_init__(self) -> None:
        if min(self.goodput, self.factor, self.seconds, self.share) <= 0 or self.around <= RECOVERY_SECONDS:
            raise ValueError(
                f"an overload needs positive figures, and more than {RECOVERY_SECONDS:g} s around it: {self}"
            )

    @property
    def base_rate(self) -> float:
        return self.goodput * self.share

    @property
    def rate(self) -> float:
        return self.goodput * self.factor

    @property
    def stop(self) -> float:
        """Return the end of the overload, in seconds from the start of the run."""
        return self.around + self.seconds


@dataclass(frozen=True, slots=True)
class RefusalCost:
    """CPU milliseconds of one refusal, over so many of them, at `rate` a second."""

    cpu_ms: float
    refusals: int
    rate: float


@dataclass(frozen=True, slots=True)
class Recovery:
    """The p99 before, the seconds until a piece is back, and the later p99."""

    before_p99_ms: float
    back_seconds: float
    later_p99_ms: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one overload; `late_ms` is the p99 of how late the client sent."""

    parts: Parts
    requests: int
    lists: int
    full: int
    refused: int
    degraded: Mapping[str, int]
    faults: Mapping[str, int]
    p50_ms: float
    p99_ms: float
    late_ms: float
    unsent: int
    refusal: RefusalCost
    recovery: Recovery

    @property
    def full_rate(self) -> float:
        return self.full / self.parts.seconds


def figures(window: Window, answers: Answers, parts: Parts, refusal: RefusalCost) -> Figures:
    """Take all figures of a run; its window and `answers` hold all three parts."""
    due = (window.records["intended"] - window.start_ns) / 1e9
    rungs = answers.rungs[(due >= parts.around) & (due < parts.stop)]
    before, during = window.between(0, parts.around), window.between(parts.around, parts.stop)
    sent = during.records["error"] != Fault.UNSENT
    late = np.where(sent, during.records["sent"] - during.records["intended"], np.inf) / 1e6
    times = during.times_ms()[status_200(during.records)]
    return Figures(
        parts=parts,
        requests=len(during),
        lists=len(times),
        full=during.full(),
        refused=int(np.count_nonzero(during.records["status"] == 503)),
        degraded=dict(Counter(rung for rung in rungs.tolist() if rung)),
        faults=answers.faults,
        p50_ms=nearest_rank(times, 0.5),
        p99_ms=nearest_rank(times, 0.99),
        late_ms=nearest_rank(late, 0.99),
        unsent=int(np.count_nonzero(~sent)),
        refusal=refusal,
        recovery=recovery(before, window.between(parts.stop, parts.stop + parts.around), parts.stop),
    )


def recovery(before: Window, after: Window, stop: float) -> Recovery:
    """Compare the load `after` with the one `before`; `stop` is where `after` begins.

    Pieces of half a second slide by a tenth; one is back if its p99 is at most 1.2 times that of all of `before`.
    """
    reference = before.p99_ms()
    back = math.inf
    for k in range(round((after.seconds - PIECE) / STEP) + 1):
        begin = stop + k * STEP
        if after.between(begin, begin + PIECE).p99_ms() <= RECOVERED * reference < math.inf:
            back = k * STEP + PIECE
            break
    later = after.between(stop + RECOVERY_SECONDS, math.inf)
    return Recovery(reference, back, later.p99_ms())


def judge(f: Figures) -> list[Check]:
    r = f.recovery
    ratio = r.later_p99_ms / r.before_p99_ms if r.before_p99_ms < math.inf else math.inf
    least = FULL_SHARE * f.parts.goodput
    share = f.full_rate / f.parts.goodput
    return [
        Check(
            "answers that are neither a valid list nor a 503 with Retry-After", "none", counts(f.faults), not f.faults
        ),
        Check("p99 of the lists", f"≤ {TOLERATED_MS:.1f} ms", f"{f.p99_ms:.2f} ms", f.p99_ms <= TOLERATED_MS),
        Check("full lists a second", f"≥ {least:.0f}", f"{f.full_rate:.0f} ({share:.0%})", f.full_rate >= least),
        Check("CPU of a refusal", f"< {REFUSAL_MS} ms", f"{f.refusal.cpu_ms:.3f} ms", f.refusal.cpu_ms < REFUSAL_MS),
        Check(
            f"p99 of {PIECE} s back within {RECOVERED} × before",
            f"≤ {RECOVERY_SECONDS:g} s after the load",
            f"{r.back_seconds:.1f} s" if r.back_seconds < math.inf else "not at all",
            r.back_seconds <= RECOVERY_SECONDS,
        ),
        Check(
            f"p99 from {RECOVERY_SECONDS:g} s after the load on",
            f"≤ {RECOVERED} × {r.before_p99_ms:.2f} ms before",
            f"{r.later_p99_ms:.2f} ms ({ratio:.2f} ×)",
            ratio <= RECOVERED,
        ),
    ]


ONE_AT_A_TIME: Final = ("--workers", "1", "--max-in-flight", "1", "--read-timeout-seconds", "600")
_WAIT: Final = 60.0
_PAUSE: Final = 0.3
_IDLE: Final = 0.1  # Share of a CPU; a service at work uses most of one.
_LITTLE: Final = 4096  # Bytes of a buffer.


def overload(subject: Subject, parts: Parts, *, refusal_seconds: float) -> tuple[Figures, dict[str, Any]]:
    """Overload the subject; return the figures, and the client's own. Raises `ServerError` or `ClientError`.

    Without `refusal_seconds` the CPU of a refusal is not measured, and is NaN.
    """
    stretches = ((parts.rate, parts.seconds), (parts.base_rate, parts.around))
    load = replace(subject.load(parts.rate, parts.around, keep_bodies=True), rate=parts.base_rate, then=stretches)
    with subject.running() as (_, endpoint):
        subject.closed(endpoint, 1.0)
        window = run_load(endpoint.port, subject.messages(endpoint), load)
    rate = parts.rate - parts.goodput
    refusal = refusal_cost(subject, rate, refusal_seconds) if refusal_seconds else RefusalCost(math.nan, 0, rate)
    return figures(window, read_answers(window, subject.payloads), parts, refusal), window.client_figures()


def refusal_cost(subject: Subject, rate: float, seconds: float) -> RefusalCost:
    """Measure the CPU time of a refusal in a service that does nothing else.

    A service that lets in one request at a time has one whose client takes no answer; all others are refused by their
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
            f"of {len(window)} requests beside one that does not end, {len(window) - refused} were not refused"
        )
    return RefusalCost(spent / refused * 1e3, refused, rate)


@contextlib.contextmanager
def _held(endpoint: Endpoint, message: bytes) -> Iterator[None]:
    """Keep one request in progress; on entry the service refuses all others.

    Its client takes no answers, so that once all buffers are full the next one cannot be sent. A service that has
    merely not read on yet takes no byte either, but it is at work.
    """
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _LITTLE)
        connection.connect((HOST, endpoint.port))
        connection.setblocking(False)
        deadline = time.monotonic() + _WAIT
        left = message
        while (unsent := _fill(connection, left, message)) is not left or not _is_held(endpoint, message):
            if time.monotonic() > deadline:
                raise ServerError(f"{HOST}:{endpoint.port} lets a second request in beside the first")
            left = unsent
        yield


def _fill(connection: socket.socket, unsent: bytes, message: bytes) -> bytes:
    """Send the message again and again, until no byte is taken.

    Returns what is still to be sent of it.
    """
    with contextlib.suppress(BlockingIOError):
        while True:
            unsent = unsent[connection.send(unsent) :] or message
    return unsent


def _is_held(endpoint: Endpoint, message: bytes) -> bool:
    """Tell whether the service was idle for a pause, and refuses a request behind it."""
    before = endpoint.cpu_seconds()
    time.sleep(_PAUSE)
    return endpoint.cpu_seconds() - before < _IDLE * _PAUSE and _is_refused(endpoint, message)


def _is_refused(endpoint: Endpoint, message: bytes) -> bool:
    with socket.create_connection((HOST, endpoint.port)) as probe:
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


def measure(options: argparse.Namespace, subject: Subject, goodput: float) -> Measured:
    """Overload a service as the options say."""
    parts = Parts(goodput, options.factor, options.seconds, around=options.around_seconds)
    found, client = overload(subject, parts, refusal_seconds=options.refusal_seconds)
    checks = judge(found)
    judged = {"checks": [asdict(check) for check in checks], "missed": missed(checks)}
    return render(found), {**asdict(found), "full_rate": found.full_rate, "client": client, **judged}


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
