"""Draw the charts of a report as SVG files, for the Markdown beside them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.files import whole_file
from models.reporting.contents import Chart, Line

FOLDER: Final = "charts"


def draw_charts(root: Path, charts: Sequence[Chart]) -> list[str]:
    """Draw each chart that has lines as ``charts/<name>.svg``, and return the names drawn."""
    drawn = [chart for chart in charts if chart.lines]
    # Equal charts give equal files, and text stays text.
    with mpl.rc_context({"svg.hashsalt": "listwright", "svg.fonttype": "none"}):
        for chart in drawn:
            _draw(root / FOLDER / f"{chart.name}.svg", chart)
    return [chart.name for chart in drawn]


def _draw(path: Path, chart: Chart) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for line in chart.lines:
        _draw_line(axes, line)
    if chart.kind == "calibration":
        axes.axline((0, 0), slope=1, color="grey", linewidth=0.8, linestyle="--")
        axes.autoscale()
    if chart.log_x:
        axes.set_xscale("log")
    if chart.kind in ("sweep", "learning", "positions"):
        values = sorted({float(x) for line in chart.lines for x in line.x})
        axes.set_xticks(values, [f"{x:,g}" for x in values])
        axes.minorticks_off()
    axes.set_xlabel(chart.x_title)
    axes.set_ylabel(chart.y_title)
    axes.legend(fontsize="small")
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    with whole_file(path) as partial:
        partial.write_text(text.getvalue(), "utf-8")


def _draw_line(axes: Axes, line: Line) -> None:
    known = [i for i, y in enumerate(line.y) if y is not None]

    def at(values: Sequence[float | None]) -> list[float]:
        return [float(value) for i in known if (value := values[i]) is not None]

    x = [float(line.x[i]) for i in known]
    axes.plot(x, at(line.y), marker="o", markersize=3, label=line.title)
    if line.low and line.high:
        axes.fill_between(x, at(line.low), at(line.high), alpha=0.15)
