"""Sample list records from the simulator's world, as a platform would have logged them.

The exposed list is a random order, so the logs hold each item in many contexts: Plackett-Luce over a formula of the
prior scores, or the sort by that formula with a share of places filled at random. Users are split by hash. The prior
scores know item and user, with noise, and nothing of the list. The item's id is no feature: with about thirty clicks an
item a model would memorise items and learn less of the context.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from models.contract.arrays import Floats, Ints
from models.contract.scalars import Scalar
from models.data.records import Candidate, ListRecord
from models.datasets.simulator import DEVICES, SimulatedRequest, Simulator, SimulatorConfig
from models.datasets.source import ListSource
from models.datasets.splits import share_split

EXPOSURE: Final = "log(ctr) + 0.3·log(cvr·price), divided by the temperature, plus Gumbel noise"
EXPLORED: Final = (
    "at each place, with the probability `exploration`, any of the candidates left, all alike; "
    "otherwise the one of the largest log(ctr) + 0.3·log(cvr·price)"
)

_Expose = Callable[[SimulatedRequest, np.random.Generator], Ints]
"""A logging policy returns the list that it shows: candidate indices in the order shown."""


def load(
    config: SimulatorConfig,
    *,
    seed: int,
    lists: int,
    length: int,
    temperature: float = 1.0,
    exploration: float | None = None,
) -> ListSource:
    """Load the first `lists` records of log `seed`, with `length` exposed items each.

    The logging policy is `explore` if `exploration`, its share of random places, is given, and else `expose` with the
    `temperature`. Raises `ValueError` naming a number that is out of its range.
    """
    for name, value, least in (("lists", lists, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")
    if not 1 <= length <= config.candidates:
        raise ValueError(f"length must be between 1 and the {config.candidates} candidates, not {length}")
    log = _Log(config, seed, length, temperature, exploration)
    metadata = {
        "source": "simulator",
        "simulated": True,
        "config": dataclasses.asdict(config),
        "seed": seed,
        "lists": lists,
        "length": length,
        **log.policy[1],
        "split": "hash of the user, 80/10/10",
        "prior": "the truth of item and user without list context, with noise per item and per request and item",
        "embedding": "noisy item latent beside half the category's one-hot vector",
    }
    return ListSource(log(range(lists)), lists, metadata, log)


@dataclasses.dataclass(frozen=True, slots=True)
class _Log:
    """Sample any rows of a log; each depends on seed and row alone."""

    config: SimulatorConfig
    seed: int
    length: int
    temperature: float
    exploration: float | None

    @property
    def policy(self) -> tuple[_Expose, dict[str, Any]]:
        """Return the logging policy, and what the metadata say of it. Raises `ValueError`."""
        return _policy(self.length, self.temperature, self.exploration)

    def __call__(self, rows: range) -> Iterator[ListRecord]:
        """Sample the records of some rows."""
        simulator, (policy, _) = Simulator(self.config), self.policy
        requests = (simulator.request(self.seed, index) for index in rows)
        return (_record(simulator, request, policy) for request in requests)


def _policy(length: int, temperature: float, exploration: float | None) -> tuple[_Expose, dict[str, Any]]:
    """Return the logging policy, and what the metadata say of it."""
    if exploration is not None:
        if not 0 <= exploration <= 1:
            raise ValueError(f"exploration must be between 0 and 1, not {exploration}")
        described = {"exploration": exploration, "exposure": EXPLORED}
        return lambda request, rng: explore(request, length=length, exploration=exploration, rng=rng), described
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive, not {temperature}")
    described = {"temperature": temperature, "exposure": EXPOSURE}
    return lambda request, rng: expose(request, length=length, temperature=temperature, rng=rng), described


def _record(simulator: Simulator, request: SimulatedRequest, policy: _Expose) -> ListRecord:
    """Expose and sample one request. The same request always gives the same record."""
    rng = np.random.default_rng([simulator.config.seed, 2, request.seed, request.index])
    exposed = policy(request, rng)
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
    utility = _utility(request)
    order: Ints = np.argsort(-(utility / temperature + rng.gumbel(size=len(utility))), kind="stable")
    return order[:length]


def explore(request: SimulatedRequest, *, length: int, exploration: float, rng: np.random.Generator) -> Ints:
    """Draw the list [length] of a sort with random places, as `EXPLORED` says."""
    left: list[int] = np.argsort(-_utility(request), kind="stable").tolist()
    random, draws = rng.random(length) < exploration, rng.random(length)
    shown = [left.pop(int(draw * len(left)) if at_random else 0) for at_random, draw in zip(random, draws, strict=True)]
    return np.array(shown, np.int64)


def _utility(request: SimulatedRequest) -> Floats:
    """Compute what the ranking stage sorts by, from the prior scores."""
    utility: Floats = np.log(request.ctr) + 0.3 * np.log(request.cvr * request.price)
    return utility


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
        features: dict[str, Scalar] = {"category": category, "style": f"{category}s{simulator.style[item]}"}
        if simulator.brand is not None:
            features["brand"] = f"b{simulator.brand[item]}"
        yield Candidate(
            id=f"i{item}",
            scores={"ctr": ctr[i], "cvr": cvr[i]},
            price=price[i],
            features=features,
            embedding=tuple(simulator.embedding[item].tolist()),
        )
