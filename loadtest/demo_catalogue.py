"""Show in the demo that ids and scores suffice with a catalogue."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from loadtest.requests.forms import in_form
from loadtest.rig.server import ServerError
from loadtest.rig.statistics import Latency

NO_CATALOGUE: Final = "\n  No catalogue of items stands beside the bundle, so it is left out (see docs/catalogue.md)."
_CANDIDATES: Final = 100
_PAYLOADS: Final = 32

Json = Mapping[str, Any]
Rerank = Callable[[Json], Json]
Quick = Callable[[Sequence[bytes]], Latency]
"""Times requests, one after the other."""


def as_columns(request: Json) -> dict[str, Any]:
    """Return a request that says only ids and scores of its candidates, as columns."""
    return {**request, "candidates": in_form(request["candidates"], "catalogue", "arrays")}


def catalogue_lines(requests: Sequence[Json], rerank: Rerank, quick: Quick) -> Iterator[str]:
    """Compare requests that say all with those that name items of the catalogue.

    Raises `ServerError` if a list is not the same.
    """
    for request in requests:
        whole, short = rerank(request)["items"], rerank(as_columns(request))["items"]
        if whole != short:
            raise ServerError(f"the catalogue gives another list for request {request['request_id']!r}")
    yield f"\n  With a catalogue of items, ids and scores alone gave the same lists for all {len(requests)} requests."
    yield f"  {f'a request of {_CANDIDATES} candidates':<42}  {'body KB':>8}  {'p50 ms':>7}  {'p99 ms':>7}"
    drawn = [_draw(requests, seed) for seed in range(_PAYLOADS)]
    for title, forms in (
        ("objects that say all of every item", drawn),
        ("columns of ids and scores, and a catalogue", [as_columns(request) for request in drawn]),
    ):
        bodies = [msgspec.json.encode(form) for form in forms]
        latency = quick(bodies)
        size = sum(map(len, bodies)) / len(bodies) / 1e3
        yield f"  {title:<42}  {size:>8.1f}  {latency.p50:>7.2f}  {latency.p99:>7.2f}"


def _draw(requests: Sequence[Json], seed: int) -> dict[str, Any]:
    """Make a request of candidates of all requests."""
    known = {candidate["id"]: candidate for request in requests for candidate in request["candidates"]}
    chance = random.Random(seed)
    ids = chance.sample(sorted(known), min(_CANDIDATES, len(known)))
    return {**requests[seed % len(requests)], "candidates": [known[name] for name in ids]}
