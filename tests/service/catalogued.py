"""Catalogues of the items of made-up requests, and the requests without what a catalogue knows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from models.contract.catalogue.catalogue import Catalogue
from models.contract.features import Encoder
from service.bundles.model import Model
from tests.models.contract.catalogue.making import Item, write_catalogue
from tests.service.live import Live, live_app
from tests.service.requests import candidate
from tests.service.tiny_bundle import SPEC

ITEMS = 60
"""So many of `candidate(i)` are in a catalogue."""

SHOPS = ("north", "south", "east")
"""Values of the field ``shop``, which is not in the spec."""


def full(i: int) -> dict[str, Any]:
    """Candidate number `i`, with its shop."""
    made = candidate(i)
    return {**made, "features": {**made["features"], "shop": SHOPS[i % 3]}}


def item(made: dict[str, Any], **changes: Any) -> Item:
    """A candidate as an item of a catalogue."""
    values = {name: made.get(name) for name in ("id", "features", "price", "embedding")}
    return Item(**{**values, **changes})


def thin(sent: dict[str, Any], keep: Collection[str] = ()) -> dict[str, Any]:
    """The request with nothing but ids, scores and the fields to `keep`."""
    kept = {"id", "scores", *keep}
    return {**sent, "candidates": [{k: v for k, v in made.items() if k in kept} for made in sent["candidates"]]}


def known(n: int = 40, **changes: Any) -> dict[str, Any]:
    """A request for candidates that are in the catalogue, with everything that it knows of them but their shops."""
    sent = {"user": {"age": "25-34", "visits": 3}, "context": {"hour": 21}, "explain": True}
    return {**sent, "candidates": [candidate(i) for i in range(n)], **changes}


def open_catalogue(folder: Path, *batches: Sequence[Item], encoder: Encoder | None = None) -> Catalogue:
    """Write a catalogue for the tiny spec, one segment per batch, and open it."""
    folder.mkdir(parents=True, exist_ok=True)
    return Catalogue(write_catalogue(folder, encoder or Encoder(SPEC), *batches), folder)


@contextmanager
def catalogued(*models: Model, batches: Sequence[Sequence[Item]] = (), **settings: Any) -> Iterator[Live]:
    """A server with a catalogue of these items, by default of the first `ITEMS`."""
    items = batches or ([item(full(i)) for i in range(ITEMS)],)
    with TemporaryDirectory() as folder, live_app(*models, **settings) as live:
        catalogue = open_catalogue(Path(folder) / "7", *items)
        live.catalogues.swap({catalogue.manifest.fingerprint: catalogue})
        yield live
