"""Draw random and edge-case requests for a generation graph, in its encoded form.

They need no data: a graph must equal its reference on any input, so standard normals do. The edge cases are those where
implementations part: ties, empty and short queues, fewer candidates than positions, λ = 0 and 1, window 0, missing
embeddings, a single objective, and where their number is free, from one slot to as many as the bundle allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.proof.rules import with_rules
from models.contract.arrays import Arrays
from models.contract.features import PRIOR_SCORES, encode_preferences
from models.contract.manifest import Limits
from models.contract.spec import FeatureSpec

_EMBEDDING: Final = 8
_COMMON: Final = 0.5
_FEW: Final = 3
_WEIGHTS: Final = ((5.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 20.0, 3.0))


@dataclass(frozen=True, slots=True)
class RequestShape:
    """Shape a request: filled slots, share of candidates with embeddings, twins."""

    full: bool = False
    embedded: float = 0.9
    twins: bool = False


def random_requests(
    spec: FeatureSpec, limits: Limits, count: int, seed: int, *, any_slots: bool = False, groups: int = 0
) -> Iterator[Arrays]:
    """Draw `count` batches of one, every combination of edge cases in turn, with preferences.

    With `any_slots` each has a number of slots of its own, up to that of the limits, in a single queue. With `groups`
    each has the inputs of rules too; it is the same request otherwise.
    """
    rng = np.random.default_rng(seed)
    sizes = _sizes(limits)
    for i in range(count):
        shape = RequestShape(full=i % 2 == 0, embedded=(1.0, 0.8, 0.0)[i % 3], twins=i % 5 == 4)
        own = replace(limits, queues=1, queue_length=sizes[i % len(sizes)]) if any_slots else limits
        request = random_request(spec, own, int(rng.integers(2**31)), shape)
        trade_off = (0.0, 1.0, float(rng.random()), 0.8)[i % 4]
        weights = _WEIGHTS[i % len(_WEIGHTS)]
        wished = with_preferences(request, weights, trade_off, int(rng.integers(limits.list_length + 1)))
        if groups:
            wished = with_rules(wished, limits.list_length, groups, np.random.default_rng((seed, i)))
        # Every seventh sort names fewer than there are, down to none: its list must not be kept.
        most = int(rng.integers(limits.list_length)) if i % 7 == 6 else limits.list_length
        wished["sort_slots"][:, most:] = -1
        yield wished


def _sizes(limits: Limits) -> list[int]:
    """Return seven numbers of slots, so that each meets each of the other edge cases."""
    length = limits.list_length
    sizes = [1, 2, max(1, length - 1), length, length + 1, 3 * length, limits.slots]
    return [min(size, limits.slots) for size in sizes]


def random_request(spec: FeatureSpec, limits: Limits, seed: int, shape: RequestShape | None = None) -> Arrays:
    """Draw a batch of one, without preferences; a twin copies the slot before it.

    ``sort_slots`` int64 [1, L] is a plain sort's list of its filled slots, in random order.
    """
    shape = shape or RequestShape()
    rng = np.random.default_rng(seed)
    n = limits.slots
    filled = rng.integers(0, limits.queue_length + 1, limits.queues)
    filled[rng.integers(limits.queues)] = rng.integers(1, limits.queue_length + 1)
    valid = (np.arange(limits.queue_length) < filled[:, None]).reshape(1, n) | shape.full
    unit = _normal(rng, 1, n, _EMBEDDING)
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    unit[~valid | (rng.random((1, n)) > shape.embedded)] = 0  # empty slots come without an embedding
    arrays: Arrays = {
        "user_ids": _ids(rng, [f.rows for f in spec.user_categoricals], 1),
        "user_numbers": _normal(rng, 1, len(spec.user_numbers)),
        "item_ids": _ids(rng, [f.rows for f in spec.item_categoricals], n)[None],
        "item_numbers": _normal(rng, 1, n, len(spec.item_numbers)),
        "item_scores": _normal(rng, 1, n, len(spec.scores)),
        "priors": _normal(rng, 1, n, len(PRIOR_SCORES)),
        "price": np.exp(_normal(rng, 1, n)),
        "embeddings": unit,
        "valid": valid,
    }
    if shape.twins:
        for name in ("item_ids", "item_numbers", "item_scores", "priors", "price"):
            arrays[name][:, 1::2] = arrays[name][:, : n - n % 2 : 2]
        unit[:, 1::2] = np.where(valid[:, 1::2, None], unit[:, : n - n % 2 : 2], 0)
    arrays["sort_slots"] = np.full((1, limits.list_length), -1, np.int64)
    chosen = rng.permutation(np.flatnonzero(valid[0]))[: limits.list_length]
    arrays["sort_slots"][0, : len(chosen)] = chosen
    return arrays


def with_preferences(arrays: Arrays, weights: tuple[float, float, float], trade_off: float, window: int) -> Arrays:
    """Add α, β, γ, λ and the window to a request."""
    return arrays | {name: value[None] for name, value in encode_preferences(weights, trade_off, window).items()}


def stack(requests: Sequence[Arrays]) -> Arrays:
    """Stack requests as one batch; those with fewer slots than others are given empty ones."""
    return {name: np.concatenate(_padded([r[name] for r in requests], name)) for name in requests[0]}


def _padded(arrays: list[NDArray[np.generic]], name: str) -> list[NDArray[np.generic]]:
    """Pad arrays of one input to the longest along every axis: slots are what differs."""
    longest, empty = np.max([array.shape for array in arrays], axis=0), -1 if name == "sort_slots" else 0
    return [
        np.pad(
            array, [(0, most - size) for most, size in zip(longest, array.shape, strict=True)], constant_values=empty
        )
        for array in arrays
    ]


def _normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return np.asarray(rng.normal(size=shape), np.float32)


def _ids(rng: np.random.Generator, rows: list[int], n: int) -> NDArray[np.int64]:
    """Draw rows [n, C], each within its field's part, every other among its first few."""
    offsets = np.cumsum([0, *rows])[:-1]
    few = [np.where(rng.random(n) < _COMMON, min(size, _FEW), size) for size in rows]
    columns = [offset + rng.integers(0, size) for offset, size in zip(offsets, few, strict=True)]
    return np.array(columns, np.int64).reshape(len(rows), n).T
