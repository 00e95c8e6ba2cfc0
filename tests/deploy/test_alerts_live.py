"""The live test of the alerts: it names every alert, tells firing from silence, and one fault really fires."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.alerts.files import ALERTS
from deploy.alerts.live import __main__ as live
from deploy.alerts.live.fault import Fault, Outcome, Stage, metrics_of
from loadtest.resilience.chaos.scenario import Skipped, Trial
from tests.deploy.files import ROOT


def outcome(folder: Path, alerts: Sequence[str], fired: Sequence[str], error: str | None = None) -> Outcome:
    trial = Trial(folder, folder, random.Random(0))
    stage = Stage(trial, alerts, dict.fromkeys(fired, 12.0), frozenset({"rerank_latency_p99_seconds"}))
    return Outcome(Fault(name="made-up", alerts=alerts, how="by hand", act=lambda _: None), stage, error=error)


def test_every_alert_has_a_fault_that_makes_it_fire() -> None:
    assert {name for fault in live.FAULTS for name in fault.alerts} == {alert.name for alert in ALERTS}
    assert len({fault.name for fault in live.FAULTS}) == len(live.FAULTS)


def test_the_runbook_says_how_each_alert_is_made_to_fire() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|")) for line in text.splitlines() if line[:3] == "| `"
    ]
    rows = [row for row in rows if row[0].startswith("`Rerank")]
    first: dict[str, str] = {}
    for fault in live.FAULTS:
        for name in fault.alerts:
            first.setdefault(name, fault.how)
    assert [row[:2] for row in rows] == [(f"`{alert.name}`", first[alert.name]) for alert in ALERTS]
    assert all(re.fullmatch(r"\d+ s", row[2]) for row in rows)


def test_a_fault_fails_if_an_alert_stays_silent_and_the_series_that_it_lacks_are_named(tmp_path: Path) -> None:
    wanted = ("RerankP99OverBudget", "RerankScenesRefused")
    found = outcome(tmp_path, wanted, ("RerankScenesRefused", "RerankDown"))
    assert found.failed
    (why,) = found.why()
    assert why.startswith("RerankP99OverBudget did not fire: no series rerank_latency_budget_seconds, ")
    assert not outcome(tmp_path, wanted, wanted).failed
    assert outcome(tmp_path, wanted, wanted, "OSError: no").failed


def test_without_a_fault_nothing_may_fire(tmp_path: Path) -> None:
    assert not outcome(tmp_path, (), ()).failed
    assert outcome(tmp_path, (), ("RerankDown",)).why() == ["RerankDown fired without a fault"]


def test_an_alert_reads_the_series_of_the_service_and_not_recorded_ones() -> None:
    assert metrics_of("RerankLatencyBurnFast") == {"rerank_slo_valid_total"}


def test_the_table_has_each_alert_once_and_the_command_fails_with_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fire(stage: Stage) -> None:
        stage.fired["RerankDown"] = 7.2

    def skip(_: Stage) -> None:
        raise Skipped("needs a moon")

    def silent(_: Stage) -> None:
        pass

    acts = {"first": fire, "second": fire, "skipped": skip, "silent": silent}
    faults = tuple(Fault(name=n, alerts=("RerankDown",), how=f"by {n}", act=act) for n, act in acts.items())
    monkeypatch.setattr(live, "FAULTS", faults)
    assert live.main(["--only", "first", "second", "skipped"]) == 0
    out = capsys.readouterr().out
    assert out.count("`RerankDown`") == 1
    assert "by first" in out
    assert "1 of" in out
    assert live.main(["--json", str(tmp_path / "made" / "alerts.json")]) == 1
    assert "RerankDown did not fire" in (tmp_path / "made" / "alerts.json").read_text("utf-8")


def test_an_unknown_fault_is_named_and_all_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        live.main(["--only", "scenes", "nothing"])
    assert "nothing" in capsys.readouterr().err
    assert live.main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(live.FAULTS)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_refused_scenes_fire_in_a_real_prometheus(tmp_path: Path) -> None:
    (fault,) = (fault for fault in live.FAULTS if fault.name == "scenes")
    found = live.carry_out(fault, tmp_path, tmp_path / "cache")
    assert not found.failed, found.why()
