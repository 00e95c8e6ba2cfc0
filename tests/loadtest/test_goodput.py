"""`python -m loadtest.goodput`: a measured goodput over a real small service, and the workers that a rate needs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from loadtest import goodput
from loadtest.rig.openloop.build import why_unavailable
from models.contract.manifest import Limits
from tests.service.tiny_bundle import Options, write_bundle


def test_workers_are_counted_at_the_lowest_of_the_searches() -> None:
    text = goodput.render([410.0, 400.0, 420.0], rate=2000, budget_ms=19, shared=False)
    assert text.splitlines() == [
        "one worker: 410 requests/s within 19 ms at p99 (400 to 420 over 3 searches)",
        "2000 requests/s: 5 workers, each on CPUs of its own (at 400/s)",
    ]
    assert goodput.render([400.0], rate=401, budget_ms=19, shared=True).splitlines()[1].startswith("401 requests/s: 2 ")
    assert "shared" in goodput.render([400.0], rate=None, budget_ms=19, shared=True)


@pytest.mark.long
@pytest.mark.skipif(bool(why_unavailable()), reason=str(why_unavailable()))
def test_a_small_service_has_a_goodput(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path / "bundles", Options(limits=Limits(list_length=10, queues=3)))
    # A budget that a busy machine keeps too, at some rate: what is tested is the way from options to answer.
    short = ["--searches", "1", "--seconds", "0.3", "--candidates", "20", "--budget-ms", "500"]
    short += ["--form", "catalogue", "--items", "50", "--embedding-width", "4"]
    served = ["--bundles", str(tmp_path / "bundles"), "--serve-options", "--budget-ms 10000"]
    file = tmp_path / "goodput.json"
    assert goodput.main([*served, *short, "--rate", "2000", "--json", str(file)]) == 0
    shown = capsys.readouterr().out
    (rate,) = json.loads(file.read_text("utf-8"))["goodput"]
    assert rate >= 10
    assert f"one worker: {rate:.0f} requests/s within 500 ms" in shown
    assert re.search(r"2000 requests/s: \d+ workers", shown)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rate", "0"], "--rate: must be positive, not 0"),
        (["--rate", "-5"], "--rate: must be positive, not -5"),
        (["--searches", "0"], "--searches: must be positive, not 0"),
        (["--seconds", "0"], "--seconds: must be positive, not 0"),
        (["--budget-ms", "-1"], "--budget-ms: must be positive, not -1"),
        (["--cpus", "4096"], "--cpus: must be 1 to"),
        (["--bundles", "nowhere"], "--bundle: say which"),
        (["--rate", "fast"], "invalid float value: 'fast'"),
    ],
)
def test_a_wrong_option_is_named(capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        goodput.main(options)
    assert message in capsys.readouterr().err
