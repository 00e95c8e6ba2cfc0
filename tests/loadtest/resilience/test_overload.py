"""The overload's figures and verdicts on made-up requests, and one short real run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.resilience import overload
from loadtest.resilience.overload import Figures, Parts, RefusalCost, figures, judge, recovery
from loadtest.rig.answers import read_answers
from loadtest.rig.openloop.build import why_unavailable
from loadtest.rig.openloop.window import Fault
from loadtest.rig.subject import connections_for
from tests.loadtest.tables import squeezed
from tests.loadtest.windows import PAYLOADS, Made, ok, refused, window_of

WAIT = {"reason": "wait", "level": "formula"}
PARTS = Parts(goodput=100, factor=3, seconds=2, share=0.7, around=4)
CHEAP = RefusalCost(0.1, 1000, 200)


def every(gap: float, begin: float, end: float, ms: float = 5.0) -> Iterator[Made]:
    """Full lists."""
    return (ok(begin + k * gap, ms) for k in range(round((end - begin) / gap)))


def overload_of(*, slow_ms: float = 5.0) -> list[Made]:
    """70/s, then 90 full and 10 degraded lists and 200 refusals a second, then 70/s that are slow for a second."""
    middle = [
        made
        for k in range(200)
        for made in (
            ok(4 + k / 100, 15) if k % 10 else ok(4 + k / 100, 19, degraded=WAIT),
            refused(4 + k / 100 + 0.003),
            refused(4 + k / 100 + 0.006),
        )
    ]
    return [*every(1 / 70, 0, 4), *middle, *every(1 / 70, 6, 7, slow_ms), *every(1 / 70, 7, 10)]


def figures_of(made: list[Made], refusal: RefusalCost = CHEAP) -> Figures:
    window = window_of(made, 10)
    return figures(window, read_answers(window, PAYLOADS), PARTS, refusal)


def missed(found: Figures) -> set[str]:
    return {check.name for check in judge(found) if not check.passed}


def test_the_parts_of_a_run_are_told_apart_and_counted() -> None:
    found = figures_of(overload_of())
    assert (found.requests, found.lists, found.full, found.refused) == (600, 200, 180, 400)
    assert found.degraded == {"wait/formula": 20}
    assert found.full_rate == 90
    assert (found.p50_ms, found.p99_ms) == (15, 19)
    assert found.recovery.before_p99_ms == 5
    assert found.recovery.back_seconds == 0.5, "the first piece ends then"
    assert missed(found) == set()


def test_each_target_can_be_missed_alone() -> None:
    good = overload_of()
    slow = [replace(m, ms=21.0) if 4 <= m.second < 4.1 and m.status == 200 else m for m in good]
    assert missed(figures_of(slow)) == {"p99 of the lists"}
    fewer = [m for k, m in enumerate(good) if not (4 <= m.second < 6 and k % 7 == 0)]
    assert missed(figures_of(fewer)) == {"full lists a second"}
    assert missed(figures_of(good, replace(CHEAP, cpu_ms=0.31))) == {"CPU of a refusal"}
    assert missed(figures_of([*good, Made(5, fault=Fault.RESET)])) == {
        "answers that are neither a valid list nor a 503 with Retry-After"
    }
    late = [replace(m, ms=7.0) if m.second >= 8 else m for m in good]
    assert missed(figures_of(late)) == {"p99 from 2 s after the load on"}


def test_the_first_piece_that_is_back_says_how_long_it_took() -> None:
    found = figures_of(overload_of(slow_ms=9)).recovery
    assert found.back_seconds == pytest.approx(1.5)
    assert found.later_p99_ms == 5


def test_refusals_do_not_make_the_time_after_look_quick() -> None:
    before = window_of(list(every(0.01, 0, 4)), 10)
    after = window_of([*every(0.01, 0, 4), *(refused(4 + k / 50) for k in range(300))], 10).between(6, 10)
    found = recovery(before.between(0, 4), after, 6)
    assert (found.back_seconds, found.later_p99_ms) == (math.inf, math.inf)


def test_without_a_p99_before_nothing_is_back() -> None:
    made = [*(refused(k / 10) for k in range(40)), *overload_of()]
    assert missed(figures_of(made)) == {"p99 of 0.5 s back within 1.2 × before", "p99 from 2 s after the load on"}


def test_parts_that_make_no_overload_are_refused_and_connections_grow_with_the_rate() -> None:
    with pytest.raises(ValueError, match="2 s around"):
        Parts(100, around=2)
    assert (connections_for(100), connections_for(3000)) == (256, 1500)


@pytest.mark.long
@pytest.mark.skipif(bool(why_unavailable()), reason=str(why_unavailable()))
def test_a_short_overload_of_the_demo_bundle_is_counted_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "overload.json"
    short = ["--rate", "60", "--seconds", "1", "--around-seconds", "2.1", "--refusal-seconds", "0.5"]
    status = overload.main([*short, "--json", str(file)])
    report = json.loads(file.read_text("utf-8"))
    assert status == (1 if report["missed"] else 0)
    assert report["requests"] == 180
    assert report["lists"] + report["refused"] == 180, "nothing else is ever answered"
    assert report["full"] + sum(report["degraded"].values()) == report["lists"]
    assert (report["faults"], report["unsent"]) == ({}, 0)
    assert report["refusal"]["refusals"] == 60
    assert len(report["checks"]) == 6
    assert "| p99 of the lists | ≤ 20.9 ms |" in squeezed(capsys.readouterr().out)


def test_what_cannot_be_measured_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (["--rate", "-1"], "--rate"), (["--bundles", str(tmp_path)], "--bundle"):
        with pytest.raises(SystemExit, match="2"):
            overload.main(arguments)
        assert words in capsys.readouterr().err
