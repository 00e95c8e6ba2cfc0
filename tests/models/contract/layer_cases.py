"""Make random requests that say all of their items, and the same ones with parts of it in layers below."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import strategies as st

from models.contract.arrays import Floats, Floats32, Ints
from models.contract.candidates import ObjectTable
from models.contract.catalogue.catalogue import Catalogue
from models.contract.catalogue.manifest import CatalogueManifest
from models.contract.categories import CategoryColumn
from models.contract.features import Encoder
from models.contract.layers import LayeredTable
from models.contract.scalars import Scalar
from models.contract.spec import FeatureSpec, Field, Number
from tests.models.contract.catalogue.making import Item, write_catalogue
from tests.models.contract.strategies import FINITE, WRITABLE_SPECS

EXTRAS = ("colour", "heavy")
"""Fields of items that no spec has."""

LEVELS = ("request", "live", "catalogue")
"""Who may say something of an item; the first wins."""

TEXTS = st.sampled_from(["a", "b", "shoes", "true", "5", "", "ü", "長い"])
NUMBERS = FINITE | st.integers(-(2**53), 2**53) | st.sampled_from([5, 5.0, -0.0, 5.5])
FLAGS = st.booleans()
COORDINATES = st.floats(0.01, 1) | st.floats(-1, -0.01)


@dataclass(frozen=True)
class LayerCase:
    """Hold a request's candidates with all that is known of them, and who says what of it.

    `said` holds the candidates as the request, the live source and the catalogue have them. `slots` are some of them.
    """

    spec: FeatureSpec
    whole: tuple[Item, ...]
    said: dict[str, tuple[Item, ...]]
    outdated: tuple[Item, ...]
    slots: Ints

    @contextlib.contextmanager
    def table(self, encoder: Encoder) -> Iterator[LayeredTable]:
        """Open a table whose catalogue and live source say what they do in this case."""
        with TemporaryDirectory() as name:
            folder = Path(name)
            updated = {item.id for item in self.outdated}
            known = [i for i in self.said["catalogue"] if i != Item(i.id) or i.id in updated]
            others = [Item(f"another {i}") for i in range(5)]
            write_catalogue(folder, encoder, [*others, *self.outdated], known)
            catalogue = Catalogue(CatalogueManifest.read(folder), folder)
            own = ObjectTable(self.said["request"])
            yield LayeredTable(own, [LiveValues(self.said["live"]), catalogue.layer(own.ids, encoder)])


class LiveValues:
    """Be a layer that has values of its own, and no embeddings."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    def rows(self, column: CategoryColumn, places: Ints) -> Ints:
        values = self.values(column.name, places)
        return np.array([-1 if value is None else column.row(value) for value in values], np.int64)

    def numbers(self, name: str, places: Ints) -> Floats:
        return np.array(self.values(name, places), np.float64)

    def prices(self, places: Ints) -> Floats:
        return np.array([self._items[place].price for place in places.tolist()], np.float64)

    def values(self, name: str, places: Ints) -> list[Scalar]:
        return [self._items[place].features.get(name) for place in places.tolist()]

    def embeddings(self, places: Ints) -> Floats32:
        return np.zeros((len(places), 1), np.float32)

    def has_embeddings(self, _: Ints) -> bool:
        return False


@st.composite
def layer_cases(draw: st.DrawFn, levels: Sequence[str] = LEVELS) -> LayerCase:
    """Draw a case in which only these levels say something."""
    spec = draw(WRITABLE_SPECS)
    width = draw(st.integers(0, 3))
    vectors = st.lists(COORDINATES, min_size=width, max_size=width) if width else st.none()
    parts: list[tuple[str, str, st.SearchStrategy[Any]]] = [("features", name, TEXTS) for name in EXTRAS]
    parts += [("features", f.name, draw(_kind(f))) for f in spec.item]
    parts += [("price", "", st.floats(0, 1e6)), ("embedding", "", vectors)]
    whole, said = [], {level: list[Item]() for level in LEVELS}
    for i in range(draw(st.integers(1, 5))):
        scores = draw(st.dictionaries(st.sampled_from([*(f.name for f in spec.scores), "ctr"]), st.floats(0, 1)))
        item = Item(f"item {i}", scores=scores, tags=draw(st.dictionaries(st.sampled_from(EXTRAS), TEXTS)))
        split = {level: item if level == "request" else Item(item.id) for level in LEVELS}
        for part in parts:
            able = [level for level in levels if level != "live" or part[0] != "embedding"]
            owner = able.index(draw(st.sampled_from(able)))
            value = draw(st.none() | part[2])
            item = _with(item, part, value)
            # What lower levels say of it does not matter.
            for level in able[owner:] if value is not None else ():
                split[level] = _with(split[level], part, value if level == able[owner] else draw(st.none() | part[2]))
        whole.append(item)
        for level in LEVELS:
            said[level].append(split[level])
    outdated = [replace(item, features={}, embedding=None, price=1.25) for item in whole if draw(st.booleans())]
    slots = draw(st.permutations([-1, *range(len(whole)), -1]))
    kept = slots[: draw(st.integers(1, len(slots)))]
    split_items = {level: tuple(items) for level, items in said.items()}
    return LayerCase(spec, tuple(whole), split_items, tuple(outdated), np.array(kept, np.int64))


def _kind(field: Field) -> st.SearchStrategy[Any]:
    """Choose one kind of values for a field, as a catalogue has them."""
    return st.sampled_from([NUMBERS, FLAGS] if isinstance(field, Number) else [TEXTS, NUMBERS, FLAGS])


def _with(item: Item, part: tuple[str, str, object], value: Any) -> Item:
    if part[0] == "features":
        return replace(item, features={**item.features, part[1]: value})
    return replace(item, price=value) if part[0] == "price" else replace(item, embedding=value)
