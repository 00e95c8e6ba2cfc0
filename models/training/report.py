"""Format the results of a training for the terminal, with the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tabulate import tabulate

from models.contract.spec import OBJECTIVES

_HEADS: Final = {
    "independent": "papers' head: independent thresholds",
    "pointwise": "events of each place by themselves",
    "entire-space": "clicks, and purchases given a click",
}
"""Value models without hazards, in words."""

Rows = Sequence[Mapping[str, Any]]


def training_report(provenance: Mapping[str, Any]) -> str:
    """Format a value model's provenance (`value.train_value_model`) for the terminal."""
    metrics, verdict = provenance["metrics"], provenance["verdict"]
    parts = [
        f"best epoch {metrics['best_epoch']}, held-out loss {metrics['valid_loss']:.4f}",
        "\n".join(_lacking(provenance["choice"]["valued"], provenance["objectives_without_events"])),
        _choice_line(provenance["choice"]),
        _ndcg_table(_having(verdict["figures"], "mix")),
        _likelihood_table(_having(verdict["figures"], "pcoc")),
        _curve_table(provenance.get("learning_curve", ())),
        f"Verdict: {verdict['outcome']}. {verdict['sentence']}",
    ]
    return "\n\n".join(part for part in parts if part)


def _lacking(valued: Sequence[str], without_events: Sequence[str]) -> Iterator[str]:
    """Name the objectives that the model cannot value, or that never happened."""
    unvalued = [name for name in OBJECTIVES if name not in valued]
    if unvalued:
        yield f"not valued, as the log does not record it or has no score or price for it: {', '.join(unvalued)}"
    if silent := [name for name in without_events if name in valued]:
        yield f"never happened in the lists trained on: {', '.join(silent)}"


def _choice_line(choice: Mapping[str, Any]) -> str:
    """State the kept shares of the correction, and the reason."""
    if "shares" not in choice:
        return f"{_HEADS[choice['head']]}: no prior within, nothing to choose"
    shares = ", ".join(f"{name} {share:g}" for name, share in choice["shares"].items())
    if "by_likelihood" not in choice:
        return f"share of the learnt correction kept, without a choice: {shares}"
    knows = "knows more than" if choice["shown_knows_more"] else "knows no more than"
    likely = ", ".join(f"{name} {share:g}" for name, share in choice["by_likelihood"].items())
    return f"share of the learnt correction kept: {shares} (by likelihood {likely}; the shown order {knows} the scores)"


def _having(figures: Rows, key: str) -> Rows:
    return [row for row in figures if key in row]


def _ndcg_table(rows: Rows) -> str:
    """Tabulate NDCG@10 of the served lists, the sorts and a random order."""
    heads = ("NDCG@10 at α/β/γ", "of", "lists", "served", "formula", "prior", "random", "served − formula (95%)")
    orders = ("served", "formula", "prior", "random")
    cells = []
    for row in rows:
        mix, figures = "/".join(f"{w:g}" for w in row["mix"]), [_figure(row[order]) for order in orders]
        cells.append((mix, row["objective"], row["difference"]["lists"], *figures, _interval(row["difference"])))
    return _table(heads, cells)


def _likelihood_table(rows: Rows) -> str:
    """Tabulate nats per list of the model, the prior and a random order, and PCOC."""
    heads = ("nats a list", "lists", "model", "prior", "random", "prior − model (95%)", "PCOC at the first place")
    cells = []
    for row in rows:
        gain = "" if row["gain"] is None else _interval(row["gain"])
        figures = [_figure(row[name]) for name in ("model", "prior", "random")]
        cells.append((row["objective"], row["lists"], *figures, gain, _figure(row["pcoc"])))
    return _table(heads, cells)


def _curve_table(points: Rows) -> str:
    """Tabulate the learning curve: shares of the lists, on the same test lists."""
    heads = ("learning curve", "lists", "kept", "outcome", "nats gained on the prior")
    rows = []
    for point in points:
        shares = ", ".join(f"{name} {share:g}" for name, share in point["choice"].get("shares", {}).items())
        likely = [row for row in _having(point["verdict"]["figures"], "pcoc") if row["gain"] is not None]
        gains = ", ".join(f"{row['objective']} {row['gain']['mean']:+.4f}" for row in likely)
        rows.append((f"{point['share']:.0%}", point["lists"], shares, point["verdict"]["outcome"], gains))
    return _table(heads, rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return tabulate(rows, heads, "plain", disable_numparse=True) if rows else ""


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(values: Mapping[str, float]) -> str:
    return f"{values['mean']:+.4f} ({values['low']:+.4f} to {values['high']:+.4f})"
