"""Say what of a request a model could not use."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Final

from models.contract.scalars import canonical_text
from models.contract.spec import Category, Number
from service.contract.field_values import FieldReader, FieldUse, Gap, KnownField, plain_text
from service.contract.rule_checks import Inherited
from service.contract.schemas import MOST_WARNINGS, FieldWarning
from service.ranking.dealt import DealtRequest
from service.ranking.rule_warnings import rule_warnings
from service.ranking.unknown_items import UnknownItems, unknown_warnings

_LONGEST: Final = 64
_MOST_SHOWN: Final = 3
_MOST_FIELDS: Final = 10


def answer_warnings(
    dealt: DealtRequest, use: FieldUse | None, unknown: UnknownItems | None, inherited: Inherited
) -> list[FieldWarning]:
    """Warn of rules that could not be used, then of unknown items, then of fields.

    Where the model was not asked, `use` and `unknown` are None.
    """
    fields = [] if use is None else field_warnings(use, dealt.model.fields)
    if unknown is not None:
        fields = [*unknown_warnings(dealt, unknown), *fields][:MOST_WARNINGS]
    if dealt.plan.ruling is None:
        return fields
    rules = rule_warnings(dealt, dealt.plan.ruling, inherited, asked=use is not None)
    return [*islice(chain(rules, fields), MOST_WARNINGS)]


def field_warnings(use: FieldUse, reader: FieldReader) -> list[FieldWarning]:
    """Warn of fields that are missing or mostly unknown, then of those that nothing uses."""
    if not use.gaps and not use.surplus:
        return []
    return [*islice(_warnings(use, reader), MOST_WARNINGS)]


def _warnings(use: FieldUse, reader: FieldReader) -> Iterator[FieldWarning]:
    for gap in use.gaps:
        field, given = gap.field, len(gap.values) - gap.missing
        if isinstance(field.field, Category) and not field.field.vocabulary:
            continue  # The model has learnt nothing of it, and knows no value.
        if not given:
            yield FieldWarning(_cut(field.path), "missing", _missing(gap))
        elif gap.unknown * 2 > given:
            yield FieldWarning(_cut(field.path), "unknown-values", _unknown(gap, given))
    for group, names in use.surplus.items():
        for name in heapq.nsmallest(MOST_WARNINGS, names):
            yield FieldWarning(f"{group}.{_cut(name)}", "unknown-field", _surplus(group, name, reader))


def _missing(gap: Gap) -> str:
    field = gap.field
    whole = field.group in ("user", "context")
    who = "the request does not have it" if whole else "no candidate that the model looked at has it"
    instead = f"its default {field.field.default:g}" if isinstance(field.field, Number) else "it for unknown"
    return f"{who}; the model takes {instead}"


def _unknown(gap: Gap, given: int) -> str:
    texts: dict[str, None] = {}  # Keeps the order, and each value once.
    for value in gap.values:
        if value is not None and not gap.field.knows(value):
            texts[canonical_text(value)] = None
            if len(texts) > _MOST_SHOWN:
                break
    shown = ", ".join(_describe_value(text, gap.field) for text in islice(texts, _MOST_SHOWN))
    more = ", …" if len(texts) > _MOST_SHOWN else ""
    return f"{gap.unknown} of {given} values are not in the model's vocabulary: {shown}{more}"


def _describe_value(text: str, field: KnownField) -> str:
    meant = field.alike.get(plain_text(text))
    return repr(_cut(text)) + ("" if meant is None else f" (it has {_cut(meant)!r})")


def _surplus(group: str, name: str, reader: FieldReader) -> str:
    meant = next((known for known in sorted(reader.names[group]) if plain_text(known) == plain_text(name)), None)
    hint = "" if meant is None else f"; it has {_cut(meant)!r}"
    if group == "scores":
        return f"neither the model nor the formula of a queue uses it{hint}"
    return f"the model has no such field{hint or '; ' + _known(reader.names[group])}"


def _known(names: Iterable[str]) -> str:
    found = sorted(names)
    more = ", …" if len(found) > _MOST_FIELDS else ""
    return f"it has: {', '.join(map(_cut, found[:_MOST_FIELDS])) or 'none'}{more}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
