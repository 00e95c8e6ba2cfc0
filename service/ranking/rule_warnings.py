"""Say which of a request's rules could not be used."""

from __future__ import annotations

from collections.abc import Iterator

from models.contract.rules.ruling import Ruling
from service.contract.rule_checks import LONGEST_NAME, Inherited, rule_fields
from service.contract.rule_schemas import ListRules
from service.contract.schemas import FieldWarning
from service.ranking.dealt import DealtRequest


def rule_warnings(dealt: DealtRequest, ruling: Ruling, inherited: Inherited, *, asked: bool) -> Iterator[FieldWarning]:
    """Warn of absent fields, of ignored pins, and of shown items that did not count.

    Only where the model was `asked` may shown items not count.
    """
    rules = dealt.request.rules or ListRules()
    for path, name in rule_fields(rules):
        if name in ruling.unused:
            yield FieldWarning(path, "missing", f"no candidate has the tag or the item feature {name[:LONGEST_NAME]!r}")
    for i, pin in enumerate(rules.pinned or ()):
        if pin.id in ruling.ignored_pins:
            why = f"{inherited.path('pinned', i)}: {pin.id[:LONGEST_NAME]!r} {_why_ignored(pin.id, dealt)}"
            yield FieldWarning(f"rules.pinned[{i}]", "ignored-pin", why)
    if asked and ruling.seen is not None and dealt.model.manifest.ruled is None:
        detail = "the model has no graph for rules; what was shown does not count for the diversity of its list"
        yield FieldWarning("shown", "ignored-shown", detail)


def _why_ignored(name: str, dealt: DealtRequest) -> str:
    """Say what keeps a pin's id from its position."""
    request = dealt.request
    if name not in dealt.candidates.ids:
        return "is no candidate"
    if request.rules is not None and name in (request.rules.blocked or ()):
        return "is blocked"
    return "has been shown" if name in (request.shown or ()) else "has a position that is taken, or beyond top_n"
