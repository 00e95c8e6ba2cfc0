"""Compile the rules of a request, and hold them to what its model can do."""

from __future__ import annotations

import numpy as np

from models.contract.candidates import CandidateTable
from models.contract.catalogue.catalogue import Catalogue
from models.contract.manifest import Manifest
from models.contract.rules.definition import MOST_COUNTS, NO_RULES, Rules
from models.contract.rules.ruling import Ruling, compile_rules
from models.contract.scalars import FeatureError
from service.contract.problems import Problem, invalid
from service.contract.rule_checks import Inherited, check_positions, first_width
from service.contract.schemas import RerankRequest
from service.ranking.request_items import RequestItems


def compile_ruling(
    request: RerankRequest, items: RequestItems, manifest: Manifest, *, mmr_window: int
) -> Ruling | None:
    """Compile the request's rules and shown items; None if it has none.

    Shown items of which the request says nothing are looked up in the catalogue. `mmr_window` is the number of last
    items that MMR looks back on, 0 if it charges nothing. Raises `Problem` (422) for rules that can change a list if
    the model has no graph for them, and for too many of them, groups or places.
    """
    rules = NO_RULES if request.rules is None else request.rules.compiled()
    if rules == NO_RULES and not request.shown:
        return None
    _check_counts(request, items.table, rules, manifest)
    catalogue = items.catalogue
    if catalogue is not None:
        _check_width(request, items, catalogue)
    try:
        ruling = compile_rules(
            items.table,
            rules,
            shown=request.shown or (),
            shown_items=request.shown_items or (),
            top_n=most_places(request, manifest),
            mmr_window=mmr_window,
            look_up=None if catalogue is None else catalogue.items,
        )
    except FeatureError as error:
        raise invalid(error.path, error.problem) from None
    if manifest.ruled is None and (rule := _first_rule(request, items.table, ruling)) is not None:
        raise _no_graph(rule, manifest)
    return ruling


def most_places(request: RerankRequest, manifest: Manifest) -> int:
    """Return the number of places that the request asks for, however few candidates there are."""
    return request.top_n or manifest.limits.list_length


def check_own_positions(request: RerankRequest, manifest: Manifest, inherited: Inherited) -> None:
    """Raise `Problem` (422) for a request's own pin behind the list's last place."""
    rules = request.rules
    if rules is not None and rules.pinned and "pinned" not in inherited.keys:
        name = "the model's list length" if request.top_n is None else "top_n"
        check_positions(rules.pinned, most_places(request, manifest), name)


def _check_counts(request: RerankRequest, candidates: CandidateTable, rules: Rules, manifest: Manifest) -> None:
    """Raise `Problem` (422) for too many places for so many caps and floors."""
    places = min(most_places(request, manifest), len(candidates))
    counted = len(rules.caps) + len(rules.floors)
    if places * counted > MOST_COUNTS:
        problem = f"is {places} places for {counted} caps and floors; at most {MOST_COUNTS // counted} are allowed then"
        raise invalid("top_n", problem)


def _check_width(request: RerankRequest, items: RequestItems, catalogue: Catalogue) -> None:
    """Raise `Problem` (422) for an embedding of another width than the catalogue's.

    That is one of a shown item; or of a candidate, which is compared with what was shown. Where none of the
    catalogue's embeddings take part, any width will do.
    """
    width = catalogue.manifest.embedding_width
    if not width or not request.shown:
        return
    other = _other_width(request, items.own, width)
    if other is not None and _takes_embeddings(request, items, catalogue):
        path, found = other
        raise invalid(path, f"has {found} numbers, but those of the catalogue have {width}")


def _other_width(request: RerankRequest, own: CandidateTable, width: int) -> tuple[str, int] | None:
    """Return path and width of the request's first embedding of another width."""
    for i, item in enumerate(request.shown_items or ()):
        if item.embedding is not None and len(item.embedding) != width:
            return f"shown_items[{i}].embedding", len(item.embedding)
    found = first_width(own)  # The others have the same, or are refused when they are read.
    return None if found is None or found[1] == width else (own.path(found[0], "embedding"), found[1])


def _takes_embeddings(request: RerankRequest, items: RequestItems, catalogue: Catalogue) -> bool:
    """Tell whether a candidate or a shown item has its embedding from the catalogue."""
    places = [i for i in range(len(items.own)) if not items.own.has_embeddings(np.array([i]))]
    if items.layer is not None and items.layer.has_embeddings(np.array(places, np.int64)):
        return True
    said = {item.id for item in request.shown_items or ()}.union(items.own.ids)
    unsaid = catalogue.items([name for name in request.shown or () if name not in said])
    return any(item is not None and item.embedding for item in unsaid)


def _first_rule(request: RerankRequest, candidates: CandidateTable, ruling: Ruling) -> str | None:
    """Name the first rule that can change the list, if there is one."""
    if ruling.pins and request.rules is not None:
        kept = {candidates.ids[i] for i in ruling.pins.values()}
        return next(f"pinned[{i}]" for i, pin in enumerate(request.rules.pinned or ()) if pin.id in kept)
    if ruling.constraints:
        return ruling.constraints[0].rule
    return None if ruling.boosts is None else "boosts[0]"


def _no_graph(rule: str, manifest: Manifest) -> Problem:
    model = f"model {manifest.name!r} version {manifest.version!r}"
    return invalid(f"rules.{rule}", f"cannot be kept: {model} has no graph for rules; `blocked` and `shown` need none")
