"""Prometheus accepts the configuration, the alerts do what their unit tests say, and all series exist."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from service.telemetry.metrics import Metrics
from tests.deploy.files import PROMETHEUS, dashboard_expressions, exported_series, metrics_in

yaml = pytest.importorskip("yaml", reason="needs PyYAML")
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed; Debian has it in `prometheus`")


def _promtool(*arguments: str) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_configuration_and_its_rules_are_valid() -> None:
    _promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))


@needs_promtool
def test_alerts_fire_and_stay_silent_as_their_unit_tests_say() -> None:
    _promtool("test", "rules", str(PROMETHEUS / "alerts_test.yml"))


@needs_promtool
def test_every_query_of_the_dashboard_parses(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{i}", "expr": e} for i, (_, e) in enumerate(dashboard_expressions())]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), "utf-8")
    _promtool("check", "rules", str(path))


def _rules() -> list[dict[str, str]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_metric_in_the_rules_exists() -> None:
    series = exported_series()
    for rule in _rules():
        assert metrics_in(rule["expr"]) <= series, rule


def test_every_alert_is_tested_and_says_what_is_wrong() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text("utf-8"))["tests"]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    firing = {check["alertname"] for check in checks if check["exp_alerts"]}
    alerts = [rule for rule in _rules() if "alert" in rule]
    slow = {"RerankLatencyBurnTicket", "RerankDegradedBurnTicket", "RerankDegradedBurnSlow"}
    assert {a["alert"] for a in alerts} - slow == firing, "the slow burns differ from the fast ones in numbers only"
    assert all({"summary", "description"} == set(a["annotations"]) for a in alerts)


def test_the_objective_is_read_at_a_bucket_that_the_service_has() -> None:
    # Prometheus compares `le` as text, so the edge must be written just as the service writes it.
    text = (PROMETHEUS / "alerts.yml").read_text("utf-8")
    assert 'le="0.019"' in text
    assert b'le="0.019"' in generate_latest(Metrics(budget_seconds=0.008).registry)
