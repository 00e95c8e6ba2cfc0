"""Put what a request says of its candidates over what a catalogue knows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from models.contract.candidates import CandidateTable
from models.contract.catalogue.catalogue import Catalogue, CatalogueLayer
from models.contract.layers import LayeredTable
from service.bundles.model import Model
from service.catalogues.live import Catalogues


@dataclass(frozen=True, slots=True)
class RequestItems:
    """Hold the candidates of one request.

    `own` is what the request says of them, and `table` the same with what the `layer` of the catalogue knows below it.
    Without a catalogue both are one.
    """

    own: CandidateTable
    table: CandidateTable
    catalogue: Catalogue | None = None
    layer: CatalogueLayer | None = None

    @classmethod
    def alone(cls, own: CandidateTable) -> Self:
        """Hold candidates of which only the request knows anything."""
        return cls(own, own)


def join_items(own: CandidateTable, model: Model, catalogues: Catalogues) -> RequestItems:
    """Put the catalogue for the model's spec, if any, under the request's `own` candidates.

    It is taken here, once: the request ends with it, whatever is live by then.
    """
    catalogue = catalogues.find(model.manifest.spec.fingerprint)
    if catalogue is None:
        return RequestItems.alone(own)
    layer = catalogue.layer(own.ids, model.encoder)
    return RequestItems(own, LayeredTable(own, [layer]), catalogue, layer)
