"""Format the results of a training for the terminal, with the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models.contract.spec import OBJECTIVES

Figures = Sequence[Mapping[str, Any]]


def training_report(provenance: Mapping[str, Any]) -> str:
    """Format a value model's provenance (`value.train_value_model`) for the terminal."""
    metrics, verdict = provenance["metrics"], provenance["verdict"]
    parts = [
        f"best epoch {metrics['best_epoch']}, held-out loss {metrics['valid_loss']:.4f}",
        "\n".join(_lacking(provenance["choice"]["valued"], provenance["objectives_without_events"])),
        _choice_line(provenance["choice"]),
        "\n".join(_ndcg_table(_having(verdict["figures"], "mix"))),
        "\n".join(_likelihood_table(_having(verdict["figures"], "pcoc"))),
        "\n".join(_curve_table(provenance.get("learning_curve", ()))),
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
        return "papers' head: independent thresholds, no prior within, nothing to choose"
    shares = ", ".join(f"{name} {share:g}" for name, share in choice["shares"].items())
    knows = "knows more than" if choice["shown_knows_more"] else "knows no more than"
    likely = ", ".join(f"{name} {share:g}" for name, share in choice["by_likelihood"].items())
    return f"share of the learnt correction kept: {shares} (by likelihood {likely}; the shown order {knows} the scores)"


def _having(figures: Figures, key: str) -> Figures:
    return [row for row in figures if key in row]


def _ndcg_table(rows: Figures) -> Iterator[str]:
    """Tabulate NDCG@10 of the served lists, the sorts and a random order."""
    if not rows:
        return
    yield (
        f"{'NDCG@10 at α/β/γ':<18} {'of':<11} {'lists':>6} {'served':>7} {'formula':>7} {'prior':>7} {'random':>7}"
        "   served − formula (95%)"
    )
    for row in rows:
        d, mix = row["difference"], "/".join(f"{w:g}" for w in row["mix"])
        yield (
            f"{mix:<18} {row['objective']:<11} {d['lists']:6d} {row['served']:7.4f} {row['formula']:7.4f} "
            f"{row['prior']:7.4f} {row['random']:7.4f}   {d['mean']:+.4f} ({d['low']:+.4f} to {d['high']:+.4f})"
        )


def _likelihood_table(rows: Figures) -> Iterator[str]:
    """Tabulate nats per list of the model, the prior and a random order, and PCOC."""
    if not rows:
        return
    yield (
        f"{'nats a list':<18} {'':<11} {'lists':>6} {'model':>7} {'':>7} {'prior':>7} {'random':>7}"
        "   prior − model (95%)           PCOC at the first place"
    )
    for row in rows:
        gain = row["gain"]
        told = "" if gain is None else f"{gain['mean']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})"
        yield (
            f"{'':<18} {row['objective']:<11} {row['lists']:6d} {row['model']:7.4f} {'':>7} {_figure(row['prior'])} "
            f"{row['random']:7.4f}   {told:<29} {_figure(row['pcoc'])}"
        )


def _curve_table(points: Figures) -> Iterator[str]:
    """Tabulate the learning curve: shares of the lists, on the same test lists."""
    if not points:
        return
    yield f"{'learning curve':<18} {'lists':>8} {'kept':<24} {'outcome':<11} nats gained on the prior"
    for point in points:
        shares = ", ".join(f"{n} {s:g}" for n, s in point["choice"].get("shares", {}).items())
        gains = [
            f"{row['objective']} {row['gain']['mean']:+.4f}"
            for row in _having(point["verdict"]["figures"], "pcoc")
            if row["gain"] is not None
        ]
        share = f"{point['share']:.0%}"
        yield f"{share:<18} {point['lists']:8d} {shares:<24} {point['verdict']['outcome']:<11} {', '.join(gains)}"


def _figure(value: float | None) -> str:
    return f"{'-':>7}" if value is None else f"{value:7.4f}"
