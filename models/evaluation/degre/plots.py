"""Draw the report's pictures: sweeps of B, α and τ_w (Figure 4), and hit rates per judge."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.files import whole_file

SWEEPS_FILE: Final = "sweeps.svg"
BARS_FILE: Final = "hit-rates.svg"
_PERCENT: Final = "1"


def draw_sweeps(path: Path, sweeps: Sequence[Mapping[str, Any]]) -> None:
    """Draw HR@1% against each setting, one panel per sweep and one line per judge, if there is a point."""
    drawn = [(sweep, lines) for sweep in sweeps if (lines := _lines(sweep))]
    if not drawn:
        return
    figure = Figure(figsize=(4 * len(drawn), 3.2), layout="constrained")
    panels = figure.subplots(1, len(drawn), squeeze=False)[0]
    for axes, (sweep, lines) in zip(panels, drawn, strict=True):
        _draw_sweep(axes, sweep, lines)
    panels[0].legend(fontsize="small")
    _save(figure, path)


def draw_bars(path: Path, table: Mapping[str, Any]) -> None:
    """Draw HR@1% of every planner in a table of `figures.hit_table`, one bar per judge, if there is any."""
    judges = {name: {r["title"]: r for r in t["rows"] if r["hit_rate"]} for name, t in table.items() if t is not None}
    titles = list(dict.fromkeys(title for rows in judges.values() for title in rows))
    if not titles:
        return
    figure = Figure(figsize=(8, 0.45 * len(titles) + 1), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(judges)
    for j, (name, rows) in enumerate(judges.items()):
        known = [(i, rows[title]["hit_rate"][_PERCENT]) for i, title in enumerate(titles) if title in rows]
        places = [i + (j - (len(judges) - 1) / 2) * height for i, _ in known]
        means = [interval["mean"] for _, interval in known]
        errors = _errors([interval for _, interval in known])
        axes.barh(places, means, height=height, xerr=errors, label=name, error_kw={"linewidth": 0.8})
    axes.set_yticks(range(len(titles)), titles)
    axes.invert_yaxis()
    axes.set_xlabel("HR@1%")
    axes.set_xlim(0, 1)
    axes.legend(title="judge", fontsize="small")
    _save(figure, path)


def _lines(sweep: Mapping[str, Any]) -> dict[str, list[tuple[float, Mapping[str, float]]]]:
    """Map each judge to its points (setting, HR interval), as far as they are there."""
    lines: dict[str, list[tuple[float, Mapping[str, float]]]] = {}
    for point in sweep["points"]:
        for judge, row in point["judges"].items():
            if row is not None and row["hit_rate"] is not None:
                lines.setdefault(judge, []).append((point["x"], row["hit_rate"][_PERCENT]))
    return lines


def _draw_sweep(
    axes: Axes, sweep: Mapping[str, Any], lines: Mapping[str, Sequence[tuple[float, Mapping[str, float]]]]
) -> None:
    settings = [point["x"] for point in sweep["points"]]  # evenly spaced: they are powers, and α has a 0
    for judge, points in lines.items():
        places = [settings.index(x) for x, _ in points]
        intervals = [interval for _, interval in points]
        means = [interval["mean"] for interval in intervals]
        axes.errorbar(places, means, yerr=_errors(intervals), marker="o", capsize=2, label=judge)
    axes.set_xticks(range(len(settings)), [f"{x:g}" for x in settings])
    axes.set_xlabel(sweep["symbol"])
    axes.set_ylabel("HR@1%")


def _errors(intervals: Sequence[Mapping[str, float]]) -> list[list[float]]:
    return [[i["mean"] - i["low"] for i in intervals], [i["high"] - i["mean"] for i in intervals]]


def _save(figure: Figure, path: Path) -> None:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    with whole_file(path) as partial:
        partial.write_text(text.getvalue(), "utf-8")
