"""Open the catalogues that were checked, and let them serve all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.contract.catalogue.catalogue import Catalogue
from service.catalogues.live import Catalogues
from service.catalogues.load import CheckedCatalogue, open_checked

Opened = Mapping[str, tuple[CheckedCatalogue, Catalogue]]
"""Open catalogues by the fingerprint of the spec that they are encoded for."""


class CatalogueSwitch:
    """Switch the live catalogues of one process in two steps."""

    def __init__(self, live: Catalogues) -> None:
        self._live = live
        self._opened: Opened = {}

    def prepare(self, wanted: Sequence[CheckedCatalogue]) -> Opened:
        """Open catalogues aside; those that serve already stay open. Raises `CatalogueError`. In any thread."""
        opened = {}
        for checked in wanted:
            same = next((open_one for known, open_one in self._opened.values() if known == checked), None)
            catalogue = open_checked(checked) if same is None else same
            opened[catalogue.manifest.fingerprint] = (checked, catalogue)
        return opened

    def commit(self, opened: Opened) -> list[Catalogue]:
        """Let what was prepared serve, and nothing else; return what does no more. From the event loop only."""
        live = {fingerprint: catalogue for fingerprint, (_, catalogue) in opened.items()}
        gone = [
            catalogue for fingerprint, (_, catalogue) in self._opened.items() if live.get(fingerprint) is not catalogue
        ]
        self._opened = opened
        self._live.swap(live)
        return gone
