"""Figures and verdicts of a long run on made-up samples, and one short real run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.resilience import soak
from loadtest.resilience.soak_figures import Growth, Sample, Soaked, figures, judge
from loadtest.rig.openloop.build import why_unavailable
from loadtest.rig.openloop.window import Fault
from tests.loadtest.tables import squeezed
from tests.loadtest.windows import Made, ok, refused, window_of

DEADLINE = {"reason": "deadline", "level": "formula"}


def samples_of(mb_per_hour: float = 0.0, *, files: Sequence[int] = (9,)) -> list[Sample]:
    """One an hour's second for 20 minutes; twice as much memory in the warm-up and while a reload is on its way."""
    found = []
    for second in range(1200):
        reload = second % 180 < 4
        rss = 200 + mb_per_hour * second / 3600 + (200 if second < 150 or reload else 0)
        found.append(Sample(second, rss, files[second * len(files) // 1200], 40, 12, 1, steady=not reload))
    return found


def soaked(samples: Sequence[Sample], *made: Made, reloads: int = 200, scrapes: int = 200) -> Soaked:
    window = window_of([*(ok(k / 10, 8) for k in range(96)), *made], 1200)
    return figures(
        window,
        samples,
        workers=1,
        rate=100,
        warm_up=150,
        reloads={f"status {reloads}": 6},
        scrapes={f"status {scrapes}": 80},
        slowest_scrape_ms=12,
    )


def missed(found: Soaked) -> set[str]:
    return {check.name.partition(": ")[2] for check in judge(found) if not check.passed}


def test_growth_is_the_slope_after_the_warm_up_and_outside_reloads() -> None:
    found = soaked(samples_of(6.0)).growth
    assert found.mb_per_hour == pytest.approx(6.0)
    assert found.start_mb == pytest.approx(200.25, abs=0.02)
    assert found.share == pytest.approx(6 * 1045 / 3600 / 200.25, rel=1e-2)
    with pytest.raises(ValueError, match="3 samples"):
        Growth.of(samples_of()[:2])


def test_shares_and_times_are_those_of_the_lists() -> None:
    found = soaked(samples_of(), ok(1, 50, degraded=DEADLINE), refused(1), refused(2), ok(3, 9))
    assert (found.requests, found.p99_ms) == (100, 50)
    assert (found.degraded, found.refused) == (0.01, 0.02)
    assert missed(found) == set()


def test_each_target_can_be_missed_alone() -> None:
    assert missed(soaked(samples_of(13.0))) == set()
    assert missed(soaked(samples_of(15.0))) == {"growth of memory"}
    assert missed(soaked(samples_of(-15.0))) == set()
    assert missed(soaked(samples_of(files=(9, 9, 9, 10)))) == {"open files"}
    one_more, two_more = ([replace(s, threads=12 + n * (s.second > 1100)) for s in samples_of()] for n in (1, 2))
    assert missed(soaked(one_more)) == set()
    assert missed(soaked(two_more)) == {"threads"}
    assert missed(soaked(samples_of(), Made(1, status=500))) == {"errors"}
    assert missed(soaked(samples_of(), Made(1, fault=Fault.RESET))) == {"errors"}
    assert missed(soaked(samples_of(), reloads=503)) == {"reloads that failed"}
    assert missed(soaked(samples_of(), scrapes=500)) == {"scrapes that failed"}


@pytest.mark.long
@pytest.mark.skipif(bool(why_unavailable()), reason=str(why_unavailable()))
def test_a_short_soak_of_the_demo_bundle_is_reported_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "soak.json"
    short = ["--minutes", "0.12", "--warm-up-minutes", "0.01", "--scrape-seconds", "1", "--reload-minutes", "0.1"]
    status = soak.main([*short, "--workers", "1", "--rate", "20", "--mix", "20=1,50=1", "--json", str(file)])
    report = json.loads(file.read_text("utf-8"))
    assert status == (1 if report["missed"] else 0)
    (run,) = report["runs"]
    assert (run["errors"], run["processes"]) == ({}, [1, 1])
    assert run["requests"] > 50
    assert run["reloads"].keys() == {"status 200"}
    assert run["scrapes"].keys() == {"status 200"}
    assert "| 1 worker: errors | none | none | pass |" in squeezed(capsys.readouterr().out)


def test_a_warm_up_as_long_as_the_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        soak.main(["--minutes", "1", "--warm-up-minutes", "1"])
    assert "--warm-up-minutes" in capsys.readouterr().err
