"""Warn about fields: read as something that they may not be, or of little use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from models.checking.check import Survey
from models.checking.fields import GROUPS, FieldReport
from models.checking.findings import Finding, plural, share_text
from models.checking.repeats import is_id_name
from models.checking.tallies import ValueTally, alike
from models.contract.scalars import MISSING_WORDS

_CODE: Final = re.compile(r"(code|type)$|(^|[_\-. ])(kind|class|category|cat|brand|zip|status)$", re.IGNORECASE)
_FEW: Final = 32
_EXACT: Final = 2.0**53
_LISTED: Final = 20
_MOSTLY: Final = 0.5
_UNKNOWN: Final = 0.2
_NOTHING: Final = MISSING_WORDS | {""}

_Field = tuple[FieldReport, ValueTally]


def field_findings(survey: Survey) -> Iterator[Finding]:
    """Warn about the features of user, context and item, except those ignored by choice."""
    fields = list(_features(survey))
    yield from _hashed(survey, fields)
    yield from _kinds(survey, fields)
    yield from _texts([(report, tally) for report, tally in fields if tally.holds_text])
    yield from _useless(survey)


def _features(survey: Survey) -> Iterator[_Field]:
    reports = {report.name: report for report in survey.reports}
    for group in GROUPS:
        for name, tally in sorted(survey.fields.features[group].items()):
            if survey.choices.kind(group, name) != "ignore" and tally.present:
                yield reports[f"{group}.{name}"], tally


def _hashed(survey: Survey, fields: Sequence[_Field]) -> Iterator[Finding]:
    """Name every hashed field; those of users even where hashing was chosen."""
    hashed = [report for report, _ in fields if report.read_as == "hashed"]
    for report in hashed:
        if report.name.startswith("user."):
            text = f"{report.name} is hashed: {_distinct(report)} share {report.buckets or 0:,} rows."
            advice = (
                "If it names single users, the model may learn them by heart, and new users get a row at random. "
                f"`--ignore {report.name}` leaves it out."
            )
            yield Finding("field-hashed", text, advice)
    others = [r for r in hashed if not r.name.startswith("user.") and not _chosen(survey, r)]
    if others:
        sizes = _listed(f"{r.name} ({_distinct(r)} in {r.buckets or 0:,} rows)" for r in others)
        text = f"too many values for a vocabulary, hence hashed: {sizes}."
        advice = (
            f"Values seen a few times are learnt badly. `--ignore {others[0].name}` leaves a field out; "
            f"`--field {others[0].name}=category` keeps its most frequent values."
        )
        yield Finding("field-hashed", text, advice)


def _kinds(survey: Survey, fields: Sequence[_Field]) -> Iterator[Finding]:
    """Warn about fields that may not be what they are read as."""
    codes = [
        report
        for report, tally in fields
        if report.read_as == "number" and not _chosen(survey, report) and tally.whole and _like_codes(report, tally)
    ]
    if codes:
        text = f"whole numbers read as numbers, so that a larger one counts as more: {_listed(map(_counted, codes))}."
        advice = (
            f"If they are codes and not amounts, pass `--field {codes[0].name}=category` (or hash), or write them as "
            "text."
        )
        yield Finding("codes-read-as-numbers", text, advice)
    if rounded := [report.name for report, tally in fields if report.read_as == "number" and _rounded(tally)]:
        text = f"whole numbers past 2^53 read as numbers, so that different ones count as the same: {_listed(rounded)}."
        advice = f"If they are ids or hashes, pass `--field {rounded[0]}=hash` (or category, or ignore)."
        yield Finding("numbers-rounded", text, advice)
    unread = [report.name for report, _ in fields if report.read_as == "ignored" and survey.spec is not None]
    if unread:
        text = f"not read, since nothing shown in the training lists has a value: {_listed(unread)}."
        yield Finding("field-not-read", text, "Check why it is missing there, or leave it out.")
    unknown = [report for report, _ in fields if report.unknown is not None and report.unknown > _UNKNOWN]
    if unknown:
        shares = _listed(f"{r.name} ({share_text(r.unknown or 0)})" for r in unknown)
        text = f"values outside the vocabulary, hence unknown: {shares}."
        advice = (
            f"Raise `--max-vocabulary`, or pass `--field {unknown[0].name}=hash`; values seen once are never in it."
        )
        yield Finding("values-outside-vocabulary", text, advice)


def _like_codes(report: FieldReport, tally: ValueTally) -> bool:
    """Tell whether whole numbers look like codes, by name or by few values."""
    if tally.numbers.low >= 0 and tally.numbers.high <= 1:
        return False  # A flag is the same as a number.
    name = report.name.partition(".")[2]
    return (1 < tally.distinct <= _FEW) or is_id_name(name) or _CODE.search(name) is not None


def _rounded(tally: ValueTally) -> bool:
    """Tell whether whole numbers are too large for a float to tell neighbours apart."""
    return tally.whole and max(-tally.numbers.low, tally.numbers.high) > _EXACT


def _texts(fields: Sequence[_Field]) -> Iterator[Finding]:
    """Warn about what texts hold."""
    numeric = [f"{report.name} ({report.read_as})" for report, tally in fields if tally.numeric_text]
    if numeric:
        text = f"text that holds numbers only, for which 9 and 10 are as far apart as 9 and 90: {_listed(numeric)}."
        yield Finding("numbers-as-text", text, "If they are amounts, write them as numbers. For codes this is right.")
    pairs, nothing = [], []
    for report, tally in fields:
        values = [value for value, _ in tally.frequent()]
        pairs += [f"{report.name} ({one!r} and {other!r})" for one, other in alike(values)[:1]]
        nothing += [f"{report.name} ({value!r})" for value in values if value.strip().lower() in _NOTHING][:1]
    if pairs:
        text = f"values that differ only by case or blanks: {_listed(pairs)}."
        yield Finding("values-alike", text, "They count as different values, also in requests. Write them one way.")
    if nothing:
        text = f"texts that stand for nothing, and are read as values like any other: {_listed(nothing)}."
        yield Finding("missing-as-text", text, "Write null where nothing is known.")


def _useless(survey: Survey) -> Iterator[Finding]:
    """Warn about fields that say little or nothing."""
    mostly = [r.name for r in survey.reports if not _ignored(survey, r) and _MOSTLY < r.missing < 1]
    if mostly:
        text = f"missing in more than half: {_listed(mostly)}."
        yield Finding("mostly-missing", text, "A missing number reads as the median. Fill the field or leave it out.")
    empty = [r.name for r in survey.reports if r.missing == 1 and r.name != "price" and not _ignored(survey, r)]
    if empty:
        yield Finding("no-values", f"without any value: {_listed(empty)}.", "Fill the field or leave it out.")
    if constant := [r.name for r in survey.reports if not _ignored(survey, r) and _constant(survey, r)]:
        text = f"always the same value: {_listed(constant)}."
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


def _chosen(survey: Survey, report: FieldReport) -> bool:
    group, _, name = report.name.partition(".")
    return survey.choices.kind(group, name) is not None


def _counted(report: FieldReport) -> str:
    return f"{report.name} ({_distinct(report)})"


def _distinct(report: FieldReport) -> str:
    about = "" if report.distinct_exact else "about "
    return about + plural(report.distinct or 0, "value")


def _listed(names: Iterable[str]) -> str:
    """Join names, at most some of them."""
    listed = list(names)
    more = f" and {len(listed) - _LISTED:,} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + more
