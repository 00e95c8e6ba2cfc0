"""Make requests that a bundle can answer, from its manifest alone."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.contract.arrays import Arrays
from models.contract.formulas import compile_formula
from models.contract.manifest import Manifest
from models.contract.rules.tensors import LIFTS, MEMBERS, ROOM, SEEN, STEP_BARS, room_rows
from models.contract.scalars import Scalar
from models.contract.spec import Category, Field, Hashed
from models.contract.tensor_specs import RuledGraph
from service.contract.field_values import NOT_SCORES
from service.inference.engine import RequestArrays

CANDIDATES: Final = 100
"""Number of candidates in the request."""

_KINDS: Final = 4
_WIDTH: Final = 3
_BRANDS: Final = 7


def example_request(
    manifest: Manifest, *, candidates: int = CANDIDATES, explain: bool = True, embedding_width: int = 0
) -> dict[str, Any]:
    """Make a request with every field, score and embedding that the bundle names.

    The model knows all values in it, so its answer carries no warnings. `embedding_width` is that of a catalogue's
    embeddings, 0 if there are none.
    """
    spec = manifest.spec
    formulas = [q.score for q in manifest.queues] + [manifest.fallback]
    named = {name for text in formulas for name in compile_formula(text).names} - NOT_SCORES
    scores = sorted(named | {f.name for f in spec.scores})
    return {
        "user": {f.name: _value(f) for f in spec.user},
        "context": {f.name: _value(f) for f in spec.context},
        "candidates": [
            {
                "id": str(i),
                "scores": dict.fromkeys(scores, (i + 1) / (candidates + 1)),
                "price": 10.0 + i,
                "features": {f.name: _value(f, i) for f in spec.item},
                "embedding": [1.0, *(float(i % (7 + 4 * k)) for k in range((embedding_width or _WIDTH) - 1))],
            }
            for i in range(candidates)
        ],
        "top_n": min(manifest.limits.list_length + 1, candidates),
        "explain": explain,
    }


def with_rules(request: dict[str, Any]) -> dict[str, Any]:
    """Give an example request a pin, a boost, and two caps that can be kept."""
    candidates = [
        {**made, "tags": {"kind": f"kind-{i % _KINDS}", "brand": f"brand-{i % _BRANDS}"}}
        for i, made in enumerate(request["candidates"])
    ]
    rules = {
        "pinned": [{"id": candidates[-1]["id"], "position": 1}],
        "caps": [
            {"by": "kind", "limit": 2, "window": _KINDS},
            {"by": "brand", "limit": 2 + request["top_n"] // _BRANDS},
        ],
        "boosts": [{"where": {"brand": "brand-0"}, "factor": 1.2}],
    }
    return {**request, "candidates": candidates, "rules": rules}


def with_rule_tensors(row: RequestArrays, manifest: Manifest, ruled: RuledGraph) -> Arrays:
    """Give an encoded request the tensors of some rules.

    They are a pin, two caps, boosts, and a cosine to shown items; an encoded request that has rules has its own.
    """
    valid, length = row["valid"], manifest.limits.list_length
    slots = len(valid)
    bars, seen = np.zeros((2, length, slots), np.float32)
    pinned, place = int(np.flatnonzero(valid)[-1]), min(1, length - 1)
    bars[:, pinned] = bars[place] = 1
    bars[place, pinned] = 0
    seen[0] = 2.5
    members = np.zeros((slots, ruled.groups), np.float32)
    members[::2, 0] = members[1::3, -1] = 1
    # Of the first group one more is allowed wherever the last two picks hold less than two of it; of others always.
    room = np.full((room_rows(length), ruled.groups), length, np.float32)
    for step in range(place + 1, length):
        room[room_rows(step) : room_rows(step) + 2, 0] = 2
    lifts = np.where(np.arange(slots) % 5, 0, 0.2).astype(np.float32)
    return {**row, STEP_BARS: bars, MEMBERS: members, ROOM: room, LIFTS: lifts, SEEN: seen}


def _value(field: Field, i: int = 0) -> Scalar:
    if isinstance(field, Category):
        return field.vocabulary[i % len(field.vocabulary)] if field.vocabulary else None
    return f"id-{i}" if isinstance(field, Hashed) else field.default
