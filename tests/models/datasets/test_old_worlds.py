"""Worlds that were declared before brands, click anchoring, miscalibration and exploration came: they stay the same.

The demo bundle's truth and list files that users have depend on it. The hash was computed by the code before those
parts. Figures are rounded, because processors differ in the last digits of an exponential.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from models.data.records import ListRecord
from models.datasets.simulated_logs import load
from models.datasets.simulator import Simulator, SimulatorConfig

CONFIG = SimulatorConfig(
    kappa=1.3, seed=5, users=60, items=90, candidates=12, categories=5, prior_noise=0.35, memory=0.7
)
OF_OLD = "1b217b6b6a29e7fbaa5f7911eedad3c6bbd0ee6618b9c8088d8e3569a692ed14"


def rounded(values: NDArray[np.float64]) -> list[float]:
    return (np.round(values, 9) + 0.0).ravel().tolist()


def requests_and_values() -> Iterator[object]:
    """The requests, their truth and their prior scores, and the values of random lists."""
    world, rng = Simulator(CONFIG), np.random.default_rng(0)
    for seed, index in ((0, 0), (0, 1), (4, 7)):
        request = world.request(seed, index)
        yield request.items.tolist(), request.user, request.device
        for values in (request.price, request.relevance, request.appeal, request.similarity, request.follows):
            yield rounded(values)
        yield rounded(request.ctr), rounded(request.cvr)
        yield rounded(world.list_value(request, np.argsort(rng.random((6, 12)), axis=1)[:, :7]))


def logged(record: ListRecord) -> Iterator[object]:
    yield record.request_id, record.exposed, record.clicks, record.purchases, record.gmv, record.split
    yield sorted(record.user.items()), sorted(record.context.items())
    for candidate in record.candidates:
        yield candidate.id, candidate.price, candidate.embedding
        yield sorted(candidate.scores.items()), sorted(candidate.features.items())


def test_a_world_of_old_has_the_requests_truth_and_logs_that_it_had() -> None:
    seen = [*requests_and_values()]
    for record in load(CONFIG, seed=3, lists=40, length=7).records:
        seen += logged(record)
    for record in load(CONFIG, seed=4, lists=10, length=3, temperature=0.2).records:
        seen += logged(record)
    assert hashlib.sha256(repr(seen).encode()).hexdigest() == OF_OLD
