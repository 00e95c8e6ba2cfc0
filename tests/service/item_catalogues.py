"""Catalogues of items for the tiny bundle, in which the price of every item tells which version it came from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from models.contract.catalogue.manifest import fingerprint_folder
from models.contract.features import Encoder
from models.contract.spec import FeatureSpec
from tests.models.contract.catalogue.making import Item, write_catalogue
from tests.service.tiny_bundle import PURCHASES, SPEC

ITEMS = 40
OTHER = replace(SPEC, context=())
"""A feature spec of another fingerprint."""


def publish(root: Path, version: str, price: float, spec: FeatureSpec = SPEC, items: int = ITEMS) -> Path:
    """Write a version whose items all have this price, and put it in its place by a rename."""
    folder = fingerprint_folder(root, spec.fingerprint)
    upload = folder / ".upload" / version
    encoder = Encoder(spec)
    halves = [[Item(f"sku-{i}", {"stars": 4.0, "note": "new"}, price) for i in range(k, items, 2)] for k in (0, 1)]
    write_catalogue(upload, encoder, *halves)
    return upload.rename(folder / version)


def request(n: int = 8, **changes: Any) -> dict[str, Any]:
    """A request whose candidates are ids and scores alone, all known to the catalogue."""
    candidates = [{"id": f"sku-{i}", "scores": {"ctr": 0.1, "cvr": 0.05}} for i in range(n)]
    return {"candidates": candidates, "user": {"age": "25-34", "visits": 3}, "context": {"hour": 21}, **changes}


def price(answer: dict[str, Any]) -> float:
    """The mean price of an answer's items; that of a version, if all came from it."""
    assert not answer.get("degraded"), answer
    return round(float(answer["value"]["gmv"]) / PURCHASES / len(answer["items"]), 2)
