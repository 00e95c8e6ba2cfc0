"""Measure servers in turn: blocks in random order, each with every contender once.

A block of the closed loop has every concurrency for every contender; a block of goodput searches every contender's.
Both are generators that give a line of progress after each block, so that a comparison that is cut short has lost no
more than one block.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from loadtest.rig.contender import Memory
from loadtest.rig.goodput import Goodput, Rules, Search, Trial, find_goodput
from loadtest.rig.latency import Latency
from loadtest.rig.openloop.window import Window
from loadtest.rig.turns import Place

CONCURRENCY: Final = (1, 2, 4, 8, 16)
_WARM_UP: Final = 0.5


@dataclass(frozen=True, slots=True)
class ClosedRow:
    """One closed-loop window in milliseconds and requests/s; `full_share` of answers were full lists.

    `overhead_p50_ms` is the median of a request's time less the inference that its answer states.
    """

    block: int
    contender: str
    concurrency: int
    p50_ms: float
    p99_ms: float
    rate: float
    infer_p50_ms: float
    overhead_p50_ms: float
    full_share: float


@dataclass(frozen=True, slots=True)
class GoodputRow:
    """One search: the rate it ended with, and its windows."""

    block: int
    contender: str
    rate: float
    trials: tuple[Trial, ...]


@dataclass(slots=True)
class Results:
    """Everything that was measured."""

    contenders: list[str]
    closed: list[ClosedRow] = field(default_factory=list)
    goodput: list[GoodputRow] = field(default_factory=list)
    memory: dict[str, Memory] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON; an infinite time becomes null."""
        return dict(_finite(asdict(self)))


def compare_closed(places: Sequence[Place], results: Results, options: argparse.Namespace) -> Iterator[str]:
    """Measure the closed loop of all `places` into `results`.

    Read from `options`: `closed_blocks`, `closed_seconds`, `concurrency` and `seed`.
    """
    results.contenders = [place.name for place in places]
    rng = np.random.default_rng(options.seed)
    for block in range(options.closed_blocks):
        for i in rng.permutation(len(places)):
            with places[i].awake():
                for n in options.concurrency:
                    window = places[i].closed(n, options.closed_seconds, _WARM_UP)
                    results.closed.append(closed_row(places[i], block, n, window))
        yield f"closed loop, block {block + 1} of {options.closed_blocks}"


def compare_goodput(places: Sequence[Place], results: Results, options: argparse.Namespace) -> Iterator[str]:
    """Search the goodput of all `places` and weigh them, into `results`.

    Read from `options`: `blocks`, `seconds`, `guess`, `resolution`, `budget_ms` and `seed`.
    """
    results.contenders = [place.name for place in places]
    rng = np.random.default_rng(options.seed)
    guesses = {place.name: options.guess for place in places}
    for block in range(options.blocks):
        for i in rng.permutation(len(places)):
            name = places[i].name
            found = _goodput(places[i], guesses[name], options)
            guesses[name] = found.rate or options.guess
            results.goodput.append(GoodputRow(block, name, found.rate, found.trials))
        rates = {row.contender: round(row.rate) for row in results.goodput if row.block == block}
        yield f"goodput, block {block + 1} of {options.blocks}: {rates}"
    results.memory = {place.name: place.endpoint.memory() for place in places}


def closed_row(place: Place, block: int, concurrency: int, window: Window) -> ClosedRow:
    """Take the figures of one window. Raises `ValueError` if nothing was answered."""
    latency = Latency.of(window.answered_ms())
    infer = window.records["infer_ms"]
    stated = window.answered & ~np.isnan(infer)
    overhead = window.times_ms()[stated] - infer[stated]
    return ClosedRow(
        block=block,
        contender=place.name,
        concurrency=concurrency,
        p50_ms=latency.p50,
        p99_ms=latency.p99,
        rate=latency.requests / window.seconds,
        infer_p50_ms=float(np.median(infer[stated])) if stated.any() else math.nan,
        overhead_p50_ms=float(np.median(overhead)) if stated.any() else math.nan,
        full_share=window.full(place.contender.is_full) / len(window),
    )


def _goodput(place: Place, guess: float, options: argparse.Namespace) -> Goodput:
    rules = Rules(budget_ms=options.budget_ms)
    # Large steps from where nothing is known, small ones from where the last block ended.
    step = max(options.resolution**2, 1.4 if guess == options.guess else 1.12)
    search = Search(guess=guess, step=step, resolution=options.resolution)
    with place.awake():
        return find_goodput(lambda rate: place.trial(rate, options.seconds, _WARM_UP, rules), search, rules)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
