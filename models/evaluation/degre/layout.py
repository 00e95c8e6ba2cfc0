"""Lay out the experiments' figures as Markdown tables and pictures."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.evaluation.degre.hit_rate import PERCENTS
from models.evaluation.tables import interval_text, markdown_table
from models.files import whole_file

MISSING: Final = "not run"
CEILING: Final = "†"
_RATES: Final = tuple(f"HR@{k}%" for k in PERCENTS)
_signed: Final = partial(interval_text, sign="+")


def hit_tables(tables: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Show hit rates in Table 2's form, one table per judge with its order share."""
    return "\n\n".join(_hit_table(titles[name], table) for name, table in tables.items())


def _hit_table(title: str, table: Mapping[str, Any] | None) -> str:
    if table is None:
        return f"**Judge: {title}** ({MISSING})"
    share = table["order_share"]
    order = "not defined" if share is None else f"{share:.3f}"
    heads = ["planner", *_RATES, "mean value", "seeds", "requests"]
    return _judged(f"{title}**, order share {order}", heads, [_hit_row(entry) for entry in table["rows"]])


def _hit_row(entry: Mapping[str, Any]) -> list[str]:
    if entry["hit_rate"] is None:
        return [_title(entry), *[MISSING] * (len(PERCENTS) + 1), "0", "0"]
    rates = (interval_text(entry["hit_rate"][str(k)]) for k in PERCENTS)
    return [_title(entry), *rates, interval_text(entry["value"]), str(entry["seeds"]), str(entry["requests"])]


