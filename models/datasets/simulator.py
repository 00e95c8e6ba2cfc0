"""Simulate a world in which the true value of every list is known.

Users and items have latent vectors; items have categories, styles and prices. Whether the item at position j is
clicked, and then bought, depends on which *items* stand before it, and not on their outcomes:

    P(click_j)          = decay_j · σ(relevance_j + κ·(complement·C_j − redundancy·R_j))
    P(purchase_j|click) = σ(appeal_j + κ·(anchoring·A_j − substitution·R_j))

    R_j = 1 − Π_{k<j} (1 − w_jk·max(0, cos(z_j, z_k)))       similar items before j saturate
    C_j = 1 − Π_{k<j} (1 − w_jk·[category of j follows that of k])   "a case after a phone", directed
    A_j = tanh(w-weighted mean log price before j − log price of j)  cheap looks cheaper after dear
    w_jk = memory^(j−k−1)

Because outcomes do not depend on outcomes, expected clicks, purchases and GMV of any list are sums of products. With
context strength κ = 0 only the item and the position matter, and a pointwise sort is optimal. `simulated_logs.py` makes
logs of this world.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.contract.arrays import Floats, Ints

DEVICES: Final = ("desktop", "mobile")
_LEAST: Final = dict.fromkeys(("users", "items", "categories", "styles", "latent", "candidates"), 1) | dict.fromkeys(
    ("seed", "kappa", "decay", "price_spread", "prior_noise", "prior_bias", "embedding_noise"), 0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """Declare a world; two simulators of equal configuration are the same world."""

    kappa: float = 1.0
    seed: int = 0
    users: int = 4000
    items: int = 2000
    categories: int = 8
    styles: int = 4
    latent: int = 8
    candidates: int = 30
    decay: float = 0.06
    memory: float = 0.8
    click_bias: float = -2.6
    purchase_bias: float = -1.6
    redundancy: float = 1.8
    complement: float = 1.2
    substitution: float = 1.2
    anchoring: float = 0.8
    price_median: float = 40.0
    price_spread: float = 0.7
    prior_noise: float = 0.4
    prior_bias: float = 0.3
    embedding_noise: float = 0.15

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, least = getattr(self, field.name), _LEAST.get(field.name, -math.inf)
            if not math.isfinite(value):
                raise ValueError(f"{field.name} must be finite")
            if value < least:
                raise ValueError(f"{field.name} must be at least {least}, not {value}")
        if self.candidates > self.items:
            raise ValueError(f"candidates ({self.candidates}) must not exceed the number of items ({self.items})")
        if not 0 <= self.memory <= 1:
            raise ValueError(f"memory must be between 0 and 1, not {self.memory}")
        if self.price_median <= 0:
            raise ValueError(f"price_median must be positive, not {self.price_median}")

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> SimulatorConfig:
        """Read the configuration of a simulated list file. Raises `ValueError` for any other file."""
        if metadata.get("source") != "simulator" or not isinstance(metadata.get("config"), dict):
            raise ValueError("the list file was not made by `listwright data simulator`")
        return cls(**metadata["config"])


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedRequest:
    """Hold a request with its truth. All arrays run along its n candidates; similarity is ``[later, earlier]``."""

    seed: int
    index: int
    user: int
    device: int
    items: Ints
    price: Floats
    relevance: Floats
    appeal: Floats
    similarity: Floats
    follows: Floats
    ctr: Floats
    cvr: Floats

    @property
    def request_id(self) -> str:
        """Return the id of the request's list record; `Simulator.find` is its inverse."""
        return f"sim-{self.seed}-{self.index}"


