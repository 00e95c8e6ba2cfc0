"""Draw random requests with rules: many kinds of rule at once, feasible and infeasible."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from models.contract.arrays import Ints
from models.contract.rules.definition import Boost, Cap, Floor, Pin, Rules
from models.contract.rules.ruling import Ruling, compile_rules
from models.contract.scalars import Scalar
from tests.models.contract.rules.examples import Item

FIELDS = ("brand", "category", "source", "nowhere")
VALUES: tuple[Scalar, ...] = ("a", "b", "c", 1, 2.0, 2.5, True, "true", "1")


@dataclass(frozen=True, slots=True)
class Case:
    """Hold a request's parts, the graph's places, and a seed for what a test chooses by itself."""

    candidates: list[Item]
    rules: Rules
    shown: list[str]
    shown_items: list[Item]
    top_n: int
    length: int
    mmr_window: int
    seed: int

    def ruling(self) -> Ruling:
        return compile_rules(
            self.candidates,
            self.rules,
            shown=self.shown,
            shown_items=self.shown_items,
            top_n=self.top_n,
            mmr_window=self.mmr_window,
        )

    def ranked(self) -> list[int]:
        """All candidates in a random order."""
        return random.Random(self.seed).sample(range(len(self.candidates)), len(self.candidates))

    def slots(self, ruling: Ruling) -> Ints:
        """Some of the candidates that may be returned, all pins of the graph's places among them, with empty slots."""
        chance = random.Random(self.seed)
        share = chance.choice([0.3, 0.8, 1.0])
        pins = {candidate for place, candidate in ruling.pins.items() if place < self.length}
        dealt = [i for i in self.ranked() if ruling.allowed[i] and (i in pins or chance.random() < share)]
        empty = chance.randrange(3)
        return np.array(chance.sample([*dealt, *[-1] * empty], len(dealt) + empty), np.int64)


def item(name: str, chance: random.Random, skew: float) -> Item:
    """Draw an item: brands are skewed, categories are of all types, and a source is a tag or a feature or both."""
    tags: dict[str, Scalar] = {"brand": "abcdefgh"[min(int(chance.expovariate(skew)), 7)]}
    features: dict[str, Scalar] = {"category": chance.choice([*VALUES, None])}
    if chance.random() < 0.5:
        tags["source"] = chance.choice(["a", "b", None])
    if chance.random() < 0.5:
        features["source"] = chance.choice(["b", "c"])
    if chance.random() < 0.1:
        del tags["brand"]
    embedding = [chance.gauss(0, 1) for _ in range(3)] if chance.random() < 0.7 else None
    return Item(name, tags, features, embedding)


_BY = st.sampled_from(FIELDS)
_VALUE = st.sampled_from(VALUES)
_LENGTHS = (1, 4, 10, 50)
_SHARE = st.integers(0, 999)
"""A number of thousandths. What depends on sizes is drawn as shares, since building strategies takes the longest."""

_CAP = st.builds(Cap, _BY, st.integers(1, 4), st.none() | st.integers(1, 12) | st.just(1_000))
_WANTED = st.sampled_from(
    [*(("brand", b) for b in "aab"), *(("source", s) for s in "abc"), ("category", 1), ("nowhere", "a")]
)
_FLOOR = st.tuples(_WANTED, st.integers(1, 4), _SHARE)
_BOOST = st.builds(Boost, st.dictionaries(_BY, _VALUE, min_size=1, max_size=2), st.sampled_from([0.5, 1.0, 2.0]))
_RULES = st.tuples(
    st.dictionaries(_SHARE, _SHARE, max_size=4),
    st.lists(_SHARE, max_size=3),
    st.lists(_CAP, max_size=4),
    st.lists(_FLOOR, max_size=2),
    st.lists(_BOOST, max_size=2),
)
_SIZES = st.tuples(
    st.integers(1, 12) | st.integers(1, 200),
    st.sampled_from(_LENGTHS),
    st.none() | _SHARE,
    st.sampled_from([0, 0, 1, 4, 20]),
)
_SHOWN = st.tuples(st.integers(0, 6), st.lists(st.tuples(st.booleans(), _SHARE), max_size=10))


def _part(share: int, most: int) -> int:
    """Turn a share into a number from 0 to `most`."""
    return share * (most + 1) // 1_000


def _rules(drawn: Any, n: int, top_n: int) -> Rules:
    """Some ids are no candidates, and some pins lie past `top_n`; no two pins contradict each other."""
    pins, blocked, caps, floors, boosts = drawn
    positions = {f"c{_part(i, n)}": 1 + _part(at, top_n) for at, i in pins.items()}
    unique = {position: name for name, position in positions.items()}
    return Rules(
        pinned=tuple(Pin(name, position) for position, name in unique.items()),
        blocked=frozenset(f"c{_part(i, n)}" for i in blocked),
        caps=tuple(caps),
        floors=tuple(Floor(by, value, least, 1 + _part(within, top_n + 2)) for (by, value), least, within in floors),
        boosts=tuple(boosts),
    )


def _case(seed: int, sizes: Any, drawn_rules: Any, drawn_shown: Any) -> Case:
    n, length, share, mmr_window = sizes
    known, shown = drawn_shown
    top_n = length if share is None else 1 + _part(share, length + 4)
    chance = random.Random(seed)
    skew = chance.choice([0.3, 1.0, 3.0])
    return Case(
        candidates=[item(f"c{i}", chance, skew) for i in range(n)],
        rules=_rules(drawn_rules, n, top_n),
        shown=[f"c{_part(i, n)}" if is_candidate else f"s{_part(i, 7)}" for is_candidate, i in shown],
        shown_items=[item(f"s{i}", chance, skew) for i in range(known)],
        top_n=top_n,
        length=length,
        mmr_window=mmr_window,
        seed=seed,
    )


CASES = st.builds(_case, st.integers(0, 2**32), _SIZES, _RULES, _SHOWN)
