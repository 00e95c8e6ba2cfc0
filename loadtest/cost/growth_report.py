"""Figures of `loadtest.cost.growth` as Markdown tables and SVG plots. It draws what comes in and measures nothing."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtest.cost.growth import Growth, Row
from models.files import whole_file

LATENCY_FILE: Final = "cost-growth-latency.svg"
GOODPUT_FILE: Final = "cost-growth-goodput.svg"
NAMES: Final[Mapping[str, str]] = {
    "candidates": "candidates",
    "length": "list length L",
    "batch": "batch",
    "dim": "model width d",
}

Goodput = Mapping[str, Mapping[str, float]]
"""Measured goodput in requests a second: swept size, then its value as text."""


def markdown(growth: Growth, measured: Goodput) -> str:
    """A table per sweep, and how fast products ran."""
    parts = [_table(name, rows, measured.get(name, {})) for name, rows in by_sweep(growth.rows).items()]
    rates = ["| product, one thread | GFLOP/s |", "|---|---:|"]
    rates += [f"| {r.product} | {r.gflops:.1f} |" for r in growth.rates]
    return "\n\n".join([*parts, "\n".join(rates)])


def by_sweep(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of every sweep, in the order in which they come."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.swept, []).append(row)
    return found


def _table(name: str, rows: Sequence[Row], measured: Mapping[str, float]) -> str:
    head = [NAMES[name], "MFLOP", "floor ms", "floor, own shapes ms", "engine ms", "engine / floor", "service p50 ms"]
    head += ["CPU outside the engine ms", "goodput, planned", "goodput, measured"]
    lines = [f"| {' | '.join(head)} |", "|" + "---:|" * len(head)]
    for r in rows:
        found = measured.get(str(r.value))
        cells = [str(r.value), f"{r.mflops:.1f}", f"{r.floor_ms:.3f}", f"{r.own_floor_ms:.3f}", f"{r.engine_ms:.2f}"]
        cells += [f"{r.engine_ms / r.floor_ms:.1f}", "–" if r.service_p50_ms is None else f"{r.service_p50_ms:.2f}"]
        cells += [f"{r.outside_ms:.2f}", f"{r.goodput:.0f}", "–" if found is None else f"{found:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw_latency(path: Path, growth: Growth) -> None:
    """Milliseconds against each size: engine, service, and both floors."""
    figure, panels = _panels(growth)
    for axes, (name, rows) in zip(panels, by_sweep(growth.rows).items(), strict=True):
        values = [r.value for r in rows]
        axes.plot(values, [r.engine_ms for r in rows], marker="o", label="engine")
        service = [(r.value, r.service_p50_ms) for r in rows if r.service_p50_ms is not None]
        if service:
            axes.plot(*zip(*service, strict=True), marker="s", label="service p50, one at a time")
        axes.plot(values, [r.own_floor_ms for r in rows], linestyle="--", label="floor, rate of own shapes")
        axes.plot(values, [r.floor_ms for r in rows], linestyle=":", label="floor, rate of a large product")
        _scale(axes, NAMES[name], values)
        axes.set_yscale("log")
    panels[0].set_ylabel("ms")
    panels[0].legend(fontsize="x-small")
    _save(figure, path)


def draw_goodput(path: Path, growth: Growth, measured: Goodput) -> None:
    """Requests a second of one worker against each size: planned, and measured where it was."""
    figure, panels = _panels(growth)
    for axes, (name, rows) in zip(panels, by_sweep(growth.rows).items(), strict=True):
        values = [r.value for r in rows]
        axes.plot(values, [r.goodput for r in rows], marker="o", label="planned")
        points = sorted((int(value), goodput) for value, goodput in measured.get(name, {}).items())
        if points:
            axes.plot(*zip(*points, strict=True), linestyle="", marker="x", label="measured")
        _scale(axes, "largest batch" if name == "batch" else NAMES[name], values)
        axes.set_ylim(bottom=0)
    panels[0].set_ylabel("goodput, requests/s")
    if any(measured.values()):
        max(panels, key=lambda axes: len(axes.get_lines())).legend(fontsize="x-small")
    _save(figure, path)


def _panels(growth: Growth) -> tuple[Figure, list[Axes]]:
    count = len(by_sweep(growth.rows))
    figure = Figure(figsize=(3.6 * count, 3.2), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _scale(axes: Axes, label: str, values: Sequence[int]) -> None:
    axes.set_xscale("log")  # the sizes are powers, nearly
    axes.set_xticks(values, [str(value) for value in values])
    axes.minorticks_off()
    axes.set_xlabel(label)


def _save(figure: Figure, path: Path) -> None:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    with whole_file(path) as partial:
        partial.write_text(text.getvalue(), "utf-8")
