"""Counts of a check are those that one would count from the records, whatever the windows."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.checking.check import Survey, survey_file
from models.checking.counts import Counts
from models.contract.scalars import Scalar
from models.contract.spec import Category
from models.data.list_file import ListFile
from models.data.list_writer import write_lists
from models.data.records import Candidate, ListRecord
from models.data.windows import ListWindow

BIT = st.integers(0, 1)
VALUES: st.SearchStrategy[Scalar] = st.sampled_from(["a", "b", "c", " ", "é"])
FLOATS = st.floats(0, 100, width=32)


@st.composite
def records(draw: st.DrawFn) -> ListRecord:
    """A list of up to five candidates; the caller sets its id."""
    n = draw(st.integers(1, 5))
    candidates = tuple(
        Candidate(
            f"i{i}",
            draw(st.fixed_dictionaries({"ctr": FLOATS}, optional={"cvr": FLOATS})),
            draw(st.none() | FLOATS),
            draw(st.fixed_dictionaries({"x": VALUES}, optional={"n": FLOATS})),
            draw(st.none() | st.tuples(FLOATS, FLOATS)),
        )
        for i in range(n)
    )
    exposed = draw(st.permutations(range(n)).map(tuple))[: draw(st.integers(1, n))]
    k = len(exposed)
    bits = st.lists(BIT, min_size=k, max_size=k).map(tuple)
    money = st.lists(FLOATS, min_size=k, max_size=k).map(tuple)
    return ListRecord(
        request_id="",
        candidates=candidates,
        exposed=exposed,
        clicks=draw(bits),
        purchases=draw(st.none() | bits),
        gmv=draw(st.none() | money),
        user=draw(st.fixed_dictionaries({}, optional={"age": FLOATS, "town": VALUES})),
        split=draw(st.sampled_from(["train", "valid", "test"])),
    )


def logs() -> st.SearchStrategy[list[ListRecord]]:
    """Up to twelve lists."""
    return st.lists(records(), min_size=1, max_size=12).map(_numbered)


def _numbered(log: Sequence[ListRecord]) -> list[ListRecord]:
    return [replace(record, request_id=f"r{i}") for i, record in enumerate(log)]


def small_windows(file: ListFile, *, embeddings: bool) -> Iterator[ListWindow]:
    """The file's windows of three lists."""
    return WINDOWS(file, size=3, embeddings=embeddings)


WINDOWS = ListFile.windows


def survey(log: Sequence[ListRecord]) -> Survey:
    with tempfile.TemporaryDirectory() as folder, patch.object(ListFile, "windows", small_windows):
        path = Path(folder, "lists.parquet")
        write_lists(path, log, {})
        return survey_file(path)


def counted(log: Sequence[ListRecord]) -> Counts:
    """The counts, list by list in plain Python."""
    total = Counts()
    for record in log:
        purchases, gmv = record.purchases or (0,) * 5, record.gmv or (0.0,) * 5
        places = list(zip(record.clicks, purchases, gmv, strict=False))
        total += Counts(
            lists=1,
            candidates=len(record.candidates),
            shown=len(record.exposed),
            clicks=sum(record.clicks),
            purchases=sum(record.purchases or ()),
            gmv=sum(record.gmv or ()),
            lists_with_purchases_recorded=record.purchases is not None,
            lists_with_gmv_recorded=record.gmv is not None,
            lists_with_nothing_shown=not record.exposed,
            lists_with_one_shown=len(record.exposed) == 1,
            lists_with_all_shown=len(record.exposed) == len(record.candidates),
            lists_with_first_shown=0 in record.exposed,
            lists_without_click=not any(record.clicks),
            purchases_without_click=sum(bool(p and not c) for c, p, _ in places),
            purchases_without_gmv=sum(bool(p and not g and record.gmv is not None) for _, p, g in places),
            gmv_without_purchase=sum(bool(g and not p) for _, p, g in places),
        )
    return total


