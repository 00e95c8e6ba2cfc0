"""Count the candidates that catalogues of items know, and show the live catalogues."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from models.contract.catalogue.manifest import FINGERPRINT_DIGITS
from service.catalogues.live import CatalogueMap
from service.telemetry import records
from service.telemetry.records import ItemCounts
from service.telemetry.snapshots import MergeMode
from service.telemetry.versions import VersionSeries

_SIZE: Final = "rerank_catalogue_size"
_BUILT: Final = "rerank_catalogue_built_timestamp_seconds"
GAUGE_MODES: Final[dict[str, MergeMode]] = {_SIZE: "livemax", _BUILT: "livemax"}
"""How these gauges of several processes become one."""


class ItemSeries:
    """Candidates that one version of a model has encoded while it had a catalogue."""

    def __init__(self) -> None:
        text = "Candidates that the model looked at, by whether its catalogue of items knows them."
        labels = ("model", "version", "state")
        self._items = Counter("rerank_catalogue_items_total", text, labels, registry=None)
        self.families = (self._items,)

    def begin(self, model: str, version: str) -> None:
        """Make all series; those that exist go on."""
        self._known, self._unknown = (self._items.labels(model, version, state) for state in records.ITEM_STATES)

    def add(self, found: ItemCounts) -> None:
        """Count the candidates of one request."""
        self._known.inc(found.known)
        if found.unknown:
            self._unknown.inc(found.unknown)


class CatalogueMetrics:
    """Hold the metrics of catalogues of items."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.items = VersionSeries(ItemSeries)
        registry.register(self.items)
        text = "Items in each live catalogue, by the first digits of the fingerprint of its feature spec."
        self._size = Gauge(_SIZE, text, ("fingerprint", "version"), registry=registry)
        text = "When the live catalogue was built or last updated, in Unix time; none if it does not say."
        self._built = Gauge(_BUILT, text, ("fingerprint",), registry=registry)
        self._live: dict[tuple[str, str], int] = {}

    def swapped(self, catalogues: CatalogueMap) -> None:
        """Show these catalogues, and no others any more."""
        live = {(key[:FINGERPRINT_DIGITS], found.manifest.version): len(found) for key, found in catalogues.items()}
        for labels in self._live.keys() - live.keys():
            self._size.remove(*labels)
        for labels, items in live.items():
            self._size.labels(*labels).set(items)
        self._live = live
        self._built.clear()
        for key, found in catalogues.items():
            if (built := built_at(found.manifest.provenance)) is not None:
                self._built.labels(key[:FINGERPRINT_DIGITS]).set(built)


def built_at(provenance: Mapping[str, Any]) -> float | None:
    """Read when a catalogue was built, in Unix time; None if unknown."""
    try:
        return datetime.fromisoformat(provenance["at"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return None  # Who wrote it by other means need not say.
