"""Show a comparison as Markdown: medians, ratios to each contender with intervals, and targets."""

from __future__ import annotations

import statistics
from typing import Final

from loadtest.peers.comparison import Results
from loadtest.rig.statistics import BUDGET_MS, PairedRatio
from loadtest.rig.subject import Check, checks_table, markdown

OURS: Final = "listwright"
CONTROL: Final = "listwright again"
FASTAPI: Final = "fastapi"
BARE: Final = "fastapi-msgspec"
"""The peer with as little around the model as can be, and without deadlines, metrics or limits."""

_GOODPUT: Final = 1.5
_GOODPUT_BOUND: Final = 1.3
_BESIDE_BARE: Final = 0.9

_P50: Final = "p50_ms"
_OVERHEAD: Final = "overhead_p50_ms"


def goodputs(results: Results, contender: str) -> list[float]:
    """Return the goodputs of a contender in requests/s, block by block."""
    return [r.rate for r in sorted(results.goodput, key=lambda r: r.block) if r.contender == contender]


def checks(results: Results) -> list[Check]:
    """Judge the targets whose figures were measured; none for peers among themselves."""
    if OURS not in results.contenders:
        return []
    peers = [name for name in results.contenders if name not in (OURS, CONTROL)]
    found = _closed_checks(results, peers) if results.closed else []
    if not (results.goodput and peers):
        return found
    if BARE in peers and min(goodputs(results, BARE)):
        bare = PairedRatio.of(goodputs(results, BARE), goodputs(results, OURS))
        reached = bare.median >= _BESIDE_BARE
        found.append(Check(f"goodput, to {BARE}'s", f"≥ {_BESIDE_BARE} times", str(bare), reached))
    best = max(peers, key=lambda name: statistics.median(goodputs(results, name)))
    if not min(goodputs(results, best)):
        return found  # A peer that kept no rate at all is nothing to be measured by.
    ratio = PairedRatio.of(goodputs(results, best), goodputs(results, OURS))
    reached = ratio.median >= _GOODPUT and ratio.low >= _GOODPUT_BOUND
    target = f"≥ {_GOODPUT} times, lower 95% bound ≥ {_GOODPUT_BOUND}"
    return [*found, Check(f"goodput, to the best peer's ({best})", target, str(ratio), reached)]


def _closed_checks(results: Results, peers: list[str]) -> list[Check]:
    batching = [name for name in peers if not name.startswith(FASTAPI)]
    found = []
    if FASTAPI in peers:
        found.append(_at_most("p50 at concurrency 1, to plain FastAPI", 0.85, _ratio(results, _P50, FASTAPI)))
    if batching:
        best = min(batching, key=lambda name: _median(results, name, _P50))
        name = f"p50 at concurrency 1, to the best other peer ({best})"
        found.append(_at_most(name, 0.6, _ratio(results, _P50, best)))
    if peers:
        best = min(peers, key=lambda name: _median(results, name, _OVERHEAD))
        name = f"overhead over the engine, to the best peer's ({best})"
        found.append(_at_most(name, 0.6, _ratio(results, _OVERHEAD, best)))
    return found


def _at_most(name: str, limit: float, ratio: PairedRatio) -> Check:
    return Check(name, f"≤ {limit} times", str(ratio), ratio.median <= limit)


def tables(results: Results) -> str:
    parts = []
    if results.closed:
        parts += ["Closed loop, p50 / p99 in ms (share of full lists where it is not all)", _closed_table(results)]
        parts += ["At concurrency 1", _alone_table(results)]
    if results.goodput:
        parts += [f"Goodput at {BUDGET_MS:g} ms", _goodput_table(results)]
    if results.memory:
        weights = [(n, f"{m.pss_mb:.0f}", f"{m.rss_mb:.0f}", m.processes) for n, m in results.memory.items()]
        parts += ["Memory after all of it", markdown(("", "Pss MiB", "Rss MiB", "processes"), weights)]
    if found := checks(results):
        parts += ["Targets", checks_table(found)]
    return "\n\n".join(parts)


def _closed_table(results: Results) -> str:
    levels = sorted({r.concurrency for r in results.closed})
    rows = [(name, *(_closed_cell(results, name, n) for n in levels)) for name in results.contenders]
    return markdown(("", *map(str, levels)), rows)


def _closed_cell(results: Results, name: str, concurrency: int) -> str:
    p50, p99, full = (_median(results, name, of, concurrency) for of in (_P50, "p99_ms", "full_share"))
    return f"{p50:.2f} / {p99:.2f}" + (f" ({full:.0%})" if full < 0.9995 else "")


def _alone_table(results: Results) -> str:
    head = ("", "p50 ms", "inference ms", "overhead ms", "ours / its p50 (95%)", "ours / its overhead (95%)")
    rows = []
    for name in results.contenders:
        times = [f"{_median(results, name, of):.2f}" for of in (_P50, "infer_p50_ms", _OVERHEAD)]
        ratios = ["", ""] if name == OURS else [str(_ratio(results, of, name)) for of in (_P50, _OVERHEAD)]
        rows.append((name, *times, *ratios))
    return markdown(head, rows)


def _goodput_table(results: Results) -> str:
    head = ("", "requests/s, median", "least", "most", "ours / its (95%)", "pairs", "windows discarded")
    rows = []
    for name in results.contenders:
        rates = goodputs(results, name)
        discarded = sum(t.discarded for r in results.goodput if r.contender == name for t in r.trials)
        ours = [] if name == OURS or not min(rates) else goodputs(results, OURS)
        ratio = str(PairedRatio.of(rates, ours)) if ours else ""
        figures = [f"{of(rates):.0f}" for of in (statistics.median, min, max)]
        rows.append((name, *figures, ratio, len(rates), discarded))
    return markdown(head, rows)


def _by_block(results: Results, name: str, figure: str, concurrency: int = 1) -> list[float]:
    rows = [r for r in results.closed if r.contender == name and r.concurrency == concurrency]
    return [getattr(r, figure) for r in sorted(rows, key=lambda r: r.block)]


def _ratio(results: Results, figure: str, peer: str) -> PairedRatio:
    return PairedRatio.of(_by_block(results, peer, figure), _by_block(results, OURS, figure))


def _median(results: Results, name: str, figure: str, concurrency: int = 1) -> float:
    return statistics.median(_by_block(results, name, figure, concurrency))
