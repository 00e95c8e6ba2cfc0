"""The course of an overload as an SVG plot. It draws what comes in and measures nothing."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from loadtest.resilience.overload_figures import STEP, TOLERATED_MS, Parts
from loadtest.rig.latency import BUDGET_MS
from models.files import whole_file


def draw(path: Path, series: Mapping[str, Sequence[Any]], parts: Parts) -> None:
    """Answers a second by kind, and below them the lists' p99, of `overload_figures.series`."""
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    rates, times = figure.subplots(2, 1, sharex=True)
    kinds = ("full", "degraded", "refused", "failed")
    seconds = series["second"]
    rates.stackplot(
        seconds,
        *([n / STEP for n in series[kind]] for kind in kinds),
        labels=kinds,
        colors=("tab:green", "tab:orange", "lightgrey", "tab:red"),
        step="post",
    )
    rates.axhline(parts.goodput, color="black", linestyle=":", label="goodput")
    rates.set_ylabel("answers/s, by intended start")
    rates.legend(loc="upper right", fontsize="x-small", ncols=5)
    times.plot(seconds, [float("nan") if ms is None else ms for ms in series["p99_ms"]], linewidth=0.9)
    times.axhline(BUDGET_MS, color="tab:red", linestyle=":", label=f"{BUDGET_MS:g} ms")
    times.axhline(TOLERATED_MS, color="tab:red", linestyle="--", label=f"{TOLERATED_MS:.1f} ms")
    times.set_ylabel(f"p99 of the lists per {STEP:g} s, ms")
    times.set_xlabel("seconds")
    times.set_ylim(bottom=0)
    times.legend(loc="upper right", fontsize="x-small")
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    with whole_file(path) as partial:
        partial.write_text(text.getvalue(), "utf-8")
