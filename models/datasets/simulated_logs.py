"""What a platform would have logged of the simulator's world: list records, sampled from the truth.

The exposed list is a random order (Plackett-Luce over a formula of the prior scores), so the logs hold each item in
many contexts. Users are split by hash. The prior scores know item and user, with noise, and nothing of the list.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from models.datasets.simulator import DEVICES, Ints, SimulatedRequest, Simulator
from models.datasets.splits import share_split
from models.lists import Candidate, ListRecord

EXPOSURE: Final = "log(ctr) + 0.3·log(cvr·price), divided by the temperature, plus Gumbel noise"


def simulate_lists(
    simulator: Simulator, *, seed: int, lists: int, length: int, temperature: float = 1.0
) -> Iterator[ListRecord]:
    """The first `lists` records of log `seed`, with `length` exposed items each."""
    if lists < 1:
        raise ValueError(f"lists must be at least 1, not {lists}")
    if not 1 <= length <= simulator.config.candidates:
        raise ValueError(f"length must be between 1 and the {simulator.config.candidates} candidates, not {length}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    return (to_record(simulator, r, length=length, temperature=temperature) for r in simulator.requests(seed, lists))


def to_record(simulator: Simulator, request: SimulatedRequest, *, length: int, temperature: float = 1.0) -> ListRecord:
    """Expose and sample one request. The same request always gives the same record."""
    rng = np.random.default_rng([simulator.config.seed, 2, request.seed, request.index])
    exposed = expose(request, length=length, temperature=temperature, rng=rng)
    click, purchase = sample_outcomes(simulator, request, exposed[None, :], rng=rng)
    gmv = purchase[0] * request.price[exposed]
    return ListRecord(
        request_id=request.request_id,
        candidates=to_candidates(simulator, request),
        exposed=tuple(exposed.tolist()),
        clicks=tuple(click[0].tolist()),
        purchases=tuple(purchase[0].tolist()),
        gmv=tuple(gmv.tolist()),
        user={
            "favourite": f"c{simulator.favourite[request.user]}",
            "thrift": round(float(simulator.thrift[request.user]), 2),
        },
        context={"device": DEVICES[request.device]},
        split=share_split(f"user-{request.user}", seed=simulator.config.seed),
    )


def expose(request: SimulatedRequest, *, length: int, temperature: float, rng: np.random.Generator) -> Ints:
    """The logging policy: candidate indices [length] in the order shown (see `EXPOSURE`)."""
    utility = np.log(request.ctr) + 0.3 * np.log(request.cvr * request.price)
    order: Ints = np.argsort(-(utility / temperature + rng.gumbel(size=len(utility))), kind="stable")
    return order[:length]


def sample_outcomes(
    simulator: Simulator, request: SimulatedRequest, lists: Ints, *, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Sampled clicks and purchases, 0 or 1, each [n, m], for `lists` [n, m] of candidate indices."""
    click_probability, purchase_probability = simulator.probabilities(request, lists)
    clicks = (rng.random(lists.shape) < click_probability).astype(np.int64)
    purchases = clicks * (rng.random(lists.shape) < purchase_probability)
    return clicks, purchases


def to_candidates(simulator: Simulator, request: SimulatedRequest) -> tuple[Candidate, ...]:
    """The request's candidates as an upstream ranker would hand them over: no truth, only features and priors."""
    return tuple(
        Candidate(
            id=f"i{item}",
            scores={"ctr": ctr, "cvr": cvr},
            price=price,
            features={
                "item": f"i{item}",
                "category": f"c{category}",
                "style": f"c{category}s{style}",
            },
            embedding=tuple(embedding),
        )
        for item, category, style, price, ctr, cvr, embedding in zip(
            request.items.tolist(),
            simulator.category[request.items].tolist(),
            simulator.style[request.items].tolist(),
            request.price.tolist(),
            np.round(request.ctr, 6).tolist(),
            np.round(request.cvr, 6).tolist(),
            simulator.embedding[request.items].tolist(),
            strict=True,
        )
    )


def describe(simulator: Simulator, *, seed: int, lists: int, length: int, temperature: float) -> dict[str, Any]:
    """The metadata of a simulated list file: everything needed to draw it, and its truth, again."""
    return {
        "source": "simulator",
        "simulated": True,
        "config": dataclasses.asdict(simulator.config),
        "seed": seed,
        "lists": lists,
        "length": length,
        "temperature": temperature,
        "exposure": EXPOSURE,
        "split": "hash of the user, 80/10/10",
        "embedding": "noisy item latent beside half the category's one-hot vector",
    }
