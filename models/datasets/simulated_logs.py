"""Sample list records from the simulator's world, as a platform would have logged them.

The exposed list is a random order (Plackett-Luce over a formula of the prior scores), so the logs hold each item in
many contexts. Users are split by hash. The prior scores know item and user, with noise, and nothing of the list. The
item's id is no feature: with about thirty clicks an item a model would memorise items and learn less of the context.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from models.contract.arrays import Ints
from models.data.records import Candidate, ListRecord
from models.datasets.simulator import DEVICES, SimulatedRequest, Simulator, SimulatorConfig
from models.datasets.source import ListSource
from models.datasets.splits import share_split

EXPOSURE: Final = "log(ctr) + 0.3·log(cvr·price), divided by the temperature, plus Gumbel noise"


def load(config: SimulatorConfig, *, seed: int, lists: int, length: int, temperature: float = 1.0) -> ListSource:
    """Load the first `lists` records of log `seed`, with `length` exposed items each."""
    for name, value, least in (("lists", lists, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")
    if not 1 <= length <= config.candidates:
        raise ValueError(f"length must be between 1 and the {config.candidates} candidates, not {length}")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive, not {temperature}")
    simulator = Simulator(config)
    requests = (simulator.request(seed, index) for index in range(lists))
    records = (_record(simulator, r, length=length, temperature=temperature) for r in requests)
    metadata = {
        "source": "simulator",
        "simulated": True,
        "config": dataclasses.asdict(config),
        "seed": seed,
        "lists": lists,
        "length": length,
        "temperature": temperature,
        "exposure": EXPOSURE,
        "split": "hash of the user, 80/10/10",
        "prior": "the truth of item and user without list context, with noise per item and per request and item",
        "embedding": "noisy item latent beside half the category's one-hot vector",
    }
    return ListSource(records, lists, metadata)


def _record(simulator: Simulator, request: SimulatedRequest, *, length: int, temperature: float) -> ListRecord:
    """Expose and sample one request. The same request always gives the same record."""
    rng = np.random.default_rng([simulator.config.seed, 2, request.seed, request.index])
    exposed = expose(request, length=length, temperature=temperature, rng=rng)
    click, purchase = sample_outcomes(simulator, request, exposed[None, :], rng=rng)
    return ListRecord(
        request_id=request.request_id,
        candidates=tuple(_candidates(simulator, request)),
        exposed=tuple(exposed.tolist()),
        clicks=tuple(click[0].tolist()),
        purchases=tuple(purchase[0].tolist()),
        gmv=tuple((purchase[0] * request.price[exposed]).tolist()),
        user={
            "favourite": f"c{simulator.favourite[request.user]}",
            "thrift": round(float(simulator.thrift[request.user]), 2),
        },
        context={"device": DEVICES[request.device]},
        split=share_split(f"user-{request.user}", seed=simulator.config.seed),
    )


def expose(request: SimulatedRequest, *, length: int, temperature: float, rng: np.random.Generator) -> Ints:
    """Draw the logging policy's list: candidate indices [length] in the order shown. See `EXPOSURE`."""
    utility = np.log(request.ctr) + 0.3 * np.log(request.cvr * request.price)
    order: Ints = np.argsort(-(utility / temperature + rng.gumbel(size=len(utility))), kind="stable")
    return order[:length]


def sample_outcomes(
    simulator: Simulator, request: SimulatedRequest, lists: Ints, *, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Sample clicks and purchases, 0 or 1, each [n, m], of `lists` [n, m]. `lists` hold candidate indices."""
    click_probability, purchase_probability = simulator.probabilities(request, lists)
    clicks = (rng.random(lists.shape) < click_probability).astype(np.int64)
    purchases = clicks * (rng.random(lists.shape) < purchase_probability)
    return clicks, purchases


def _candidates(simulator: Simulator, request: SimulatedRequest) -> Iterator[Candidate]:
    """Describe the candidates as an upstream ranker would: features and priors, no truth."""
    ctr, cvr, price = request.ctr.round(6).tolist(), request.cvr.round(6).tolist(), request.price.tolist()
    for i, item in enumerate(request.items.tolist()):
        category = f"c{simulator.category[item]}"
        yield Candidate(
            id=f"i{item}",
            scores={"ctr": ctr[i], "cvr": cvr[i]},
            price=price[i],
            features={"category": category, "style": f"{category}s{simulator.style[item]}"},
            embedding=tuple(simulator.embedding[item].tolist()),
        )
