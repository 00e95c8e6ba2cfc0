"""What a comparison found, as Markdown and a plot: medians, ratios to each contender with intervals, and targets."""

from __future__ import annotations

import io
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from loadtest.peers.comparison import ClosedRow, GoodputRow, Results
from loadtest.rig.latency import BUDGET_MS
from loadtest.rig.paired_ratio import PairedRatio
from loadtest.rig.verdict import Check, table
from models.files import whole_file

OURS: Final = "listwright"
CONTROL: Final = "listwright again"
FASTAPI: Final = "fastapi"
_GOODPUT: Final = 1.5
_GOODPUT_BOUND: Final = 1.3


def by_block(results: Results, contender: str, value: Callable[[ClosedRow], float], concurrency: int) -> list[float]:
    """A figure of the closed loop, block by block."""
    rows = [r for r in results.closed if r.contender == contender and r.concurrency == concurrency]
    return [value(r) for r in sorted(rows, key=lambda r: r.block)]


def goodputs(results: Results, contender: str) -> list[float]:
    """Requests/s, block by block."""
    return [r.rate for r in sorted(results.goodput, key=lambda r: r.block) if r.contender == contender]


def checks(results: Results) -> list[Check]:
    """The comparison's targets, as far as what they need was measured; none for peers among themselves."""
    if OURS not in results.contenders:
        return []
    peers = [name for name in results.contenders if name not in (OURS, CONTROL)]
    batching = [name for name in peers if not name.startswith(FASTAPI)]
    found = []
    if results.closed:
        if FASTAPI in peers:
            found.append(_at_most("p50 at concurrency 1, to plain FastAPI", 0.85, _ratio(results, _p50, FASTAPI)))
        if batching:
            best = min(batching, key=lambda name: _median(results, name, _p50))
            name = f"p50 at concurrency 1, to the best other peer ({best})"
            found.append(_at_most(name, 0.6, _ratio(results, _p50, best)))
        if peers:
            best = min(peers, key=lambda name: _median(results, name, _overhead))
            name = f"overhead over the engine, to the best peer's ({best})"
            found.append(_at_most(name, 0.6, _ratio(results, _overhead, best)))
    if results.goodput and peers:
        best = max(peers, key=lambda name: statistics.median(goodputs(results, name)))
        if not min(goodputs(results, best)):
            return found  # A peer that kept no rate at all is nothing to be measured by.
        ratio = PairedRatio.of(goodputs(results, best), goodputs(results, OURS))
        reached = ratio.median >= _GOODPUT and ratio.low >= _GOODPUT_BOUND
        target = f"≥ {_GOODPUT} times, lower 95% bound ≥ {_GOODPUT_BOUND}"
        found.append(Check(f"goodput, to the best peer's ({best})", target, str(ratio), reached))
    return found


def _at_most(name: str, limit: float, ratio: PairedRatio) -> Check:
    return Check(name, f"≤ {limit} times", str(ratio), ratio.median <= limit)


def markdown(results: Results) -> str:
    """All tables."""
    parts = []
    if results.closed:
        parts += ["Closed loop, p50 / p99 in ms (share of full lists where it is not all)", _closed_table(results)]
        parts += ["At concurrency 1", _alone_table(results)]
    if results.goodput:
        parts += [f"Goodput at {BUDGET_MS:g} ms", _goodput_table(results)]
    if results.memory:
        parts += ["Memory after all of it", _memory_table(results)]
    if found := checks(results):
        parts += ["Targets", table(found)]
    return "\n\n".join(parts)


def _closed_table(results: Results) -> str:
    levels = sorted({r.concurrency for r in results.closed})
    lines = _head(["", *map(str, levels)])
    for name in results.contenders:
        cells = [name]
        for n in levels:
            p50, p99, full = (statistics.median(by_block(results, name, f, n)) for f in (_p50, _p99, _full))
            cells.append(f"{p50:.2f} / {p99:.2f}" + (f" ({full:.0%})" if full < 0.9995 else ""))
        lines.append(_row(cells))
    return "\n".join(lines)


