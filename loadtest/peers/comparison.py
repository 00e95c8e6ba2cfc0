"""Measure servers in turn: blocks in random order, each with every contender once.

Before that, `check_same` holds their lists to one another.

A block of the closed loop has every concurrency for every contender; a block of goodput searches every contender's.
Both are generators that give a line of progress after each block, so that a comparison that is cut short has lost no
more than one block.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
import requests

from loadtest.peers import kserve
from loadtest.rig.contender import Memory, Place, direct_session
from loadtest.rig.goodput import Goodput, Rules, Search, Trial, find_goodput
from loadtest.rig.openloop.window import Window
from loadtest.rig.statistics import Latency
from loadtest.rig.subject import finite

CONCURRENCY: Final = (1, 2, 4, 8, 16)
_WARM_UP: Final = 0.5
_TOLERANCE: Final = 1e-3
_HEAD_END: Final = b"\r\n\r\n"


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
        return dict(finite(asdict(self)))


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


class SameError(ValueError):
    """Report two contenders with different lists; the message says which and where."""


def check_same(places: Sequence[Place]) -> str:
    """Compare all answers of all contenders with the first's. Raises `SameError`."""
    expected = [_bare(answer) for answer in _answers(places[0])]
    for place in places[1:]:
        for i, (want, answer) in enumerate(zip(expected, _answers(place), strict=True)):
            _compare(f"{place.name}, request {i}", want, _bare(answer))
    return f"{len(places)} contenders give the same lists for {len(expected)} requests"


def _compare(where: str, want: dict[str, Any], got: dict[str, Any]) -> None:
    if got["items"] != want["items"]:
        raise SameError(f"{where}: items differ: {got['items']} and {want['items']}")
    for name, value in want["value"].items():
        if abs(got["value"][name] - value) > _TOLERANCE * max(1.0, abs(value)):
            raise SameError(f"{where}: value.{name} is {got['value'][name]} and not {value}")


def _answers(place: Place) -> list[Any]:
    with place.awake(), direct_session() as session:
        session.headers.update({"Content-Type": "application/json", **place.endpoint.headers})
        return [_ask(session, place, message.partition(_HEAD_END)[2]) for message in place.messages]


def _ask(session: requests.Session, place: Place, body: bytes) -> Any:
    answer = session.post(place.endpoint.url, body, timeout=30)
    answer.raise_for_status()
    wrapped = place.endpoint.path == kserve.PATH
    return msgspec.json.decode(kserve.unwrap(answer.content) if wrapped else answer.content)


def _bare(answer: Any) -> dict[str, Any]:
    """Return the fields that all contenders state; a batchable endpoint of BentoML answers in brackets."""
    (table,) = answer if isinstance(answer, list) else [answer]
    if table["degraded"] is not None:
        raise SameError(f"a list without its model: degraded is {table['degraded']!r}")
    items = [(item["id"], item["index"], item["position"], item["source"]) for item in table["items"]]
    return {"items": items, "value": {name: float(table["value"][name]) for name in table["value"]}}
