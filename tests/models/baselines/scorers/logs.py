"""A made-up log in which the quality of items decides, and better items stand lower."""

from __future__ import annotations

import numpy as np

from models.data.records import Candidate, ListRecord


def logged(count: int, *, seed: int = 0) -> list[ListRecord]:
    """P(click) = quality · 0.6^position, better items mostly shown lower; P(purchase | click) = 1 − quality."""
    rng = np.random.default_rng(seed)
    records = []
    for index in range(count):
        quality = rng.uniform(0.1, 0.9, 4)
        order = np.argsort(quality + rng.normal(0, 0.3, 4))
        click = (rng.random(4) < quality[order] * 0.6 ** np.arange(4)).astype(int)
        buy = click * (rng.random(4) < 1 - quality[order])
        candidates = tuple(Candidate(f"i{i}", features={"quality": float(q)}) for i, q in enumerate(quality))
        labels = tuple(click.tolist()), tuple(buy.tolist())
        records.append(ListRecord(f"r{index}", candidates, tuple(order.tolist()), *labels))
    return records
