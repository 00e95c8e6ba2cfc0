"""Measures servers that take turns: blocks in random order, each with every contender once. It draws no conclusions.

A block of the closed loop has every concurrency for every contender; a block of goodput searches every contender's.
After each block `Results` are written out, so that a comparison that is cut short has lost no more than one block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from loadtest.rig.goodput import Goodput, Rules, Search, Trial, find_goodput
from loadtest.rig.openloop.window import Window
from loadtest.rig.processes import Memory
from loadtest.rig.turns import Place
from models.files import write_json

CONCURRENCY: Final = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured; seconds are of one window."""

    closed_blocks: int = 15
    closed_seconds: float = 1.5
    goodput_blocks: int = 15
    goodput_seconds: float = 3.0
    warm_up: float = 0.5
    concurrency: tuple[int, ...] = CONCURRENCY
    guess: float = 300.0
    resolution: float = 1.03
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ClosedRow:
    """One window of the closed loop, in milliseconds and requests/s; `full_share` of the answers were full lists.

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
        """As plain JSON; a time that is infinite becomes null."""
        return dict(_finite(asdict(self)))


Say = Callable[[str], None]


def compare_closed(places: Sequence[Place], effort: Effort, results: Results, *, out: Path | None, say: Say) -> None:
    """Measure the closed loop at all of `places`, into `results`; `out` is the JSON file."""
    results.contenders = [place.name for place in places]
    rng = np.random.default_rng(effort.seed)
    for block in range(effort.closed_blocks):
        for i in rng.permutation(len(places)):
            results.closed += _closed_block(places[i], block, effort)
        _save(results, out)
        say(f"closed loop, block {block + 1} of {effort.closed_blocks}")


def compare_goodput(
    places: Sequence[Place], effort: Effort, results: Results, rules: Rules, *, out: Path | None, say: Say
) -> None:
    """Search the goodput at all of `places`, and weigh them, into `results`; `out` is the JSON file."""
    results.contenders = [place.name for place in places]
    rng = np.random.default_rng(effort.seed)
    guesses = {place.name: effort.guess for place in places}
    for block in range(effort.goodput_blocks):
        for i in rng.permutation(len(places)):
            found = _goodput(places[i], guesses[places[i].name], effort, rules)
            guesses[places[i].name] = found.rate or effort.guess
            results.goodput.append(GoodputRow(block, places[i].name, found.rate, found.trials))
        _save(results, out)
        rates = {row.contender: round(row.rate) for row in results.goodput if row.block == block}
        say(f"goodput, block {block + 1} of {effort.goodput_blocks}: {rates}")
    for place in places:
        results.memory[place.name] = place.endpoint.memory()
    _save(results, out)


def _save(results: Results, out: Path | None) -> None:
    if out is not None:
        write_json(out, results.to_json())


def _closed_block(place: Place, block: int, effort: Effort) -> list[ClosedRow]:
    with place.awake():
        return [
            closed_row(place, block, n, place.closed(n, effort.closed_seconds, effort.warm_up))
            for n in effort.concurrency
        ]


def closed_row(place: Place, block: int, concurrency: int, window: Window) -> ClosedRow:
    """The figures of one window. Raises `ValueError` if nothing was answered."""
    latency = window.latency()
    stated = window.answered & ~np.isnan(window.records["infer_ms"])
    infer = window.records["infer_ms"][stated]
    overhead = window.times_ms()[stated] - infer
    return ClosedRow(
        block=block,
        contender=place.name,
        concurrency=concurrency,
        p50_ms=latency.p50,
        p99_ms=latency.p99,
        rate=latency.requests / window.seconds,
        infer_p50_ms=float(np.median(infer)) if len(infer) else math.nan,
        overhead_p50_ms=float(np.median(overhead)) if len(infer) else math.nan,
        full_share=window.full(place.contender.is_full) / len(window),
    )


def _goodput(place: Place, guess: float, effort: Effort, rules: Rules) -> Goodput:
    with place.awake():
        return find_goodput(
            lambda rate: place.trial(rate, effort.goodput_seconds, effort.warm_up, rules),
            Search(guess=guess, step=_step(guess, effort), resolution=effort.resolution),
            rules,
        )


def _step(guess: float, effort: Effort) -> float:
    """Large steps from where nothing is known, small ones from where the last block ended."""
    return max(effort.resolution**2, 1.4 if guess == effort.guess else 1.12)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
