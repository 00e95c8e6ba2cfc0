"""Warn about fields: read as something that they may not be, or of little use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from models.checking.check import Survey
from models.checking.fields import GROUPS, FieldReport
from models.checking.findings import Finding, share_text
from models.checking.repeats import is_id_name
from models.checking.tallies import ValueTally, alike

_CODE: Final = re.compile(r"(^|[_\-. ])(code|type|kind|class|category|cat|brand|zip|status)$|[a-z](Code|Type|Kind)$")
_FEW: Final = 32
_MOSTLY: Final = 0.5
_UNKNOWN: Final = 0.2
_NOTHING: Final = {"", "nan", "null", "none", "n/a", "na", "nat", "nil", "undefined", "<na>"}


def field_findings(survey: Survey) -> Iterator[Finding]:
    """Warn about the features of user, context and item, except those ignored by choice."""
    for report, tally in _features(survey):
        yield from _reading(survey, report, tally)
        yield from _texts(report, tally)
    yield from _useless(survey)


def _features(survey: Survey) -> Iterator[tuple[FieldReport, ValueTally]]:
    reports = {report.name: report for report in survey.reports}
    for group in GROUPS:
        for name, tally in sorted(survey.fields.features[group].items()):
            if survey.choices.kind(group, name) != "ignore" and tally.present:
                yield reports[f"{group}.{name}"], tally


def _reading(survey: Survey, report: FieldReport, tally: ValueTally) -> Iterator[Finding]:
    """Warn about how a field will be read."""
    group, _, name = report.name.partition(".")
    chosen = survey.choices.kind(group, name) is not None
    if report.read_as == "hashed" and (group == "user" or not chosen):
        yield _hashed(report, group)
    if report.read_as == "number" and not chosen and tally.whole and _like_codes(name, tally):
        text = (
            f"{report.name} holds whole numbers ({_distinct(report)} values) and is read as a number: "
            "a larger one counts as more."
        )
        advice = f"If they are codes, pass `--field {report.name}=category` (or hash), or write them as text."
        yield Finding("codes-read-as-numbers", text, advice)
    if report.read_as == "ignored" and survey.spec is not None:
        text = f"{report.name} is not read: in the lists trained on, nothing that was shown has a value."
        yield Finding("field-not-read", text, "Check why it is missing there, or leave it out.")
    if report.unknown is not None and report.unknown > _UNKNOWN:
        text = f"{share_text(report.unknown)} of the values of {report.name} are outside its vocabulary, hence unknown."
        advice = f"Raise `--max-vocabulary`, or pass `--field {report.name}=hash`; values seen once are never in it."
        yield Finding("values-outside-vocabulary", text, advice)


def _hashed(report: FieldReport, group: str) -> Finding:
    text = f"{report.name} is hashed: {_distinct(report)} values share {report.buckets or 0:,} rows."
    if group == "user":
        advice = (
            "If it names single users, the model may learn them by heart, and new users get a row at random. "
            f"`--ignore {report.name}` leaves it out."
        )
    else:
        advice = (
            f"Values seen a few times are learnt badly. `--ignore {report.name}` leaves it out; "
            "`--max-vocabulary` makes it a category."
        )
    return Finding("field-hashed", text, advice)


def _like_codes(name: str, tally: ValueTally) -> bool:
    """Tell whether whole numbers look like codes, by name or by few values."""
    if tally.numbers.low >= 0 and tally.numbers.high <= 1:
        return False
    return (1 < tally.distinct <= _FEW) or is_id_name(name) or _CODE.search(name.lower()) is not None


def _texts(report: FieldReport, tally: ValueTally) -> Iterator[Finding]:
    """Warn about what texts hold."""
    if not tally.holds_text:
        return
    if tally.numeric_text:
        text = f"{report.name} is text that holds numbers only, and is read as {report.read_as}: 9 and 10 are not near."
        advice = "If they are amounts, write them as numbers. If they are codes, this is right."
        yield Finding("numbers-as-text", text, advice)
    values = [value for value, _ in tally.frequent()]
    if pairs := alike(values):
        text = f"{report.name} has values that differ only by case or blanks: {pairs[0][0]!r} and {pairs[0][1]!r}."
        yield Finding("values-alike", text, "They count as different values, also in requests. Write them one way.")
    if nothing := [value for value in values if value.strip().lower() in _NOTHING]:
        text = f"{report.name} has the text {nothing[0]!r}, which is read as a value like any other."
        yield Finding("missing-as-text", text, "Write null where nothing is known.")


def _useless(survey: Survey) -> Iterator[Finding]:
    """Warn about fields that say little or nothing."""
    mostly = [r.name for r in survey.reports if not _ignored(survey, r) and _MOSTLY < r.missing < 1]
    if mostly:
        text = f"missing in more than half: {', '.join(mostly)}."
        yield Finding("mostly-missing", text, "A missing number reads as the median. Fill the field or leave it out.")
    empty = [r.name for r in survey.reports if r.missing == 1 and r.name != "price" and not _ignored(survey, r)]
    if empty:
        yield Finding("no-values", f"without any value: {', '.join(empty)}.", "Fill the field or leave it out.")
    if constant := [r.name for r in survey.reports if not _ignored(survey, r) and _constant(survey, r)]:
        text = f"always the same value: {', '.join(constant)}."
        yield Finding("constant-fields", text, "Nothing can be learnt from it. Leave it out, or check why it is so.")
    if not survey.fields.features["item"]:
        text = "items have no features."
        advice = (
            "Items then differ by scores and price alone. Put what the ranking stage knows into `candidates.features`."
        )
        yield Finding("no-item-features", text, advice)


def _ignored(survey: Survey, report: FieldReport) -> bool:
    group, _, name = report.name.partition(".")
    return survey.choices.kind(group, name or group) == "ignore"


def _constant(survey: Survey, report: FieldReport) -> bool:
    group, _, name = report.name.partition(".")
    if group in GROUPS:
        tally = survey.fields.features[group][name]
        return tally.present > 1 and tally.distinct == 1
    return report.low is not None and report.low == report.high


def _distinct(report: FieldReport) -> str:
    about = "" if report.distinct_exact else "about "
    return f"{about}{report.distinct or 0:,}"
