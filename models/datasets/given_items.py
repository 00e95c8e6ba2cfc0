"""Draw the items of a simulated world from a list file.

Their prices, categories and brands are those of candidates, and all else of the world is simulated. What was drawn goes
to the world's configuration, and with it to the metadata of the files made of it, so that the world can be drawn again
without the list file. Of categories and brands the numbers are kept and not the names: 0 is the most frequent.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.data.list_file import ListFile
from models.data.records import Candidate
from models.datasets.simulator_config import GivenItems, SimulatorConfig

_STREAM: Final = 4
"""The world's random stream of the choice of items; `simulator.py` lists the others."""


MOST_CATEGORIES: Final = 256
"""An item's embedding has a place for each category."""


@dataclass(frozen=True, slots=True)
class _Item:
    price: float
    category: str
    brand: str


def with_items_of(
    config: SimulatorConfig, path: str, *, category_feature: str, brand_feature: str | None = None
) -> SimulatorConfig:
    """Return the world whose `config.items` items are drawn from the candidates of a list file.

    An item is a candidate's id, with the price and the features that it has where it first occurs with all of them.
    The price that users find neither cheap nor dear becomes the median of the items drawn. Without `brand_feature` the
    world keeps the brands that it draws itself. Raises `ValueError` for a file without prices, without a feature, or
    with too few items.
    """
    found = _read_items(path, category_feature, brand_feature)
    if len(found) < config.items:
        raise ValueError(
            f"{path}: has {len(found)} different items with a price and the features asked for, "
            f"fewer than the {config.items} items of the world (--items)"
        )
    rng = np.random.default_rng([config.seed, _STREAM])
    places = np.sort(rng.choice(len(found), size=config.items, replace=False)).tolist()
    items = [found[place] for place in places]
    category = _numbered([item.category for item in items])
    if max(category) >= MOST_CATEGORIES:
        raise ValueError(
            f"{path}: the feature {category_feature!r} has {max(category) + 1} values; a world has at most "
            f"{MOST_CATEGORIES} categories"
        )
    brand = None if brand_feature is None else _numbered([item.brand for item in items])
    return dataclasses.replace(
        config,
        given=GivenItems(tuple(item.price for item in items), category, brand),
        categories=max(category) + 1,
        brands=config.brands if brand is None else max(brand) + 1,
        price_median=statistics.median(item.price for item in items),
    )


def _read_items(path: str, category_feature: str, brand_feature: str | None) -> Sequence[_Item]:
    """Read each different candidate that has all that is asked for."""
    features = [category_feature] if brand_feature is None else [category_feature, brand_feature]
    found: dict[str, _Item] = {}
    priced, known = False, set[str]()
    for window in ListFile(path).windows(embeddings=False):
        for candidate in (candidate for record in window.records() for candidate in record.candidates):
            priced = priced or candidate.price is not None
            known.update(name for name, value in candidate.features.items() if value is not None)
            item = _item(candidate, features) if candidate.id not in found else None
            if item is not None:
                found[candidate.id] = item
    if not priced:
        raise ValueError(f"{path}: its candidates have no prices, which a world needs")
    for name in features:
        if name not in known:
            among = ", ".join(sorted(known)) or "none"
            raise ValueError(f"{path}: its candidates have no feature {name!r}; they have: {among}")
    return list(found.values())


def _item(candidate: Candidate, features: Sequence[str]) -> _Item | None:
    """Take what the world needs of a candidate, or None where it is missing."""
    values = [candidate.features.get(name) for name in features]
    if candidate.price is None or candidate.price <= 0 or any(value is None for value in values):
        return None
    return _Item(candidate.price, str(values[0]), str(values[-1]))


def _numbered(words: Sequence[str]) -> tuple[int, ...]:
    """Number the words by how often they occur; of equals, by the alphabet."""
    counts = Counter(words)
    order = sorted(counts, key=lambda word: (-counts[word], word))
    number = {word: i for i, word in enumerate(order)}
    return tuple(number[word] for word in words)