def _alone_table(results: Results) -> str:
    lines = _head(["", "p50 ms", "inference ms", "overhead ms", "ours / its p50 (95%)", "ours / its overhead (95%)"])
    for name in results.contenders:
        infer = statistics.median(by_block(results, name, lambda r: r.infer_p50_ms, 1))
        cells = [
            name,
            f"{_median(results, name, _p50):.2f}",
            f"{infer:.2f}",
            f"{_median(results, name, _overhead):.2f}",
        ]
        cells += ["", ""] if name == OURS else [str(_ratio(results, f, name)) for f in (_p50, _overhead)]
        lines.append(_row(cells))
    return "\n".join(lines)


def _goodput_table(results: Results) -> str:
    lines = _head(["", "requests/s, median", "least", "most", "ours / its (95%)", "pairs", "windows discarded"])
    for name in results.contenders:
        rates = goodputs(results, name)
        discarded = sum(t.discarded for r in results.goodput if r.contender == name for t in r.trials)
        cells = [name, f"{statistics.median(rates):.0f}", f"{min(rates):.0f}", f"{max(rates):.0f}"]
        ours = [] if name == OURS or not min(rates) else goodputs(results, OURS)
        ratio = str(PairedRatio.of(rates, ours)) if ours else ""
        lines.append(_row([*cells, ratio, str(len(rates)), str(discarded)]))
    return "\n".join(lines)


def _memory_table(results: Results) -> str:
    lines = _head(["", "Pss MiB", "Rss MiB", "processes"])
    for name, memory in results.memory.items():
        lines.append(_row([name, f"{memory.pss_mb:.0f}", f"{memory.rss_mb:.0f}", str(memory.processes)]))
    return "\n".join(lines)


def draw(path: Path, results: Results) -> None:
    """p50 against concurrency, p99 against the offered rate, goodput."""
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    closed, open_, bars = figure.subplots(1, 3)
    for i, name in enumerate(results.contenders):
        colour = f"C{i}"
        levels = sorted({r.concurrency for r in results.closed})
        medians = [statistics.median(by_block(results, name, _p50, n)) for n in levels]
        closed.plot(levels, medians, marker="o", color=colour, label=name)
        rates, p99s = (
            zip(*_curve([r for r in results.goodput if r.contender == name]), strict=True)
            if (results.goodput)
            else ((), ())
        )
        open_.plot(rates, p99s, marker=".", color=colour)
        if results.goodput:
            found = goodputs(results, name)
            bars.barh(name, statistics.median(found), color=colour)
            bars.plot(found, [name] * len(found), linestyle="", marker="|", color="black")
    closed.set_xscale("log", base=2)
    closed.set_xlabel("concurrency, closed loop")
    closed.set_ylabel("p50, ms")
    closed.legend(fontsize="x-small")
    open_.axhline(BUDGET_MS, linestyle=":", color="black")
    open_.set_yscale("log")
    open_.set_xlabel("offered, requests/s (median of windows)")
    open_.set_ylabel("p99 of full lists, ms")
    bars.set_xlabel(f"goodput at {BUDGET_MS:g} ms, requests/s; each block a mark")
    bars.invert_yaxis()
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    with whole_file(path) as partial:
        partial.write_text(text.getvalue(), "utf-8")


_BIN: Final = 1.05
_TOP_MS: Final = 1000.0


def _curve(rows: Sequence[GoodputRow]) -> list[tuple[float, float]]:
    """Median p99 of the windows whose rates are within 5% of one another; what is not full counts as a second."""
    bins: Mapping[int, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        for trial in row.trials:
            bins[round(math.log(trial.rate, _BIN))].append((trial.rate, min(trial.p99_ms, _TOP_MS)))
    return [
        (statistics.median(rate for rate, _ in bins[key]), statistics.median(p99 for _, p99 in bins[key]))
        for key in sorted(bins)
    ]


def _ratio(results: Results, value: Callable[[ClosedRow], float], peer: str) -> PairedRatio:
    return PairedRatio.of(by_block(results, peer, value, 1), by_block(results, OURS, value, 1))


def _median(results: Results, name: str, value: Callable[[ClosedRow], float]) -> float:
    return statistics.median(by_block(results, name, value, 1))


def _p50(row: ClosedRow) -> float:
    return row.p50_ms


def _p99(row: ClosedRow) -> float:
    return row.p99_ms


def _overhead(row: ClosedRow) -> float:
    return row.overhead_p50_ms


def _full(row: ClosedRow) -> float:
    return row.full_share


def _head(names: Sequence[str]) -> list[str]:
    return [_row(names), "|---" + "|---:" * (len(names) - 1) + "|"]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
