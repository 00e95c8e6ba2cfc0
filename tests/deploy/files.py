"""Where the deployment files are, and the metrics that the service really has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry.metrics import Metrics
from service.workers.gathering import SupervisorMetrics
from tests.documents import spans

ROOT: Final = Path(__file__).parents[2]
PROMETHEUS: Final = ROOT / "deploy" / "prometheus"
READY: Final = ROOT / "deploy" / "listwright-ready"
"""The health check of the containers."""
DASHBOARD: Final = ROOT / "deploy" / "grafana" / "dashboards" / "listwright.json"

RUNBOOK: Final = ROOT / "docs" / "runbook.md"

_SUFFIXES: Final = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}
_WITHOUT_SUM: Final = "rerank_shadow_kendall_tau"
"""It has negative values, and the client library gives no sum for a histogram with these."""

_METRIC: Final = re.compile(r"(?<![:\w])rerank_\w+")
_SELECTOR: Final = re.compile(r"(?<![:\w])(rerank_\w+)\{([^}]*)\}")
_MATCHER: Final = re.compile(r'(\w+)(?:=|!=|=~|!~)"([^"]*)"')


def supervisor_metrics(workers: int = 1) -> SupervisorMetrics:
    """Metrics of a supervisor that has engine processes, too."""
    made = SupervisorMetrics(lambda: workers, workers)
    made.show_engines(lambda: 1, lambda: 1)
    return made


def exported_families() -> dict[str, frozenset[str]]:
    """The series of each family that a scrape can have, of one process or of several.

    Families of the client library (`process_`, `python_`) are left out.
    """
    registries = (Metrics(budget_seconds=0.019).registry, supervisor_metrics().registry)
    return {
        family.name: frozenset(family.name + suffix for suffix in _SUFFIXES.get(family.type, ("",)))
        for text in (generate_latest(registry).decode() for registry in registries)
        for family in text_string_to_metric_families(text)
        if family.name.startswith("rerank_")
    }


def exported_series() -> frozenset[str]:
    """Every series name that a scrape can have, of one process or of several."""
    return frozenset().union(*exported_families().values()) - {f"{_WITHOUT_SUM}_sum"}


def family_of(series: str) -> str:
    """The metric that a series belongs to, by its name."""
    return re.sub("_(bucket|sum|count|total)$", "", series)


def metrics_in(expression: str) -> set[str]:
    """The service's metrics that a PromQL expression names; recorded series, which have colons, are not among them."""
    return set(_METRIC.findall(expression))


def matched_values(expression: str) -> set[tuple[str, str, str]]:
    """Metric, label and value of every matcher in a PromQL expression; of a pattern each alternative.

    A matcher for anything, as for a variable of the dashboard, selects nothing.
    """
    return {
        (metric, label, value)
        for metric, matchers in _SELECTOR.findall(expression)
        for label, pattern in _MATCHER.findall(matchers)
        if pattern != ".*"
        for value in pattern.split("|")
    }


def runbook_queries() -> Iterator[str]:
    """Every query of the runbook: those in blocks, of which some have several lines, and those in the prose."""
    text = RUNBOOK.read_text("utf-8")
    for block in re.findall(r"^```promql\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from re.split(r"\n(?! )", block.strip())
    yield from (span for span in spans(text) if "rerank_" in span)


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels."""
    return list(json.loads(DASHBOARD.read_text("utf-8"))["panels"])


def variables() -> list[dict[str, Any]]:
    """What can be chosen on the dashboard."""
    return list(json.loads(DASHBOARD.read_text("utf-8"))["templating"]["list"])


def dashboard_expressions() -> Iterator[tuple[str, str]]:
    """Panel title and PromQL of every query, where all deployments are chosen and Grafana's own range is fixed."""
    chosen = {"$__rate_interval": "1m", **{f"${variable['name']}": variable["allValue"] for variable in variables()}}
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in chosen.items():
                expression = expression.replace(name, value)
            yield panel["title"], expression
