"""Prometheus accepts the configuration, the alerts do what their unit tests say, and all series exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.alerts import __main__ as command
from deploy.alerts.__main__ import main
from deploy.alerts.files import ALERTS, GROUPS, RESOURCE_FILE, RULES_FILE, rules
from deploy.alerts.objectives import TARGET
from deploy.alerts.rules import AS_WRITTEN, DAY, SHORTENED, duration
from service.telemetry.objectives import TARGET_SHARE
from tests.deploy.files import (
    PROMETHEUS,
    dashboard_expressions,
    exported_series,
    family_of,
    metrics_in,
    runbook_queries,
)

yaml = pytest.importorskip("yaml", reason="needs PyYAML")
DASHBOARD_QUERIES: Final = [expression for _, expression in dashboard_expressions()]
RUNBOOK_QUERIES: Final = list(runbook_queries())
UNIT_TESTS: Final = sorted((PROMETHEUS / "tests").glob("*.yml"))
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed; Debian has it in `prometheus`")


def _promtool(*arguments: str) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_configuration_and_its_rules_are_valid() -> None:
    _promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))


@pytest.mark.long
@needs_promtool
@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.stem)
def test_alerts_fire_and_stay_silent_as_their_unit_tests_say(file: Path) -> None:
    _promtool("test", "rules", str(file))


@needs_promtool
def test_rules_with_shortened_windows_are_valid(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(rules(SHORTENED), "utf-8")
    _promtool("check", "rules", str(path))


@needs_promtool
@pytest.mark.parametrize("queries", [DASHBOARD_QUERIES, RUNBOOK_QUERIES], ids=["dashboard", "runbook"])
def test_every_query_parses(tmp_path: Path, queries: list[str]) -> None:
    rules = [{"record": f"query:{i}", "expr": query} for i, query in enumerate(queries)]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}), "utf-8")
    _promtool("check", "rules", str(path))


def _groups(path: Path) -> list[dict[str, Any]]:
    document = yaml.safe_load(path.read_text("utf-8"))
    return list(document.get("spec", document)["groups"])


def test_every_metric_in_the_rules_exists() -> None:
    series = exported_series()
    for rule in (rule for group in _groups(RULES_FILE) for rule in group["rules"]):
        assert metrics_in(rule["expr"]) <= series, rule


def test_every_metric_in_the_runbook_exists() -> None:
    histograms = {family_of(series) for series in exported_series() if series.endswith("_bucket")}
    assert len(RUNBOOK_QUERIES) > 30
    for query in RUNBOOK_QUERIES:
        assert metrics_in(query) <= exported_series() | histograms, query


def test_every_file_made_from_the_alerts_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err
    assert _groups(RULES_FILE) == _groups(RESOURCE_FILE), "Kubernetes gets the same groups"


def test_a_file_that_is_not_up_to_date_is_named_and_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = tmp_path / "made" / "alerts.yml"
    monkeypatch.setattr(command, "documents", lambda runbook: {stale: runbook})
    assert main(["--check"]) == 1
    assert str(stale) in capsys.readouterr().err
    assert main(["--runbook", "https://wiki/page"]) == 0
    assert stale.read_text("utf-8") == "https://wiki/page"


def test_every_alert_has_a_unit_test_in_which_it_fires_and_one_in_which_it_is_silent() -> None:
    tests = [test for file in UNIT_TESTS for test in yaml.safe_load(file.read_text("utf-8"))["tests"]]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    names = {alert.name for alert in ALERTS}
    assert {check["alertname"] for check in checks if check["exp_alerts"]} == names
    assert {check["alertname"] for check in checks if not check["exp_alerts"]} >= names - {"RerankAllDown"}


def test_every_alert_says_what_is_wrong_and_where_to_read_on() -> None:
    for alert in ALERTS:
        rendered = alert.render(AS_WRITTEN, "https://wiki/page")
        annotations = rendered["annotations"]
        assert isinstance(annotations, dict)
        assert annotations["runbook_url"] == f"https://wiki/page#{alert.name.lower()}"
        assert annotations["summary"]
        assert annotations["description"].endswith((".", "?"))


def test_the_alerts_hold_the_services_own_objective() -> None:
    assert TARGET == TARGET_SHARE


def test_the_alerts_hard_code_no_budget_and_no_window() -> None:
    for group in GROUPS:
        for rule in group.rules:
            assert "le=" not in rule.expr, rule
            assert not re.search(r"\[\d|offset \d", rule.expr), rule


def test_windows_are_shortened_for_a_test_and_limits_stay() -> None:
    (alert,) = [alert for alert in ALERTS if alert.name == "RerankLatencyBurnSlow"]
    written, shortened = (alert.render(pace, "")["expr"] for pace in (AS_WRITTEN, SHORTENED))
    assert "[6h])) >= 300" in str(written)
    assert "[30s])) >= 20" in str(shortened)
    assert "> 6 * 0.01" in str(written)
    assert "> 6 * 0.01" in str(shortened)


@pytest.mark.parametrize(("seconds", "text"), [(5, "5s"), (90, "90s"), (300, "5m"), (7200, "2h"), (DAY, "1d")])
def test_durations_are_written_as_prometheus_does(seconds: int, text: str) -> None:
    assert duration(seconds) == text