class Simulator:
    """Draw a world from its configuration and compute true list values."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = c = config
        rng = np.random.default_rng([c.seed, 0])
        centres = _unit(rng.normal(size=(c.categories, c.latent)))
        styles = rng.normal(size=(c.categories, c.styles, c.latent)) * (0.6 / math.sqrt(c.latent))
        self.category: Ints = rng.integers(c.categories, size=c.items)
        self.style: Ints = rng.integers(c.styles, size=c.items)
        own = rng.normal(size=(c.items, c.latent)) * (0.25 / math.sqrt(c.latent))
        self.item_latent = _unit(centres[self.category] + styles[self.category, self.style] + own)
        category_price = rng.normal(size=c.categories) * 0.5
        log_price = category_price[self.category] + rng.normal(size=c.items)
        self.price = np.round(c.price_median * np.exp(c.price_spread * log_price) + 0.01, 2)
        self.quality = rng.normal(size=c.items)
        taste = rng.dirichlet(np.full(c.categories, 0.3), size=c.users)
        self.user_latent = _unit(taste @ centres + rng.normal(size=(c.users, c.latent)) * (0.3 / math.sqrt(c.latent)))
        self.favourite: Ints = taste.argmax(axis=1)
        self.thrift = rng.normal(size=c.users)
        # Each category is followed by one other, along a random ring.
        ring = rng.permutation(c.categories)
        self.successor: Ints = np.empty(c.categories, np.int64)
        self.successor[ring] = np.roll(ring, -1)
        noise = rng.normal(size=(c.items, c.latent)) * (c.embedding_noise / math.sqrt(c.latent))
        one_hot = np.eye(c.categories)[self.category] * 0.5
        self.embedding = np.round(np.hstack([self.item_latent + noise, one_hot]), 6)
        self._ctr_bias, self._cvr_bias = rng.normal(size=(2, c.items)) * c.prior_bias

    def request(self, seed: int, index: int) -> SimulatedRequest:
        """Draw request `index` of log `seed`, on its own."""
        c = self.config
        rng = np.random.default_rng([c.seed, 1, seed, index])
        user, device = int(rng.integers(c.users)), int(rng.integers(len(DEVICES)))
        items: Ints = rng.choice(c.items, size=c.candidates, replace=False, shuffle=True)
        latent, price = self.item_latent[items], self.price[items]
        dear = np.log(price / c.price_median)
        affinity = latent @ self.user_latent[user]
        quality, thrift = self.quality[items], self.thrift[user]
        # Thrifty users mind the price more, and buying minds it more than clicking.
        relevance = c.click_bias + 1.5 * affinity + 0.5 * quality - 0.15 * (1 + thrift) * dear - 0.3 * device
        appeal = c.purchase_bias + 0.7 * affinity + 0.3 * quality - 0.3 * (1 + thrift) * dear
        noise = rng.normal(size=(2, c.candidates)) * c.prior_noise
        follows = self.successor[self.category[items]][None, :] == self.category[items][:, None]
        return SimulatedRequest(
            seed=seed,
            index=index,
            user=user,
            device=device,
            items=items,
            price=price,
            relevance=relevance,
            appeal=appeal,
            similarity=np.maximum(latent @ latent.T, 0.0),
            follows=follows.astype(np.float64),
            ctr=_sigmoid(relevance + self._ctr_bias[items] + noise[0]),
            cvr=_sigmoid(appeal + self._cvr_bias[items] + noise[1]),
        )

    def find(self, request_id: str) -> SimulatedRequest:
        """Find the request of a record of this world. Raises `ValueError` for other ids."""
        parts = request_id.split("-")
        if len(parts) != 3 or parts[0] != "sim" or not all(p.isascii() and p.isdigit() for p in parts[1:]):
            raise ValueError(f"request id {request_id!r} is not one of the simulator's (sim-SEED-INDEX)")
        return self.request(int(parts[1]), int(parts[2]))

    def probabilities(self, request: SimulatedRequest, lists: Ints) -> tuple[Floats, Floats]:
        """Compute P(click) and P(purchase | click) at every position, each [n, m].

        `lists` int [n, m] holds candidate indices in the order shown. Raises `ValueError` where a list names no
        candidate or one twice.
        """
        _check_lists(lists, len(request.items))
        c, m = self.config, lists.shape[1]
        later, earlier = lists[:, :, None], lists[:, None, :]
        weight = _memory(m, c.memory)
        redundancy = 1 - np.prod(1 - weight * request.similarity[later, earlier], axis=2)
        complement = 1 - np.prod(1 - weight * request.follows[later, earlier], axis=2)
        anchor = _anchor(np.log(request.price)[lists], weight)
        click_logit = request.relevance[lists] + c.kappa * (c.complement * complement - c.redundancy * redundancy)
        buy_logit = request.appeal[lists] + c.kappa * (c.anchoring * anchor - c.substitution * redundancy)
        return np.exp(-c.decay * np.arange(m)) * _sigmoid(click_logit), _sigmoid(buy_logit)

    def list_value(self, request: SimulatedRequest, lists: Ints) -> Floats:
        """Compute true expected (clicks, conversions, GMV) of every prefix, [n, m, 3].

        It is the closed form of the sampling in `simulated_logs`. See `probabilities` for `lists` and errors.
        """
        click, buy = self.probabilities(request, lists)
        purchase = click * buy
        steps = np.stack([click, purchase, purchase * request.price[lists]], axis=2)
        return np.cumsum(steps, axis=1)


def _check_lists(lists: Ints, n: int) -> None:
    if lists.ndim != 2 or not np.issubdtype(lists.dtype, np.integer):
        raise ValueError(f"lists must be integers [n, m], not {lists.dtype} of shape {lists.shape}")
    if lists.size and (lists.min() < 0 or lists.max() >= n):
        raise ValueError(f"lists must hold candidate indices between 0 and {n - 1}")
    ordered = np.sort(lists, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise ValueError("a list holds a candidate twice")


def _memory(m: int, memory: float) -> Floats:
    """Weigh position k as seen from position j, [m, m]: ``memory^(j-k-1)`` for k < j, else 0."""
    gap = np.arange(m)[:, None] - np.arange(m)[None, :]
    weights: Floats = np.where(gap > 0, memory ** np.maximum(gap - 1, 0).astype(np.float64), 0.0)
    return weights


def _anchor(log_price: Floats, weight: Floats) -> Floats:
    """Compute each item's price advantage over those before it, in (-1, 1), [n, m]; 0 first."""
    total = weight.sum(axis=1)
    reference = log_price @ weight.T / np.where(total > 0, total, 1.0)
    return np.where(total > 0, np.tanh(reference - log_price), 0.0)


def _sigmoid(logits: Floats) -> Floats:
    """Compute 1 / (1 + exp(−x)), without SciPy, which the demo does not have."""
    probability: Floats = 1 / (1 + np.exp(-np.maximum(logits, -700.0)))  # Below, the exponential overflows.
    return probability


def _unit(rows: Floats) -> Floats:
    scaled: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled
