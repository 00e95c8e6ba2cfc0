"""Which answers the service may give: every other one is counted in words."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import get_args

import pytest

from loadtest.rig.answers import LEVELS, REASONS, read_answers
from loadtest.rig.openloop.window import Fault
from service.contract.schemas import DegradedReason, Source
from tests.loadtest.windows import PAYLOADS, Made, ok, ranked, refusal, refused, window_of


def test_lists_whole_or_degraded_and_refusals_are_no_faults() -> None:
    rung = {"reason": "wait", "level": "formula"}
    made = [ok(0, version="7"), ok(1, degraded=rung), refused(2), ok(3, degraded={**rung, "level": "input"})]
    answers = read_answers(window_of(made, 4), PAYLOADS)
    assert answers.faults == {}
    assert answers.versions.tolist() == ["7", "1", "", "1"]
    assert answers.rungs.tolist() == ["", "wait/formula", "", "wait/input"]


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (ok(0, items=(("a", 0),)), "1 items instead of 2"),
        (ok(0, items=(("a", 0), ("a", 0))), "an id twice"),
        (ok(0, items=(("a", 0), ("c", 3))), "not the request's at its index"),
        (ok(0, degraded={"reason": "mood", "level": "formula"}), "nobody knows: mood/formula"),
        (ok(0, degraded={"reason": "wait", "level": "model"}), "nobody knows: wait/model"),
        (ok(0, degraded="wait"), "is not a response"),
        (Made(0, body=ranked().replace(b"degraded", b"other")), "is not a response"),
        (Made(0, body=b"{"), "is not a response"),
        (refused(0, retry_after=False), "without Retry-After"),
        (refused(0, problem=False), r"without application/problem\+json"),
        (refused(0, body=b"overloaded"), "no problem document"),
        (refused(0, body=refusal(500)), "says 500"),
        (Made(0, status=500, body=b"{}"), "status 500"),
        (Made(0, fault=Fault.CUT), "no answer: cut"),
    ],
    ids=str,
)
def test_anything_else_is_a_fault_and_named(made: Made, fault: str) -> None:
    answers = read_answers(window_of([ok(0), made, replace(made)], 1), PAYLOADS)
    ((name, count),) = answers.faults.items()
    assert count == 2
    assert re.search(fault, name)
    assert answers.versions.tolist() == ["1", "", ""]


def test_the_known_reasons_and_levels_are_the_services() -> None:
    assert set(REASONS) == set(get_args(DegradedReason))
    assert set(LEVELS) == set(get_args(Source)) - {"model"}
