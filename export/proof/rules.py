"""Draw rules for the requests of a proof, as inputs of a ruled graph.

They are compiled as those of a service are, from candidates with tags of their own: a few brands of very different
sizes, two sources, and shelves, of which there can be more than a graph has groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.contract.arrays import AnyArray, Arrays, Ints
from models.contract.rules.definition import Boost, Cap, Floor, Pin, Rules
from models.contract.rules.ruling import Ruling, compile_rules
from models.contract.rules.sorting import ruled_sort
from models.contract.rules.tensors import rule_tensors
from models.contract.scalars import Scalar

_BRANDS = (0.5, 0.2, 0.15, 0.1, 0.05)
_SHELVES = 60
_NEW = 0.2


@dataclass(frozen=True, slots=True)
class Item:
    """Serve as a candidate or a shown item."""

    id: str
    tags: Mapping[str, Scalar]
    embedding: Sequence[float] | None
    features: Mapping[str, Scalar] = field(default_factory=dict)
    scores: Mapping[str, float | None] = field(default_factory=dict)
    price: float | None = None


def with_rules(request: Arrays, length: int, groups: int, rng: np.random.Generator) -> Arrays:
    """Add the inputs of rules to a request (a batch of one).

    One in four has no rule, and so zeros. Its ``sort_slots`` become the sort's list under those rules, which ends where
    no candidate may stand.
    """
    filled = np.flatnonzero(request["valid"][0])
    slots = np.full(request["valid"].shape[1], -1, np.int64)
    slots[filled] = np.arange(len(filled))
    ruling = _draw_ruling(request, filled, length, rng)
    tensors = rule_tensors(ruling, slots, length=length, groups=groups)
    if rng.random() < 1 / 4:
        return request | {name: np.zeros_like(array)[None] for name, array in tensors.items()}
    sort_slots = ruled_sort(rng.random(len(filled)), slots, length, ruling)
    return request | {name: array[None] for name, array in tensors.items()} | {"sort_slots": sort_slots[None]}


def _draw_ruling(request: Arrays, filled: Ints, length: int, rng: np.random.Generator) -> Ruling:
    """Draw rules for a request, and compile them for its candidates."""
    rows = request["embeddings"][0]
    candidates = [Item(f"c{i}", _tags(rng), _embedding(rows[slot])) for i, slot in enumerate(filled)]
    shown = [
        Item(f"s{i}", _tags(rng), rng.normal(size=rows.shape[1]).tolist() if rng.random() < 0.8 else None)
        for i in range(_perhaps(rng, 0.5) * int(rng.integers(1, 7)))
    ]
    return compile_rules(
        candidates,
        _draw_rules(len(candidates), length, rng),
        shown=[item.id for item in shown],
        shown_items=shown,
        top_n=length,
        mmr_window=int(request["window"][0]),
    )


def _draw_rules(n: int, length: int, rng: np.random.Generator) -> Rules:
    """Draw some rules of every kind, which may contradict each other."""
    pins = min(_perhaps(rng, 0.5) * int(rng.integers(1, 4)), n, length)
    places = rng.permutation(length)[:pins]
    caps = [
        Cap("brand", int(rng.integers(1, 4))),
        Cap(("brand", "source")[_perhaps(rng, 0.3)], int(rng.integers(1, 3)), int(rng.integers(2, length + 3))),
        Cap("shelf", 1),
    ]
    floor = Floor("source", "new", int(rng.integers(1, 4)), int(rng.integers(1, length + 1)))
    boost = Boost({"brand": "b0"}, float(rng.choice([0.5, 1.2, 3.0])))
    return Rules(
        pinned=tuple(Pin(f"c{i}", int(place) + 1) for i, place in zip(rng.permutation(n), places, strict=False)),
        caps=tuple(cap for cap, share in zip(caps, (0.5, 0.5, 0.2), strict=True) if _perhaps(rng, share)),
        floors=(floor,) * _perhaps(rng, 0.4),
        boosts=(boost,) * _perhaps(rng, 0.5),
    )


def _tags(rng: np.random.Generator) -> dict[str, Scalar]:
    """Draw an item's tags; some lack a brand."""
    source = "new" if rng.random() < _NEW else "old"
    tags: dict[str, Scalar] = {"source": source, "shelf": int(rng.integers(_SHELVES))}
    if rng.random() < 0.9:
        tags["brand"] = f"b{rng.choice(len(_BRANDS), p=_BRANDS)}"
    return tags


def _embedding(row: AnyArray) -> list[float] | None:
    """Return a slot's embedding as a candidate holds it; zeros are none."""
    return [float(x) for x in row] if row.any() else None


def _perhaps(rng: np.random.Generator, share: float) -> int:
    """Draw 1 with a probability, else 0."""
    return int(rng.random() < share)
