"""Find which of the encoded candidates the catalogue of items does not know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.contract.arrays import Ints
from service.contract.rule_checks import LONGEST_NAME
from service.contract.schemas import FieldWarning
from service.ranking.dealt import DealtRequest
from service.telemetry.records import ItemCounts

_MOST_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class UnknownItems:
    """Count the candidates that were encoded, and name the `places` [k] of those that are unknown."""

    encoded: int
    places: Ints

    @property
    def counts(self) -> ItemCounts:
        """Count them by state."""
        return ItemCounts(known=self.encoded - len(self.places), unknown=len(self.places))


def find_unknown(dealt: DealtRequest) -> UnknownItems | None:
    """Look for the encoded candidates in the catalogue; None if there is none."""
    layer = dealt.items.layer
    if layer is None:
        return None
    places = dealt.places
    return UnknownItems(len(places), places[~layer.known(places)])


def unknown_warnings(dealt: DealtRequest, unknown: UnknownItems) -> list[FieldWarning]:
    """Warn of unknown items of which the request has no feature of the model either."""
    if not len(unknown.places):
        return []
    bare = _without_features(dealt, unknown.places)
    if not len(bare):
        return []
    ids = [dealt.candidates.ids[place] for place in bare[:_MOST_SHOWN].tolist()]
    shown = ", ".join(repr(name[:LONGEST_NAME]) for name in ids) + (", …" if len(bare) > _MOST_SHOWN else "")
    detail = (
        f"{len(bare)} of the {unknown.encoded} candidates that the model looked at are not in the catalogue, and the "
        f"request has no features of them: {shown}"
    )
    return [FieldWarning("candidates.id", "unknown-item", detail)]


def _without_features(dealt: DealtRequest, places: Ints) -> Ints:
    """Keep the places of candidates of which the request has no feature of the model.

    A model that has none of items may still read their prices.
    """
    own, spec = dealt.items.own, dealt.model.manifest.spec
    if not spec.item:
        return places[:0] if spec.price is None else places[np.isnan(own.prices_at(places))]
    bare = np.ones(len(places), np.bool_)
    for field in spec.item:
        bare &= [value is None for value in own.values(field.name, places)]
    return places[bare]