@settings(max_examples=20)
@given(logs())
def test_counts_by_split_are_those_of_the_records(log: list[ListRecord]) -> None:
    surveyed = survey(log)
    for split, counts in surveyed.counts.items():
        expected = counted([record for record in log if record.split == split])
        assert counts.gmv == pytest.approx(expected.gmv)
        counts.gmv = expected.gmv
        assert counts == expected
    assert surveyed.shown_lengths.longest == max(len(record.exposed) for record in log)
    learnt = [record for record in log if record.split != "test"]
    total = sum(len(record.exposed) for record in learnt)
    lost = surveyed.places.past(2)
    assert (lost is not None) == any(len(record.exposed) > 2 for record in learnt)
    if lost is not None:
        clicks = [sum(sum(record.clicks[start:]) for record in learnt) for start in (2, 0)]
        assert (lost.total["shown"], lost.past["clicks"], lost.total["clicks"]) == (total, *clicks)
        assert lost.past["shown"] == sum(max(0, len(record.exposed) - 2) for record in learnt)
    lengths = sorted(len(record.candidates) for record in log)
    assert surveyed.candidate_lengths.quantile(0.5) == lengths[(len(lengths) - 1) // 2]


@pytest.mark.long
@settings(max_examples=20)
@given(logs())
def test_fields_are_counted_as_in_the_records(log: list[ListRecord]) -> None:
    surveyed = survey(log)
    reports = {report.name: report for report in surveyed.reports}
    items = [candidate for record in log for candidate in record.candidates]
    columns: dict[str, list[Scalar]] = {
        "user.age": [record.user.get("age") for record in log],
        "user.town": [record.user.get("town") for record in log],
        "item.x": [item.features.get("x") for item in items],
        "item.n": [item.features.get("n") for item in items],
        "scores.ctr": [item.scores.get("ctr") for item in items],
        "scores.cvr": [item.scores.get("cvr") for item in items],
        "price": [item.price for item in items],
    }
    for name, values in columns.items():
        present = [value for value in values if value is not None]
        if name not in reports:
            assert not present
            continue
        report = reports[name]
        assert report.missing == pytest.approx(1 - len(present) / len(values))
        if report.distinct is not None:
            assert report.distinct == len(set(present))
        if report.low is not None:
            numbers = np.array(present, float)
            found = (report.low, report.high, report.mean, report.median)
            expected = (numbers.min(), numbers.max(), numbers.mean(), np.median(numbers))
            assert found == pytest.approx(expected)
    field = next((f for f in surveyed.spec.item if f.name == "x"), None) if surveyed.spec else None
    if isinstance(field, Category):
        outside = sum(value not in field.vocabulary for value in columns["item.x"])
        unknown = reports["item.x"].unknown
        assert unknown is not None
        assert math.isclose(unknown, outside / len(items), abs_tol=1e-9)
    given_embeddings = [item for item in items if item.embedding is not None]
    assert surveyed.fields.embedded_share == pytest.approx(len(given_embeddings) / len(items))
    assert surveyed.fields.width == (2 if given_embeddings else None)


@pytest.mark.long
@settings(max_examples=20)
@given(logs(), st.integers(0, 11))
def test_repeats_and_orders_are_those_of_the_records(log: list[ListRecord], repeated: int) -> None:
    log = _numbered([*log, log[repeated % len(log)]])
    surveyed = survey(log)
    contents = {(tuple(sorted(r.user.items())), str(r.candidates).replace("-0.0", "0.0"), r.exposed) for r in log}
    embedded = any(item.embedding is not None for record in log for item in record.candidates)
    if not embedded:
        assert surveyed.requests.repeated_share == pytest.approx(1 - len(contents) / len(log))
    assert surveyed.requests.repeated_share > 0
    compared = followed = 0
    for record in log:
        shown = [record.candidates[i].scores["ctr"] for i in record.exposed]
        compared += len(set(shown)) > 1
        followed += len(set(shown)) > 1 and shown == sorted(shown, reverse=True)
    assert surveyed.exposure.compared["ctr"] == compared
    assert surveyed.exposure.followed["ctr"] == followed
