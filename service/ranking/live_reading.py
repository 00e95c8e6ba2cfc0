"""Ask the live source for what one request needs, within the request's own time."""

from __future__ import annotations

import numpy as np

from models.contract.arrays import Ints
from models.contract.candidates import CandidateTable
from models.contract.formulas import FormulaError, compile_formula
from models.contract.manifest import Manifest
from service.contract.rule_checks import rule_fields
from service.contract.schemas import RerankRequest
from service.ranking.dealt import DealtRequest
from service.ranking.request_items import RequestItems
from service.timing.deadline import LEAD_SECONDS, Deadline

_PRICE = "price"


def live_limit(deadline: Deadline, wait: float) -> float:
    """Return when a request must go on, if its model takes `wait` seconds."""
    return deadline.limit - LEAD_SECONDS - wait


async def read_ahead(request: RerankRequest, items: RequestItems, manifest: Manifest, until: float) -> None:
    """Read what formulas and rules ask for, and the request does not say itself."""
    live = items.live
    if live is None:
        return
    prices = np.flatnonzero(np.isnan(items.own.prices())) if _names_price(request, manifest) else np.zeros(0, np.int64)
    fields = _rule_fields(request, items.own)
    if len(prices) or fields:
        await live.read_ahead(prices, fields, until)


async def read_encoded(dealt: DealtRequest, until: float) -> None:
    """Read what the spec asks for of the candidates that will be encoded."""
    if dealt.items.live is not None:
        await dealt.items.live.read(dealt.places, until)


def _names_price(request: RerankRequest, manifest: Manifest) -> bool:
    """Tell whether a formula of the queues, or the fallback, names the price."""
    queues = manifest.queues if request.queues is None else request.queues
    return any(_names(text) for text in (*(queue.score for queue in queues), manifest.fallback))


def _names(text: str) -> bool:
    try:
        return _PRICE in compile_formula(text).names
    except FormulaError:  # Dealing refuses the request, and says why.
        return False


def _rule_fields(request: RerankRequest, own: CandidateTable) -> dict[str, Ints]:
    """Find the fields that rules name, with the candidates without such a tag."""
    if request.rules is None:
        return {}
    found: dict[str, Ints] = {}
    for name in {name for _, name in rule_fields(request.rules)}:
        places = np.array([place for place, tag in enumerate(own.tags(name)) if tag is None], np.int64)
        if len(places):
            found[name] = places
    return found
