"""Plan lists greedily over dealt queues, with random step values, and count those that end early."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.contract.arrays import Ints
from models.contract.manifest import Partition
from models.contract.rules.dealing import ruled_partition
from models.contract.rules.definition import Cap, Floor, Pin, Rules
from models.contract.rules.ledger import Ledger
from models.contract.rules.ruling import Ruling, compile_rules
from tests.models.contract.rules.examples import Item

LENGTH = 10
TRIES = 5


@dataclass(frozen=True, slots=True)
class Setting:
    """Hold what the drawn lists have in common."""

    caps: tuple[Cap, ...]
    pins: int = 0
    floors: tuple[Floor, ...] = ()


def skewed(n: int, rng: np.random.Generator) -> list[Item]:
    """Draw candidates: brands and categories follow Zipf's law, and a sixth of the items is new."""
    exponent = rng.uniform(0.8, 1.6)
    brands, categories = (_zipf(kinds, exponent, n, rng) for kinds in (30, 12))
    new = rng.random(n) < 1 / 6
    return [
        Item(f"c{i}", {"brand": f"b{b}", "category": f"k{k}", "source": "new" if is_new else "old"})
        for i, (b, k, is_new) in enumerate(zip(brands, categories, new, strict=True))
    ]


def _zipf(kinds: int, exponent: float, n: int, rng: np.random.Generator) -> list[int]:
    shares = np.arange(1, kinds + 1) ** -exponent
    found: list[int] = rng.choice(kinds, n, p=shares / shares.sum()).tolist()
    return found


def greedy(ruling: Ruling, queues: Ints, heads: int, rng: np.random.Generator) -> int:
    """Count the places of a list that takes, at each step, the best of each queue's first free `heads`."""
    ledger = Ledger(ruling)
    for place in range(min(LENGTH, ruling.length)):
        free = np.append(ledger.open(), False)  # an empty place, −1, is never free
        offered = np.concatenate([queue[free[queue]][:heads] for queue in queues])
        if not len(offered):
            return place
        ledger.put(int(rng.choice(offered)))
    return ledger.place


def is_feasible(ruling: Ruling, rng: np.random.Generator) -> bool:
    """Tell whether one of a few random orders of all candidates makes a whole list within the rules."""
    everything = np.arange(len(ruling.allowed))[None]
    if ruling.relaxed:
        return False
    return any(greedy(ruling, everything, len(ruling.allowed), rng) == ruling.length for _ in range(TRIES))


def early_ends(setting: Setting, cases: int, seed: int) -> tuple[int, int]:
    """Count the lists that end early, and the feasible ones of which they are."""
    rng = np.random.default_rng(seed)
    early = feasible = 0
    for case in range(cases):
        items = skewed(int(rng.integers(20, 201)), rng)
        pinned = zip(rng.choice(len(items), setting.pins, replace=False), rng.permutation(LENGTH), strict=False)
        pins = tuple(Pin(f"c{i}", int(place) + 1) for i, place in pinned)
        ruling = compile_rules(items, Rules(pins, caps=setting.caps, floors=setting.floors), top_n=LENGTH)
        if not is_feasible(ruling, rng):
            continue
        feasible += 1
        strategy: Partition = "dfs" if case % 2 else "bfs"
        # Queues that agree in part, and value brands: a brand's items stand together.
        common = rng.normal(size=len(items)) + np.array([brand_worth(item) for item in items])
        scores = common + rng.normal(size=(int(rng.integers(1, 5)), len(items))) * rng.uniform(0, 2)
        queues = ruled_partition(scores, ruling, strategy, LENGTH, steps=LENGTH, groups=32)
        early += greedy(ruling, queues, int(rng.integers(1, 3)), rng) < ruling.length
    return early, feasible


def brand_worth(item: Item) -> float:
    """Give a brand's worth: the commonest are the best, so that without quotas they would fill the queues."""
    return 3.0 / (1 + int(str(item.tags["brand"])[1:]))
