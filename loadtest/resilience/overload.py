"""Offer a service three times its goodput, and judge its answers and its recovery.

One service on a CPU of its own, the client on another. Unless --rate names it, the goodput is searched first. One run
of the client goes below it, to a multiple of it and back without a gap; a service of its own then shows the cost of a
refusal. `overload_figures` judges. The exit status is 0 for figures, and 2 for none.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtest.resilience.overload_figures import (
    STEP,
    TOLERATED_MS,
    CpuTimes,
    Figures,
    Parts,
    figures,
    judge,
    series,
)
from loadtest.resilience.refusal_cost import refusal_cost
from loadtest.rig.answers import read_answers
from loadtest.rig.contender import Endpoint
from loadtest.rig.cpus import on_cpus
from loadtest.rig.latency import BUDGET_MS
from loadtest.rig.openloop.client import Load, Running, running
from loadtest.rig.openloop.window import Window
from loadtest.rig.subject import (
    Subject,
    add_goodput_options,
    add_subject_options,
    allow_connections,
    connections_for,
    goodput_from,
    run_command,
    subject_from,
)
from loadtest.rig.verdict import checks_table, finite
from models.files import whole_file


def overload(subject: Subject, parts: Parts, *, refusal_seconds: float) -> tuple[Figures, Window]:
    """Overload the subject. Raises `ServerError`, `ClientError` or `ClientUnavailable`."""
    with subject.running() as (_, endpoint):
        subject.closed(endpoint, 1.0)
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
    return figures(window, read_answers(window, subject.payloads), parts, cpu, refusal), window


def _cpu_times(run: Running, endpoint: Endpoint, parts: Parts) -> CpuTimes:
    marks = []
    for second in (0.0, parts.around, parts.stop):
        time.sleep(max(0.0, run.start_ns / 1e9 + second - time.monotonic()))
        marks.append(endpoint.cpu_seconds())
    begin, middle, end = marks
    return CpuTimes(middle - begin, end - middle)


def render(f: Figures) -> str:
    """Show the verdicts and further figures as Markdown."""
    difference = "none" if f.difference_ms is None else f"{f.difference_ms:.3f} ms"
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
        f"did nothing else; as the rest that lists leave during the overload it is {difference}.",
        f"- The client sent 99% within {f.late_ms:.2f} ms of their time and {f.unsent} not at all.",
    ]
    return "\n".join(lines)


def to_json(f: Figures, window: Window) -> dict[str, Any]:
    """Return everything as plain JSON types; null for an infinite figure."""
    plain = asdict(f) | {"full_rate": f.full_rate, "recovery": {k: finite(v) for k, v in asdict(f.recovery).items()}}
    plain |= {name: finite(plain[name]) for name in ("p50_ms", "p99_ms", "late_ms")}
    checks = [asdict(check) for check in judge(f)]
    return {**plain, "client": window.client_figures(), "checks": checks, "series": series(window)}


def draw(path: Path, course: Mapping[str, Sequence[Any]], goodput: float) -> None:
    """Draw answers a second by kind, and below them the lists' p99, of `overload_figures.series`, as SVG."""
    from matplotlib.figure import Figure  # no part of a serving installation

    figure = Figure(figsize=(9, 5.2), layout="constrained")
    rates, times = figure.subplots(2, 1, sharex=True)
    kinds = {"full": "tab:green", "degraded": "tab:orange", "refused": "lightgrey", "failed": "tab:red"}
    stacks = ([n / STEP for n in course[kind]] for kind in kinds)
    rates.stackplot(course["second"], *stacks, labels=kinds, colors=kinds.values(), step="post")
    rates.axhline(goodput, color="black", linestyle=":", label="goodput")
    rates.set_ylabel("answers/s, by intended start")
    rates.legend(loc="upper right", fontsize="x-small", ncols=5)
    times.plot(course["second"], [float("nan") if ms is None else ms for ms in course["p99_ms"]], linewidth=0.9)
    times.axhline(BUDGET_MS, color="tab:red", linestyle=":", label=f"{BUDGET_MS:g} ms")
    times.axhline(TOLERATED_MS, color="tab:red", linestyle="--", label=f"{TOLERATED_MS:.1f} ms")
    times.set(xlabel="seconds", ylabel=f"p99 of the lists per {STEP:g} s, ms")
    times.set_ylim(bottom=0)
    times.legend(loc="upper right", fontsize="x-small")
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    with whole_file(path) as partial:
        partial.write_text(text.getvalue(), "utf-8")


def measure(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Overload a service as the options say, and draw the run if they ask for it."""
    allow_connections()
    subject = subject_from(options)
    with on_cpus(subject.split.client):
        goodput = goodput_from(options, subject)
        parts = Parts(goodput, options.factor, options.seconds, around=options.around_seconds)
        found, window = overload(subject, parts, refusal_seconds=options.refusal_seconds)
    if options.plot:
        draw(options.plot, series(window), goodput)
    return render(found), to_json(found, window)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; see the module for the exit status."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.resilience.overload", description=__doc__)
    add_subject_options(parser)
    add_goodput_options(parser)
    add = parser.add_argument
    add("--factor", type=float, default=3.0, help="times the goodput to offer (3)")
    add("--seconds", type=float, default=60.0, help="length of the overload (60)")
    add("--around-seconds", type=float, default=10.0, help="length of the load before, and of that after (10)")
    add("--refusal-seconds", type=float, default=5.0, help="for how long requests are refused to see the cost (5)")
    add("--plot", type=Path, help="draw the run to this SVG file")
    return run_command(parser, argv, measure)


if __name__ == "__main__":
    raise SystemExit(main())
