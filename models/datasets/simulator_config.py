"""Declare every number that a simulated world depends on.

Two simulators of equal configuration are the same world. A list file's metadata hold the configuration, so the truth
of a file can be computed from the file alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_LEAST: Final = dict.fromkeys(("users", "items", "categories", "styles", "latent", "candidates"), 1) | dict.fromkeys(
    (
        *("seed", "kappa", "decay", "price_spread", "prior_noise", "prior_bias", "embedding_noise"),
        *("brands", "brand_quality", "click_anchoring", "ctr_slope", "cvr_slope"),
    ),
    0,
)
_SHARES: Final = ("memory", "brand_fatigue")


@dataclass(frozen=True, slots=True)
class GivenItems:
    """Hold prices and attributes of items that are not drawn but taken from elsewhere, one entry per item.

    Categories and brands are numbered from 0; `brand` is None where brands are drawn. Raises `ValueError` for columns
    of different lengths, prices that are not positive, and numbers below 0.
    """

    price: tuple[float, ...]
    category: tuple[int, ...]
    brand: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        columns: dict[str, Sequence[float]] = {"price": self.price, "category": self.category}
        if self.brand is not None:
            columns["brand"] = self.brand
        if len({len(column) for column in columns.values()}) > 1:
            raise ValueError("given: the columns of the items differ in length")
        if not all(0 < price < math.inf for price in self.price):
            raise ValueError("given: prices must be positive and finite")
        for name in columns.keys() - {"price"}:
            if any(number < 0 for number in columns[name]):
                raise ValueError(f"given: numbers of {name} must be at least 0")

    @classmethod
    def from_json(cls, columns: Mapping[str, Any]) -> GivenItems:
        """Read the columns as `dataclasses.asdict` and JSON left them."""
        brand = columns.get("brand")
        return cls(tuple(columns["price"]), tuple(columns["category"]), None if brand is None else tuple(brand))


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """Declare a world; two simulators of equal configuration are the same world.

    docs/world.md says what each number does. Raises `ValueError` naming a number that is out of its range.
    """

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
    click_anchoring: float = 0.0
    price_median: float = 40.0
    price_spread: float = 0.7
    brands: int = 0
    brand_quality: float = 0.8
    brand_fatigue: float = 0.4
    prior_noise: float = 0.4
    prior_bias: float = 0.3
    ctr_slope: float = 1.0
    ctr_shift: float = 0.0
    cvr_slope: float = 1.0
    cvr_shift: float = 0.0
    embedding_noise: float = 0.15
    given: GivenItems | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name != "given":
                self._check(field.name)
        if self.candidates > self.items:
            raise ValueError(f"candidates ({self.candidates}) must not exceed the number of items ({self.items})")
        if self.price_median <= 0:
            raise ValueError(f"price_median must be positive, not {self.price_median}")
        if self.given is not None:
            self._check_given(self.given)

    def _check(self, name: str) -> None:
        value, least = getattr(self, name), _LEAST.get(name, -math.inf)
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite")
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")
        if name in _SHARES and not 0 <= value <= 1:
            raise ValueError(f"{name} must be between 0 and 1, not {value}")

    def _check_given(self, given: GivenItems) -> None:
        if len(given.price) != self.items:
            raise ValueError(f"given: {len(given.price)} items are not the {self.items} of the world")
        counts = {"category": (given.category, self.categories), "brand": (given.brand or (), self.brands)}
        for name, (numbers, count) in counts.items():
            if max(numbers, default=-1) >= count:
                raise ValueError(f"given: a {name} is not among the world's {count}")

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> SimulatorConfig:
        """Read the configuration of a simulated list file. Raises `ValueError` for any other file."""
        if metadata.get("source") != "simulator" or not isinstance(metadata.get("config"), dict):
            raise ValueError("the list file was not made by `listwright data simulator`")
        config = dict(metadata["config"])
        given = config.pop("given", None)
        return cls(**config, given=None if given is None else GivenItems.from_json(given))
