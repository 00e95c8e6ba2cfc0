"""Shuffle one logged list, sort it by a formula, or write it as a request.

Only items that were shown take part, since the others have no outcome. An order is an array of places in the list as
it was shown, best first. Requests and sorts start from one shuffle, so neither the input order nor a tie can carry the
order that was shown.

There is no feature spec here, and so no default for a missing score: a list with one raises an error.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from models.contract.arrays import Ints
from models.contract.formulas import compile_formula
from models.contract.partition import descending
from models.contract.slots import ScoreTable
from models.contract.spec import FeatureSpec
from models.data.lists import Candidate, ListRecord

Order = Ints
_NO_WEIGHTS: Final = (0.0, 0.0, 0.0)


def neutral_order(record: ListRecord, *, seed: int) -> Order:
    """Shuffle by the seed and the request id alone."""
    rng = np.random.default_rng([seed, zlib.crc32(record.request_id.encode())])
    return rng.permutation(len(record.exposed))


def sorted_order(record: ListRecord, formula: str, start: Order) -> Order:
    """Sort `start` by a formula of scores and price, best first.

    Ties stay as they stand in `start`.

    Raises `ValueError` naming the list, and the score that an item lacks or the value that is not finite.
    """
    candidates = [record.candidates[record.exposed[i]] for i in start.tolist()]
    table = ScoreTable(candidates, _NO_WEIGHTS, FeatureSpec())
    for name in sorted(compile_formula(formula).names):
        missing = np.isnan(table.read(name))
        if missing.any():
            item = candidates[int(missing.argmax())].id
            raise ValueError(f"list {record.request_id!r}: item {item!r} has no {name!r}, which {formula} needs")
    values = table.score(formula, "", needed_by="the sort")
    if not np.isfinite(values).all():
        item = candidates[int(np.isfinite(values).argmin())].id
        raise ValueError(f"list {record.request_id!r}: {formula} is not finite for item {item!r}")
    return start[descending(values)]


def request_body(record: ListRecord, start: Order, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write the request for all shown items, in the order of `start`.

    `options` holds its other fields.
    """
    candidates = [_candidate(record.candidates[record.exposed[i]]) for i in start.tolist()]
    return {
        "request_id": record.request_id,
        "user": dict(record.user),
        "context": dict(record.context),
        "candidates": candidates,
        "top_n": len(candidates),
        **options,
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    table = {
        "id": candidate.id,
        "scores": dict(candidate.scores),
        "features": dict(candidate.features),
        "price": candidate.price,
        "embedding": None if candidate.embedding is None else list(candidate.embedding),
    }
    return {key: value for key, value in table.items() if value is not None}
