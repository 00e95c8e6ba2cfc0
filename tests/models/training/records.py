"""Tiny list records for the tests of training."""

from __future__ import annotations

import numpy as np

from models.data.records import Candidate, ListRecord, Split


def make_record(
    index: int, *, seed: int = 0, shown: int = 4, candidates: int = 6, split: Split = "train"
) -> ListRecord:
    """A request whose clicks follow its prior scores and whose purchases are some of its clicks."""
    rng = np.random.default_rng([seed, index])
    ctr = rng.uniform(0.05, 0.9, candidates)
    price = np.round(rng.lognormal(3, 1, candidates), 2)
    exposed = rng.permutation(candidates)[:shown]
    clicks = (rng.random(shown) < ctr[exposed]).astype(int)
    purchases = clicks * (rng.random(shown) < 0.5)
    return ListRecord(
        request_id=f"r-{index}",
        candidates=tuple(
            Candidate(
                id=f"i{i}",
                scores={"ctr": float(ctr[i]), "cvr": float(ctr[i] / 3)},
                price=float(price[i]),
                features={"category": f"c{(index + i) % 3}", "stars": float(i % 5), "new": bool(i % 2)},
            )
            for i in range(candidates)
        ),
        exposed=tuple(exposed.tolist()),
        clicks=tuple(clicks.tolist()),
        purchases=tuple(purchases.tolist()),
        gmv=tuple((purchases * price[exposed]).tolist()),
        user={"age": 20.0 + index % 40, "plan": "pro" if index % 2 else "free"},
        context={"hour": index % 24},
        split=split,
    )


def make_records(count: int, *, seed: int = 0, shown: int = 4, split: Split = "train") -> list[ListRecord]:
    """`count` different records of one split."""
    return [make_record(i, seed=seed, shown=shown, split=split) for i in range(count)]
