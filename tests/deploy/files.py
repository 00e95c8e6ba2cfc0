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

ROOT: Final = Path(__file__).parents[2]
PROMETHEUS: Final = ROOT / "deploy" / "prometheus"
READY: Final = ROOT / "deploy" / "listwright-ready"
"""The health check of the containers."""
DASHBOARD: Final = ROOT / "deploy" / "grafana" / "dashboards" / "listwright.json"

_SUFFIXES: Final = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}
_METRIC: Final = re.compile(r"(?<![:\w])rerank_\w+")


def exported_families() -> dict[str, frozenset[str]]:
    """The series of each family that a scrape can have, of one process or of several.

    Families of the client library (`process_`, `python_`) and times of creation are left out.
    """
    registries = (Metrics(budget_seconds=0.019).registry, SupervisorMetrics(lambda: 0, 1).registry)
    return {
        family.name: frozenset(family.name + suffix for suffix in _SUFFIXES.get(family.type, ("",)))
        for text in (generate_latest(registry).decode() for registry in registries)
        for family in text_string_to_metric_families(text)
        if family.name.startswith("rerank_") and not family.name.endswith("_created")
    }


def exported_series() -> frozenset[str]:
    """Every series name that a scrape can have, of one process or of several."""
    return frozenset().union(*exported_families().values())


def metrics_in(expression: str) -> set[str]:
    """The service's metrics that a PromQL expression names; recorded series, which have colons, are not among them."""
    return set(_METRIC.findall(expression))


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels."""
    return list(json.loads(DASHBOARD.read_text("utf-8"))["panels"])


def dashboard_expressions() -> Iterator[tuple[str, str]]:
    """Panel title and PromQL of every query, Grafana's own variable replaced by a fixed range."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m")
