"""Hold the live catalogues, one for each feature spec, which are swapped all at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from models.contract.catalogue.catalogue import Catalogue

CatalogueMap = Mapping[str, Catalogue]
"""Catalogues by the fingerprint of the spec that they are encoded for."""

NO_CATALOGUES: Final[CatalogueMap] = {}
Tell = Callable[[CatalogueMap], None]


class Catalogues:
    """Hold the live catalogues. Used from the event loop only."""

    def __init__(self) -> None:
        self._live: CatalogueMap = NO_CATALOGUES
        self._failure: str | None = None
        self._swapped: list[Tell] = []

    @property
    def live(self) -> CatalogueMap:
        """Return the live catalogues, which never change; a swap puts others in their place."""
        return self._live

    def find(self, fingerprint: str) -> Catalogue | None:
        """Return the catalogue for a spec, if there is one."""
        return self._live.get(fingerprint)

    def swap(self, catalogues: CatalogueMap) -> None:
        """Let these catalogues serve from now on.

        Requests that have begun end with those they began with.
        """
        self._live = catalogues
        for tell in self._swapped:
            tell(catalogues)

    def on_swap(self, tell: Tell) -> None:
        """Call `tell` with the live catalogues after each swap."""
        self._swapped.append(tell)

    def fail(self, reason: str | None) -> None:
        """Note why catalogues of the start were refused; None once they serve, or need not."""
        self._failure = reason

    def why_not_ready(self) -> str | None:
        """Return the reason why catalogues of the start are not live, or None."""
        return None if self._failure is None else f"a catalogue was not loaded: {self._failure}"
