"""Format a survey of a list file as text and as JSON."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

from tabulate import tabulate

from models.checking.about_fields import field_findings
from models.checking.about_lists import list_findings
from models.checking.about_outcomes import outcome_findings
from models.checking.about_scores import score_findings
from models.checking.check import Survey
from models.checking.counts import Counts
from models.checking.fields import FieldReport
from models.checking.findings import Finding, of_lists, share_text

WIDTH: Final = 100
_NOTES: Final = ("source", "split", "exposure", "prior", "simulated")
_NAME, _TEXT = 30, 14


def findings(survey: Survey) -> tuple[Finding, ...]:
    """Collect all warnings: lists, outcomes, scores, fields."""
    parts = (list_findings, outcome_findings, score_findings, field_findings)
    return tuple(chain.from_iterable(part(survey) for part in parts))


def report_text(source: str | Path, survey: Survey, notes: Mapping[str, Any]) -> str:
    """Format everything for the terminal."""
    found = findings(survey)
    parts = [
        "\n".join([str(source), *_note_lines(notes)]),
        _counts_table(survey),
        "\n".join(_list_lines(survey)),
        _fields_table(survey.reports),
        "\n".join(_warning_lines(found)),
    ]
    return "\n\n".join(parts)


def report_json(source: str | Path, survey: Survey, notes: Mapping[str, Any]) -> dict[str, Any]:
    """Describe everything as plain JSON."""
    return {
        "file": str(source),
        "notes": dict(notes),
        "splits": {split: dataclasses.asdict(counts) for split, counts in survey.counts.items()},
        "total": dataclasses.asdict(survey.total),
        "fields": [dataclasses.asdict(report) for report in survey.reports],
        "embeddings": _embeddings(survey),
        "warnings": [dataclasses.asdict(finding) for finding in findings(survey)],
    }


def short_text(source: str | Path, survey: Survey) -> str:
    """Format the warnings without advice, as training prints them."""
    found = findings(survey)
    checked = f"checked {survey.total.lists:,} lists"
    if not found:
        return f"{checked}: nothing odd"
    head = f"{checked}: {_number_of(found)} (`listwright data check {source}` says what to do)"
    lines = [_wrapped(f"{i}. {finding.text}", "     ") for i, finding in enumerate(found, 1)]
    return "\n".join([head, *(f"  {line}" for line in lines)])


def _note_lines(notes: Mapping[str, Any]) -> Iterator[str]:
    for name in _NOTES:
        if name in notes:
            yield _wrapped(f"{name}: {notes[name]}", "  ")


def _counts_table(survey: Survey) -> str:
    rows = [_counts_row(split, counts) for split, counts in survey.counts.items()]
    heads = ("split", "lists", "candidates", "shown", "clicks", "purchases", "gmv", "without a click")
    return _table(heads, [*rows, _counts_row("all", survey.total)], "lrrrrrrr")


def _counts_row(name: str, counts: Counts) -> tuple[str, ...]:
    bought = f"{counts.purchases:,}" if counts.lists_with_purchases_recorded else "-"
    gmv = f"{counts.gmv:,.2f}" if counts.lists_with_gmv_recorded else "-"
    without = share_text(counts.lists_without_click / counts.lists) if counts.lists else "-"
    numbers = (counts.lists, counts.candidates, counts.shown, counts.clicks)
    return (name, *(f"{number:,}" for number in numbers), bought, gmv, without)


def _list_lines(survey: Survey) -> Iterator[str]:
    for what, lengths in (("candidates", survey.candidate_lengths), ("shown", survey.shown_lengths)):
        yield f"{what} a list: median {lengths.quantile(0.5):,}, longest {lengths.longest:,}"
    total = survey.total
    yield f"nothing shown: {of_lists(total.lists_with_nothing_shown, total.lists)}"
    for name in survey.users.overlaps():
        users = ", ".join(f"{survey.users.distinct(name, split):,} {split}" for split in survey.counts)
        yield f"users by user.{name}: {users}"
    if survey.reads_embeddings:
        told = _embeddings(survey)
        share, width = share_text(told["share"]), told["width"]
        yield "embeddings: none" if width is None else f"embeddings: {share} of the candidates, width {width}"


def _embeddings(survey: Survey) -> dict[str, Any]:
    if not survey.reads_embeddings:
        return {"share": None, "width": None}
    return {"share": survey.fields.embedded_share, "width": survey.fields.width}


def _fields_table(reports: Sequence[FieldReport]) -> str:
    heads = ("field", "read as", "values", "mean", "median", "missing", "unknown", "for example")
    rows = [
        (
            _cut(r.name, _NAME), r.read_as, _values(r), _number(r.mean), _number(r.median), share_text(r.missing),
            "" if r.unknown is None else share_text(r.unknown), _example(r.sample),
        )
        for r in reports
    ]  # fmt: skip
    return _table(heads, rows, "lllrrrrl")


def _values(report: FieldReport) -> str:
    if report.read_as == "category":
        return f"{report.vocabulary:,}"
    if report.read_as == "hashed":
        about = "" if report.distinct_exact else "~"
        return f"{about}{report.distinct or 0:,} in {report.buckets or 0:,}"
    if report.low is not None:
        return f"{_number(report.low)} to {_number(report.high)}"
    return ""


def _example(sample: Sequence[str]) -> str:
    text = ""
    for value in sample:
        printable = "".join(c if c.isprintable() else "�" for c in value)
        longer = ", ".join(filter(None, (text, _cut(printable, _TEXT))))
        if len(longer) > _TEXT:
            break
        text = longer
    return text


def _warning_lines(found: Sequence[Finding]) -> Iterator[str]:
    if not found:
        yield "Nothing odd was found."
        return
    yield f"{_number_of(found)}:"
    for i, finding in enumerate(found, 1):
        yield _wrapped(f"{i:>2}. {finding.code}: {finding.text}", "    ")
        yield _wrapped(f"    {finding.advice}", "    ")


def _number_of(found: Sequence[Finding]) -> str:
    return f"{len(found)} warning" + ("" if len(found) == 1 else "s")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _wrapped(text: str, indent: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> str:
    align = tuple("right" if side == "r" else "left" for side in sides)
    # Heads go in as a row, since tabulate would make their columns wider.
    return tabulate([heads, *rows], (), "plain", colalign=align, disable_numparse=True)
