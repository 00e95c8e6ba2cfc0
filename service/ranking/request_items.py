"""Put what a request says of its candidates over what others know of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from models.contract.candidates import CandidateTable
from models.contract.catalogue.catalogue import Catalogue, CatalogueLayer
from models.contract.layers import LayeredTable
from service.bundles.model import Model
from service.catalogues.live import Catalogues
from service.catalogues.source import LiveLayer, LiveSource


@dataclass(frozen=True, slots=True)
class RequestItems:
    """Hold the candidates of one request.

    `own` is what the request says of them, and `table` the same with what the `live` source has said below it, and what
    the `layer` of the catalogue knows below that. Without either both are one.
    """

    own: CandidateTable
    table: CandidateTable
    catalogue: Catalogue | None = None
    layer: CatalogueLayer | None = None
    live: LiveLayer | None = None

    @classmethod
    def alone(cls, own: CandidateTable) -> Self:
        """Hold candidates of which only the request knows anything."""
        return cls(own, own)


def join_items(
    own: CandidateTable, model: Model, catalogues: Catalogues, live: LiveSource | None = None
) -> RequestItems:
    """Put live values and the catalogue, if any, under the `own` candidates.

    The catalogue is that for the model's spec. It is taken here, once: the request ends with it, whatever is live by
    then. The live source is not asked yet.
    """
    spec = model.manifest.spec
    catalogue = catalogues.find(spec.fingerprint)
    layer = None if catalogue is None else catalogue.layer(own.ids, model.encoder)
    said = None if live is None else live.layer(spec, own.ids)
    layers = [found for found in (said, layer) if found is not None]
    return RequestItems(own, LayeredTable(own, layers) if layers else own, catalogue, layer, said)
