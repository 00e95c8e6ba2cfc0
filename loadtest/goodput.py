"""Measure the goodput of one worker, and count the workers that a rate needs.

``make goodput ARGS="--rate 2000"``. The goodput is the highest constant rate of arrivals at which 99% get a full list
within the budget. It is searched several times over one service that is started for it, on a CPU of its own.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence

from loadtest.rig.goodput import Rules
from loadtest.rig.server import on_cpus
from loadtest.rig.statistics import BUDGET_MS
from loadtest.rig.subject import Measured, command_parser, run_command, search_goodput, subject_from


def render(rates: Sequence[float], *, rate: float | None, budget_ms: float, shared: bool) -> str:
    """Say the goodput, its range over the searches, and the workers for `rate` (requests/s)."""
    low, middle, high = min(rates), statistics.median(rates), max(rates)
    lines = [
        f"one worker: {middle:.0f} requests/s within {budget_ms:g} ms at p99 "
        f"({low:.0f} to {high:.0f} over {len(rates)} searches)"
    ]
    if rate is not None:
        lines.append(f"{rate:g} requests/s: {math.ceil(rate / low)} workers, each on CPUs of its own (at {low:.0f}/s)")
    if shared:
        lines.append("the client shared the service's CPUs, so the service can do more than this")
    return "\n".join(lines)


def measure(options: argparse.Namespace) -> Measured:
    """Search as the options say. Raises `ValueError` naming a wrong option."""
    for name in ("rate", "searches", "seconds", "budget_ms"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ValueError(f"--{name.replace('_', '-')}: must be positive, not {value:g}")
    subject = subject_from(options)
    rules = Rules(budget_ms=options.budget_ms)
    with on_cpus(subject.split.client):
        found = search_goodput(subject, options.seconds, rules, searches=options.searches)
    rates = [goodput.rate for goodput in found]
    text = render(rates, rate=options.rate, budget_ms=options.budget_ms, shared=subject.split.shared)
    return text, {"budget_ms": options.budget_ms, "cpus": options.cpus, "goodput": rates}


def main(argv: Sequence[str] | None = None) -> int:
    """Search and print; the exit status is 0, or 2 without a figure."""
    parser = command_parser("loadtest.goodput", __doc__)
    add = parser.add_argument
    add("--rate", type=float, metavar="R", help="requests/s to say the number of workers for")
    add("--searches", type=int, default=3, help="searches to take the median of (3)")
    add("--seconds", type=float, default=3.0, help="length of a window (3)")
    add("--budget-ms", type=float, default=BUDGET_MS, help="p99 to keep (19)")
    return run_command(parser, argv, measure)


if __name__ == "__main__":
    raise SystemExit(main())
