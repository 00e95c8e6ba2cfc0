"""Markdown tables of the experiments' figures. They only lay out; a missing cell says "not run"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from models.evaluation.degre.hit_rate import PERCENTS

MISSING: Final = "not run"
CEILING: Final = "†"


def hit_tables(table: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Table 2's form, one table per judge with its order share."""
    return "\n\n".join(_judge(titles[name], part) for name, part in table.items())


def _judge(title: str, part: Mapping[str, Any] | None) -> str:
    if part is None:
        return f"**Judge: {title}** ({MISSING})"
    share = part["order_share"]
    order = "not defined" if share is None else f"{share:.3f}"
    lines = [
        f"**Judge: {title}**, order share {order}",
        "",
        row("planner", *(f"HR@{k}%" for k in PERCENTS), "mean value", "seeds", "requests"),
        rule(len(PERCENTS) + 4),
        *(_planner(entry) for entry in part["rows"]),
    ]
    return "\n".join(lines)


def _planner(entry: Mapping[str, Any]) -> str:
    name = f"{entry['title']} {CEILING}" if entry["ceiling"] else entry["title"]
    if entry["hit_rate"] is None:
        return row(name, *[MISSING] * (len(PERCENTS) + 1), "0", "0")
    rates = (interval(entry["hit_rate"][str(k)]) for k in PERCENTS)
    return row(name, *rates, interval(entry["value"]), str(entry["seeds"]), str(entry["requests"]))


def difference_tables(tables: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Paired differences of hit rates, one table per judge."""
    if not any(tables.values()):
        return MISSING
    parts = []
    for name, entries in tables.items():
        lines = [
            f"**Judge: {titles[name]}**",
            "",
            row("planner", "less", *(f"HR@{k}%" for k in PERCENTS)),
            rule(len(PERCENTS) + 2, texts=2),
        ]
        for entry in entries:
            cells = (interval(entry["difference"][str(k)], sign="+") for k in PERCENTS)
            lines.append(row(entry["ours"], entry["theirs"], *cells))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def set_and_order_tables(tables: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """What sets and orders bring over the sort, one table per judge."""
    parts = []
    for name, entries in tables.items():
        lines = [f"**Judge: {titles[name]}**", "", row("planner", "gain", "of it by the set", "by the order"), rule(4)]
        for entry in entries:
            title = f"{entry['title']} {CEILING}" if entry["ceiling"] else entry["title"]
            lines.append(row(title, *(interval(entry[key], sign="+") for key in ("gain", "set", "order"))))
        parts.append("\n".join(lines))
    return "\n\n".join(parts) or MISSING


def gain_tables(tables: Mapping[str, Any], titles: Mapping[str, str], base: str, ceiling: str) -> str:
    """What planners gain over `base` and keep of what `ceiling` gains, one table per judge."""
    parts = []
    for name, entries in tables.items():
        heads = (f"gain over the {base}", "relative", f"of what {ceiling} gains", "seeds")
        lines = [f"**Judge: {titles[name]}**", "", row("planner", *heads), rule(1 + len(heads))]
        for entry in entries:
            title = f"{entry['title']} {CEILING}" if entry["ceiling"] else entry["title"]
            ratios = (_ratio(entry["relative"], sign="+"), _ratio(entry["kept"]))
            lines.append(row(title, interval(entry["gain"], sign="+"), *ratios, str(entry["seeds"])))
        parts.append("\n".join(lines))
    return "\n\n".join(parts) or MISSING


def _ratio(value: Mapping[str, float] | None, sign: str = "") -> str:
    return "not defined" if value is None else interval(value, sign=sign, digits=3)


def exhaustive_tables(tables: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Optimality and exact shares against all lists, one table per judge."""
    parts = []
    for name, table in tables.items():
        if not table["requests"]:
            parts.append(f"**Judge: {titles[name]}** ({table['why'] or MISSING})")
            continue
        lines = [
            f"**Judge: {titles[name]}**, {table['requests']} requests, all {table['lists']:,} lists of each",
            "",
            row("planner", "optimality", "share of better lists", *(f"exact HR@{k}%" for k in PERCENTS)),
            rule(len(PERCENTS) + 3),
        ]
        for entry in table["rows"]:
            if entry["optimality"] is None:
                lines.append(row(entry["title"], *[MISSING] * (len(PERCENTS) + 2)))
                continue
            exact = (f"{entry['hit_rate'][str(k)]:.3f}" for k in PERCENTS)
            better = interval(entry["better"], digits=5)
            lines.append(row(entry["title"], interval(entry["optimality"]), better, *exact))
        parts.append("\n".join(lines))
    return "\n\n".join(parts) or MISSING


def sweep_tables(sweeps: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> str:
    """HR@1% and HR@10% against one setting, one table per sweep."""
    shown = ("1", "10")
    parts = []
    for sweep in sweeps:
        judges = list(titles)
        heads = [f"{titles[judge]}, HR@{k}%" for judge in judges for k in shown]
        lines = [row(sweep["symbol"], *heads), rule(1 + len(heads))]
        for point in sweep["points"]:
            cells = [_rate(point["judges"].get(judge), k) for judge in judges for k in shown]
            lines.append(row(f"{point['x']:g}", *cells))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _rate(entry: Mapping[str, Any] | None, k: str) -> str:
    return MISSING if entry is None or entry["hit_rate"] is None else interval(entry["hit_rate"][k])


def cost_table(steps: Sequence[Mapping[str, Any]]) -> str:
    """Seconds of each step; a resumed one only tells those of its last run."""
    lines = [row("step", "seconds", "what"), "|---|---:|---|"]
    for step in steps:
        seconds = MISSING if step["seconds"] is None else f"{step['seconds']:.1f}"
        if step["resumed"]:
            seconds += " (resumed)"
        lines.append(row(step["step"], seconds, _notes(step["notes"])))
    return "\n".join(lines)


def _notes(notes: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in notes.items()
    )


def interval(value: Mapping[str, float], *, sign: str = "", digits: int = 4) -> str:
    """``mean [low, high]``."""
    low, high = f"{value['low']:{sign}.{digits}f}", f"{value['high']:{sign}.{digits}f}"
    return f"{value['mean']:{sign}.{digits}f} [{low}, {high}]"


def row(*cells: str) -> str:
    """A table row."""
    return f"| {' | '.join(cells)} |"


def rule(columns: int, *, texts: int = 1) -> str:
    """The line under the heads: `texts` columns to the left, the others to the right."""
    return "|---" * texts + "|---:" * (columns - texts) + "|"
