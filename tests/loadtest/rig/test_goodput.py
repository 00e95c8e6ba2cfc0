"""The search for the highest rate that is kept, against servers of which that rate is known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.rig.goodput import Goodput, Rules, Search, Trial, find_goodput
from loadtest.rig.openloop.window import RECORD, DegradedField, Fault, Hiccups, Window

SECOND = 10**9


def trial(rate: float, *, kept: bool, discarded: bool = False) -> Trial:
    return Trial(rate, 100, 1.0, 2.0, rate, 0, 0, 0, kept, discarded)


def server(limit: float) -> Callable[[float], Trial]:
    return lambda rate: trial(rate, kept=rate <= limit)


@given(limit=st.floats(12, 18_000), guess=st.floats(10, 20_000), step=st.floats(1.05, 3))
def test_the_rate_found_is_kept_and_a_little_more_is_not(limit: float, guess: float, step: float) -> None:
    found = find_goodput(server(limit), Search(guess=guess, step=step, resolution=1.03))
    assert found.rate <= limit
    above = [t.rate for t in found.trials if not t.kept]
    if above:
        assert limit < min(above) <= found.rate * 1.03 * (1 + 1e-9)
    else:
        raise AssertionError("no rate above the limit was tried")


def test_a_server_that_keeps_no_rate_has_none() -> None:
    found = find_goodput(server(1.0), Search(guess=100, step=2))
    assert found.rate == 0
    assert min(t.rate for t in found.trials) == 10


def test_a_rate_is_given_up_after_two_windows_and_kept_after_one() -> None:
    found = find_goodput(server(100), Search(guess=90, step=1.5, resolution=1.1))
    windows = Counter(t.rate for t in found.trials)
    assert all(windows[t.rate] == (1 if t.kept else 2) for t in found.trials)


def test_one_bad_window_does_not_cost_a_rate() -> None:
    seen: Counter[float] = Counter()

    def offer(rate: float) -> Trial:
        seen[rate] += 1
        return trial(rate, kept=rate <= 200 and seen[rate] > 1)

    found = find_goodput(offer, Search(guess=150, step=1.2, resolution=1.05))
    assert 200 / 1.05 <= found.rate <= 200


def test_a_disturbed_window_is_measured_again_but_not_for_ever() -> None:
    seen: Counter[float] = Counter()

    def offer(rate: float) -> Trial:
        seen[rate] += 1
        return trial(rate, kept=rate <= 100 and seen[rate] == 3, discarded=seen[rate] < 3)

    assert find_goodput(offer, Search(guess=99, step=1.04, resolution=1.03)).rate == 99
    always = find_goodput(lambda rate: trial(rate, kept=rate <= 100, discarded=True), Search(guess=99, step=1.04))
    assert always.rate == 99
    assert Counter(t.rate for t in always.trials)[99] == 4, "three repeats, then it counts"


@pytest.mark.parametrize("wrong", [{"guess": 5.0}, {"guess": 100.0, "step": 1.01}, {"guess": 100.0, "resolution": 1.0}])
def test_a_search_that_could_not_end_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a search needs"):
        Search(**wrong)


def window(times_ms: list[float], *, seconds: float = 1.0, steal: float = 0.0, hiccup: float = 0.1) -> Window:
    records = np.zeros(len(times_ms), RECORD)
    records["intended"] = SECOND
    records["done"] = SECOND + (np.array(times_ms) * 1e6).astype(np.int64)
    records["status"] = 200
    records["list"] = DegradedField.NULL
    hiccups = Hiccups(100, hiccup, hiccup * 2)
    return Window(records, SECOND, seconds, hiccups, {0: steal, 1: 0.0}, 0.1, len(times_ms))


def changed(base: Window, rows: int, **columns: Any) -> Window:
    records = base.records.copy()
    for name, value in columns.items():
        records[name][:rows] = value
    return replace(base, records=records)


def test_a_window_is_kept_up_to_one_request_in_a_hundred_that_has_no_list_in_time() -> None:
    rules = Rules()
    fine = window([5.0] * 99 + [50.0])
    assert rules.judge(fine, 100.0) == Trial(100.0, 100, 5.0, 5.0, 99.0, 0, 0, 0, kept=True)
    assert not rules.judge(window([5.0] * 98 + [50.0] * 2), 100.0).kept
    assert rules.judge(window([19.0] * 100, seconds=2.0), 50.0).full_rate == 50.0


@pytest.mark.parametrize(
    ("columns", "counted"),
    [
        ({"list": DegradedField.YES}, {"degraded": 2}),
        ({"status": 503, "list": DegradedField.UNSAID}, {"refused": 2}),
    ],
    ids=["degraded", "refused"],
)
def test_what_is_no_full_list_weighs_as_a_late_one(columns: dict[str, int], counted: dict[str, int]) -> None:
    judged = Rules().judge(changed(window([5.0] * 100), 2, **columns), 100.0)
    assert not judged.kept
    assert math.isinf(judged.p99_ms)
    assert judged.full_rate == 98.0
    assert judged.errors == 0
    assert {name: getattr(judged, name) for name in counted} == counted
    assert Rules().judge(changed(window([5.0] * 100), 1, **columns), 100.0).kept


@pytest.mark.parametrize("columns", [{"error": Fault.CUT}, {"status": 500}], ids=["cut", "500"])
def test_a_single_error_loses_the_rate(columns: dict[str, int]) -> None:
    judged = Rules().judge(changed(window([5.0] * 1000), 1, **columns), 1000.0)
    assert (judged.errors, judged.kept) == (1, False)


def test_a_window_is_discarded_for_what_happened_outside_only() -> None:
    rules = Rules()
    assert not rules.judge(window([900.0] * 10), 10.0).discarded
    assert rules.judge(window([5.0] * 10, steal=0.05), 10.0).discarded
    assert rules.judge(window([5.0] * 10, hiccup=4.0), 10.0).discarded


def test_an_empty_window_keeps_nothing() -> None:
    assert not Rules().judge(window([]), 1.0).kept


def test_goodput_carries_every_window() -> None:
    found = find_goodput(server(100), Search(guess=100))
    assert isinstance(found, Goodput)
    assert found.trials[0].rate == 100
