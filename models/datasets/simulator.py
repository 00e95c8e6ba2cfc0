"""Simulate a world in which the true value of every list is known.

Users and items have latent vectors; items have categories, styles, brands and prices. Whether the item at position j is
clicked, and then bought, depends on which *items* stand before it, and not on their outcomes: `simulator_values.py` has
the formulas, and docs/world.md the whole declaration. With context strength κ = 0 only the item and the position
matter, and a pointwise sort is optimal. `simulated_logs.py` makes logs of this world.

Every part of a world draws from a random stream of its own, ``[seed, part]``, so that a part that is added later leaves
the others as they were: 0 users and items, 1 requests, 2 logged lists, 3 brands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.contract.arrays import Floats, Ints
from models.datasets.simulator_config import SimulatorConfig
from models.datasets.simulator_values import check_lists, list_chances, sigmoid

__all__ = ["DEVICES", "SimulatedRequest", "Simulator", "SimulatorConfig"]

DEVICES: Final = ("desktop", "mobile")


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
        if c.given is not None:
            self.category = np.array(c.given.category, np.int64)
        self.style: Ints = rng.integers(c.styles, size=c.items)
        own = rng.normal(size=(c.items, c.latent)) * (0.25 / math.sqrt(c.latent))
        self.item_latent = _unit(centres[self.category] + styles[self.category, self.style] + own)
        category_price = rng.normal(size=c.categories) * 0.5
        log_price = category_price[self.category] + rng.normal(size=c.items)
        self.price = np.round(c.price_median * np.exp(c.price_spread * log_price) + 0.01, 2)
        if c.given is not None:
            self.price = np.array(c.given.price, np.float64)
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
        self.brand = self._draw_brands() if c.brands else None

    def _draw_brands(self) -> Ints:
        """Draw the brand of every item, and add what the brand is worth to the item's quality.

        The brand of rank r has a share of items in proportion to 1/r, as few brands have most items.
        """
        c = self.config
        rng = np.random.default_rng([c.seed, 3])
        level = rng.normal(size=c.brands)
        share = 1 / np.arange(1, c.brands + 1)
        brand: Ints = rng.choice(c.brands, p=share / share.sum(), size=c.items)
        if c.given is not None and c.given.brand is not None:
            brand = np.array(c.given.brand, np.int64)
        self.quality = self.quality + c.brand_quality * level[brand]
        return brand

    def request(self, seed: int, index: int) -> SimulatedRequest:
        """Draw request `index` of log `seed`, on its own."""
        c = self.config
        rng = np.random.default_rng([c.seed, 1, seed, index])
        user, device = int(rng.integers(c.users)), int(rng.integers(len(DEVICES)))
        items: Ints = rng.choice(c.items, size=c.candidates, replace=False, shuffle=True)
        price = self.price[items]
        dear = np.log(price / c.price_median)
        affinity = self.item_latent[items] @ self.user_latent[user]
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
            similarity=self._similarity(items),
            follows=follows.astype(np.float64),
            ctr=sigmoid(c.ctr_slope * (relevance + self._ctr_bias[items] + noise[0]) + c.ctr_shift),
            cvr=sigmoid(c.cvr_slope * (appeal + self._cvr_bias[items] + noise[1]) + c.cvr_shift),
        )

    def _similarity(self, items: Ints) -> Floats:
        """Compute how alike items are to a user, in 0 to 1: by their latent vectors, and by their brand."""
        latent = self.item_latent[items]
        alike: Floats = np.maximum(latent @ latent.T, 0.0)
        if self.brand is not None:
            brand = self.brand[items]
            alike = 1 - (1 - alike) * (1 - self.config.brand_fatigue * (brand[:, None] == brand))
        return alike

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
        check_lists(lists, len(request.items))
        return list_chances(
            self.config,
            lists,
            relevance=request.relevance,
            appeal=request.appeal,
            price=request.price,
            similarity=request.similarity,
            follows=request.follows,
        )

    def list_value(self, request: SimulatedRequest, lists: Ints) -> Floats:
        """Compute true expected (clicks, conversions, GMV) of every prefix, [n, m, 3].

        It is the closed form of the sampling in `simulated_logs`. See `probabilities` for `lists` and errors.
        """
        click, buy = self.probabilities(request, lists)
        purchase = click * buy
        steps = np.stack([click, purchase, purchase * request.price[lists]], axis=2)
        return np.cumsum(steps, axis=1)


def _unit(rows: Floats) -> Floats:
    scaled: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled
