"""Three shops: clicks that saturate per category, prices that anchor one another, and places alone.

Axis letters as in `shop.py`.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from scipy.special import expit, logit

from tests.models.worlds.shop import Floats, Ints, Shop, Visit


class Saturation(Shop):
    """Every earlier item of the same category takes a share of an item's click chance; a sort repeats itself."""

    name = "saturation"
    click_bias = -2.1
    taste_spread = 0.8
    left: ClassVar[float] = 0.5

    def chances(self, visit: Visit, lists: Ints) -> tuple[Floats, Floats]:
        """Clicks fall with the number of earlier items of the category; purchases are the item's own."""
        category = visit.category[lists]
        same = category[:, :, None] == category[:, None, :]
        earlier = np.tril(same, -1).sum(axis=2)
        return self.fall(lists.shape[1]) * self.left**earlier * visit.click[lists], visit.buy[lists]


class Anchoring(Shop):
    """A price looks high beside cheaper ones before it: who takes the best next item spoils the following ones."""

    name = "anchoring"
    click_spread = 0.2
    taste_spread = 0.3
    buy_bias = -2.3
    price_spread = 0.8
    price_slope = 1.0
    noise = 0.1
    strength: ClassVar[float] = 4.0

    def chances(self, visit: Visit, lists: Ints) -> tuple[Floats, Floats]:
        """The odds of a purchase fall with an item's price over the geometric mean of the prices before it."""
        log_price = np.log(visit.price[lists])
        mean = np.cumsum(log_price, axis=1) / np.arange(1, lists.shape[1] + 1)
        anchor = np.concatenate([log_price[:, :1], mean[:, :-1]], axis=1)
        buy = expit(logit(visit.buy[lists]) - self.strength * (log_price - anchor))
        return self.fall(lists.shape[1]) * visit.click[lists], buy


class Position(Shop):
    """Only the item and its place matter, and the scores are true: no list beats the sort."""

    name = "position"
    noise = 0.0
    decay = 0.1

    def chances(self, visit: Visit, lists: Ints) -> tuple[Floats, Floats]:
        """An item's own chances, clicks fading along the list."""
        return self.fall(lists.shape[1]) * visit.click[lists], visit.buy[lists]


SHOPS: Final = {shop.name: shop for shop in (Saturation, Anchoring, Position)}
"""Name to class."""
