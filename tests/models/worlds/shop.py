"""Shops whose lists are worth what a closed form says, unlike the simulator: for tests of "never worse than the sort".

A shop shows 10 of 20 candidates in the order of a *deterministic* ranker, so its log holds every item next to the same
neighbours at the same places, which is what makes learning from it hard. The ranker sees the same noisy scores as the
candidates carry; they know the item and the user, and nothing of the list. What happens at a place depends on which
items stand before it and not on what happened to them, so expected outcomes are sums of products.

Axis letters: n candidates, k lists, m places of a list.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from models.data.records import Candidate, ListRecord
from models.datasets.splits import share_split

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CANDIDATES: Final = 20
SHOWN: Final = 10
CATEGORIES: Final = 6
SEGMENTS: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """A request with its truth, drawn from the id alone. Arrays run along its n candidates.

    `click` and `buy` are P(click) and P(purchase | click) of an item that stands alone at the top of a list; `ctr` and
    `cvr` are what the ranker takes them for.
    """

    segment: int
    category: Ints
    price: Floats
    click: Floats
    buy: Floats
    ctr: Floats
    cvr: Floats


class Shop(ABC):
    """A world drawn from its seed. Subclasses say what the items before a place do to it."""

    name: ClassVar[str]
    click_bias: ClassVar[float] = -1.6
    click_spread: ClassVar[float] = 0.5
    taste_spread: ClassVar[float] = 0.5
    buy_bias: ClassVar[float] = -1.2
    price_spread: ClassVar[float] = 0.5
    price_slope: ClassVar[float] = -0.3
    noise: ClassVar[float] = 0.3
    decay: ClassVar[float] = 0.05

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        rng = np.random.default_rng([seed, 0])
        self._taste = rng.normal(size=(SEGMENTS, CATEGORIES)) * self.taste_spread
        self._level = rng.normal(size=CATEGORIES) * 0.3

    @abstractmethod
    def chances(self, visit: Visit, lists: Ints) -> tuple[Floats, Floats]:
        """P(click) and P(purchase | click) at every place of `lists` [k, m] of candidate indices, each [k, m]."""

    def ranker(self, visit: Visit) -> Floats:
        """What the log's ranker sorts by, [n]."""
        return visit.ctr

    def records(self, n: int, seed: int) -> Iterator[ListRecord]:
        """The first `n` records of log `seed`; 80% are train, 10% valid, 10% test."""
        return (self.record(f"{self.name}-{seed}-{index}") for index in range(n))

    def true_value(self, record: ListRecord, lists: Ints) -> Floats:
        """Expected (clicks, purchases, GMV) of the first 1, 2, … m items of each of `lists` [k, m]: [k, m, 3]."""
        visit = self.visit(record.request_id)
        click, buy = self.chances(visit, lists)
        bought = click * buy
        value: Floats = np.cumsum(np.stack([click, bought, bought * visit.price[lists]], axis=2), axis=1)
        return value

    def record(self, request_id: str) -> ListRecord:
        """The record of that id, always the same."""
        visit = self.visit(request_id)
        shown = np.argsort(-self.ranker(visit), kind="stable")[:SHOWN]
        clicks, bought = self.outcomes(request_id, shown[None])
        return ListRecord(
            request_id=request_id,
            candidates=_candidates(visit),
            exposed=tuple(shown.tolist()),
            clicks=tuple(clicks[0].tolist()),
            purchases=tuple(bought[0].tolist()),
            gmv=tuple((bought[0] * visit.price[shown]).tolist()),
            user={"segment": f"s{visit.segment}"},
            split=share_split(request_id, seed=self.seed),
        )

    def outcomes(self, request_id: str, lists: Ints) -> tuple[Ints, Ints]:
        """Sampled clicks and purchases, 0 or 1, each [k, m], for `lists` [k, m] shown at that request."""
        rng = np.random.default_rng([self.seed, 2, *_numbers(request_id)])
        click, buy = self.chances(self.visit(request_id), lists)
        clicks = (rng.random(lists.shape) < click).astype(np.int64)
        return clicks, clicks * (rng.random(lists.shape) < buy)

    def visit(self, request_id: str) -> Visit:
        """The truth behind a request id."""
        rng = np.random.default_rng([self.seed, 1, *_numbers(request_id)])
        segment, category = int(rng.integers(SEGMENTS)), rng.integers(CATEGORIES, size=CANDIDATES)
        price = np.round(20 * np.exp(self._level[category] + self.price_spread * rng.normal(size=CANDIDATES)), 2)
        own, whim, *errors = rng.normal(size=(4, CANDIDATES))
        click = self.click_bias + self._taste[segment, category] + self.click_spread * own
        buy = self.buy_bias + 0.4 * whim + self.price_slope * np.log(price / 20)
        ctr, cvr = (np.round(expit(x + self.noise * e), 6) for x, e in zip((click, buy), errors, strict=True))
        return Visit(segment, category, price, expit(click), expit(buy), ctr, cvr)

    def fall(self, m: int) -> Floats:
        """What of a click chance the places leave, [m]: 1 at the first."""
        left: Floats = np.exp(-self.decay * np.arange(m))
        return left


def _candidates(visit: Visit) -> tuple[Candidate, ...]:
    columns = (visit.ctr.tolist(), visit.cvr.tolist(), visit.price.tolist(), visit.category.tolist())
    return tuple(
        Candidate(id=f"i{i}", scores={"ctr": ctr, "cvr": cvr}, price=price, features={"category": f"c{category}"})
        for i, (ctr, cvr, price, category) in enumerate(zip(*columns, strict=True))
    )


def _numbers(request_id: str) -> tuple[int, int]:
    _, seed, index = request_id.split("-")
    return int(seed), int(index)
