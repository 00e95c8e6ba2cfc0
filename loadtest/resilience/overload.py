"""What becomes of a service that is offered three times what it can do? `overload_figures` says what is judged.

One service on a CPU of its own, the client on another. Unless --rate names it, the goodput is searched first. One run
of the client goes below it, to a multiple of it and back without a gap; a service of its own then tells what a refusal
costs. The exit status is 0 for figures, whatever they are, and 2 for none.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loadtest.cost.service_cost import on_cpus
from loadtest.resilience.overload_figures import CpuTimes, Figures, Parts, figures, judge, series
from loadtest.resilience.refusal_cost import refusal_cost
from loadtest.rig.answers import read_answers
from loadtest.rig.openloop.build import ClientUnavailable
from loadtest.rig.openloop.client import ClientError, Load, Running, running
from loadtest.rig.openloop.contender import Endpoint
from loadtest.rig.openloop.window import Window
from loadtest.rig.server import ServerError
from loadtest.rig.subject import (
    Subject,
    add_subject_options,
    allow_connections,
    connections_for,
    goodput_of,
    subject_from,
)
from loadtest.rig.verdict import finite, table
from models.files import write_json


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures, with the run that they are taken from."""

    figures: Figures
    window: Window


def measure(subject: Subject, parts: Parts, *, refusal_seconds: float) -> Outcome:
    """Overload the subject. Raises `ServerError`, `ClientError` or `ClientUnavailable`."""
    with subject.running() as (_, endpoint):
        subject.warm(endpoint, 1.0)
        load = Load(
            rate=parts.base_rate,
            seconds=parts.around,
            then=((parts.rate, parts.seconds), (parts.base_rate, parts.around)),
            connections=connections_for(parts.rate),
            cpu=subject.client_cpu,
            keep_bodies=True,
        )
        with running(endpoint.port, subject.messages(endpoint), load) as run:
            cpu = _cpu_times(run, endpoint, parts)
            window = run.window()
    refusal = refusal_cost(subject, parts.rate - parts.goodput, refusal_seconds)
    return Outcome(figures(window, read_answers(window, subject.payloads), parts, cpu, refusal), window)


def _cpu_times(run: Running, endpoint: Endpoint, parts: Parts) -> CpuTimes:
    marks = []
    for second in (0.0, parts.around, parts.stop):
        time.sleep(max(0.0, run.start_ns / 1e9 + second - time.monotonic()))
        marks.append(endpoint.cpu_seconds())
    begin, middle, end = marks
    return CpuTimes(middle - begin, end - middle)


def render(f: Figures) -> str:
    """The verdicts, and what else there is to say, as Markdown."""
    difference = "none" if f.difference_ms is None else f"{f.difference_ms:.3f} ms"
    share = {rung: f"{n} ({n / max(f.lists, 1):.1%})" for rung, n in sorted(f.degraded.items())}
    lines = [
        f"Goodput {f.parts.goodput:.0f}/s; offered {f.parts.rate:.0f}/s for {f.parts.seconds:g} s "
        f"({f.requests} requests), with {f.parts.base_rate:.0f}/s for {f.parts.around:g} s before and after.",
        "",
        table(judge(f)),
        "",
        f"- Lists: {f.lists}, of which {f.full} full; p50 {f.p50_ms:.2f} ms. Refused: {f.refused}.",
        f"- Degraded: {', '.join(f'{rung} {n}' for rung, n in share.items()) or 'none'}.",
        f"- A refusal's CPU was taken from {f.refusal.refusals} refusals at {f.refusal.rate:.0f}/s by a service that "
        f"did nothing else; as what lists leave over during the overload it is {difference}.",
        f"- The client sent 99% within {f.late_ms:.2f} ms of their time and {f.unsent} not at all.",
    ]
    return "\n".join(lines)


def to_json(outcome: Outcome) -> dict[str, Any]:
    """Everything, as plain JSON types; null for what is infinite."""
    f, window = outcome.figures, outcome.window
    plain = asdict(f) | {"full_rate": f.full_rate, "recovery": {k: finite(v) for k, v in asdict(f.recovery).items()}}
    plain |= {name: finite(plain[name]) for name in ("p50_ms", "p99_ms", "late_ms")}
    plain["client"] = {k: v for k, v in window.summary().items() if k.startswith(("hiccup", "steal", "client"))}
    return {**plain, "checks": [asdict(check) for check in judge(f)], "series": series(window)}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; see the module for the exit status."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        allow_connections()
        subject = subject_from(options)
        with on_cpus(subject.split.client):
            goodput = options.rate or goodput_of(subject, options.search_seconds)
            parts = Parts(goodput, options.factor, options.seconds, around=options.around_seconds)
            outcome = measure(subject, parts, refusal_seconds=options.refusal_seconds)
    except (ValueError, OSError, ServerError, ClientError, ClientUnavailable) as error:
        parser.exit(2, f"loadtest.resilience.overload: {error}\n")
    print(render(outcome.figures))
    if options.json:
        write_json(options.json, to_json(outcome))
    if options.plot:
        from loadtest.resilience.overload_plot import draw  # matplotlib is no part of a serving installation

        draw(options.plot, series(outcome.window), outcome.figures.parts)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.resilience.overload", description=__doc__)
    add_subject_options(parser)
    add = parser.add_argument
    add("--factor", type=float, default=3.0, help="times the goodput to offer (3)")
    add("--seconds", type=float, default=60.0, help="length of the overload (60)")
    add("--around-seconds", type=float, default=10.0, help="length of the load before, and of that after (10)")
    add("--refusal-seconds", type=float, default=5.0, help="for how long requests are refused to see the cost (5)")
    add("--plot", type=Path, help="draw the run to this SVG file")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