def difference_tables(tables: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Show paired differences of hit rates and of values, one table per judge."""
    if not any(tables.values()):
        return MISSING

    def row(entry: Mapping[str, Any]) -> list[str]:
        differences = [*(entry["difference"][str(k)] for k in PERCENTS), entry["value"]]
        return [entry["ours"], entry["theirs"], *map(_signed, differences)]

    return _per_judge(tables, titles, ["planner", "less", *_RATES, "mean value"], row, texts=2)


def distance_tables(tables: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Show how far ablations are from the whole method in value, one table per judge."""
    if not any(tables.values()):
        return MISSING

    def row(entry: Mapping[str, Any]) -> list[str]:
        difference = entry["difference"]
        half = (difference["high"] - difference["low"]) / 2
        wanted = "no difference" if entry["needed"] is None else f"{entry['needed']:,}"
        return [entry["title"], _signed(difference), f"{half:.4f}", f"{difference['lists']:,}", wanted]

    heads = ["planner", "value less the first row's", "half width", "requests", "requests to tell them apart"]
    return _per_judge(tables, titles, heads, row)


def grid_table(entries: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> str:
    """Show the grid of value models and planners, judges as columns: HR@1% and mean value."""
    heads = ["value model", "planner", *(f"{titles[judge]}, {what}" for judge in titles for what in ("HR@1%", "value"))]
    return markdown_table(heads, [_grid_row(entry, titles) for entry in entries], texts=2)


def _grid_row(entry: Mapping[str, Any], titles: Mapping[str, str]) -> list[str]:
    cells = [entry["model"], entry["planner"]]
    for judge in titles:
        found = entry["judges"][judge]
        known = found is not None and found["hit_rate"] is not None
        mark = f" {CEILING}" if known and found["ceiling"] else ""
        cells += [_rate(found, "1") + mark, interval_text(found["value"]) if known else MISSING]
    return cells


def set_and_order_tables(tables: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Show the gains of sets and of orders over the sort, one table per judge."""

    def row(entry: Mapping[str, Any]) -> list[str]:
        return [_title(entry), *(_signed(entry[key]) for key in ("gain", "set", "order"))]

    return _per_judge(tables, titles, ["planner", "gain", "of it by the set", "by the order"], row)


def gain_tables(tables: Mapping[str, Any], titles: Mapping[str, str], base: str, ceiling: str) -> str:
    """Show planners' gains over `base` and shares of `ceiling`'s gain, one table per judge."""
    ratio = partial(interval_text, digits=3, missing="not defined")

    def row(e: Mapping[str, Any]) -> list[str]:
        return [_title(e), _signed(e["gain"]), ratio(e["relative"], sign="+"), ratio(e["kept"]), str(e["seeds"])]

    heads = ["planner", f"gain over the {base}", "relative", f"of what {ceiling} gains", "seeds"]
    return _per_judge(tables, titles, heads, row)


def exhaustive_tables(tables: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Show optimality and exact shares against all lists, one table per judge."""
    heads = ["planner", "optimality", "share of better lists", *(f"exact {rate}" for rate in _RATES)]
    parts = []
    for name, table in tables.items():
        if not table["requests"]:
            parts.append(f"**Judge: {titles[name]}** ({table['why'] or MISSING})")
            continue
        caption = f"{titles[name]}**, {table['requests']} requests, all {table['lists']:,} lists of each"
        parts.append(_judged(caption, heads, [_exhaustive_row(entry) for entry in table["rows"]]))
    return "\n\n".join(parts) or MISSING


def _exhaustive_row(entry: Mapping[str, Any]) -> list[str]:
    if entry["optimality"] is None:
        return [entry["title"], *[MISSING] * (len(PERCENTS) + 2)]
    exact = (f"{entry['hit_rate'][str(k)]:.3f}" for k in PERCENTS)
    return [entry["title"], interval_text(entry["optimality"]), interval_text(entry["better"], digits=5), *exact]


def sweep_tables(sweeps: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> str:
    """Show HR@1% and HR@10% against one setting, one table per sweep."""
    shown = [(judge, k) for judge in titles for k in ("1", "10")]
    parts = []
    for sweep in sweeps:
        heads = [sweep["symbol"], *(f"{titles[judge]}, HR@{k}%" for judge, k in shown)]
        rows = [
            [f"{point['x']:g}", *(_rate(point["judges"].get(judge), k) for judge, k in shown)]
            for point in sweep["points"]
        ]
        parts.append(markdown_table(heads, rows))
    return "\n\n".join(parts)


def _rate(entry: Mapping[str, Any] | None, k: str) -> str:
    return MISSING if entry is None or entry["hit_rate"] is None else interval_text(entry["hit_rate"][k])


def cost_table(steps: Sequence[Mapping[str, Any]]) -> str:
    """Show the seconds of each step; of a resumed one, those of its last run."""
    rows = []
    for step in steps:
        seconds = MISSING if step["seconds"] is None else f"{step['seconds']:.1f}"
        notes = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in step["notes"].items())
        rows.append([step["step"], ", ".join(notes), seconds + " (resumed)" * step["resumed"]])
    return markdown_table(["step", "notes", "seconds"], rows, texts=2)


def _per_judge(
    tables: Mapping[str, Any],
    titles: Mapping[str, str],
    heads: Sequence[str],
    row: Callable[[Mapping[str, Any]], list[str]],
    texts: int = 1,
) -> str:
    parts = (_judged(f"{titles[name]}**", heads, [row(e) for e in tables[name]], texts) for name in tables)
    return "\n\n".join(parts) or MISSING


def _judged(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    return f"**Judge: {caption}\n\n{markdown_table(heads, rows, texts=texts)}"


def _title(entry: Mapping[str, Any]) -> str:
    return f"{entry['title']} {CEILING}" if entry["ceiling"] else str(entry["title"])


SWEEPS_FILE: Final = "sweeps.svg"
BARS_FILE: Final = "hit-rates.svg"
_PERCENT: Final = "1"


def draw_sweeps(path: Path, sweeps: Sequence[Mapping[str, Any]]) -> None:
    """Draw HR@1% against each setting: one panel per sweep, one line per judge, if any."""
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
    """Draw HR@1% of every planner in a `figures.hit_table`, one bar per judge."""
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
