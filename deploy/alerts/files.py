"""Write the alerts as files: Prometheus' rules, and the same in a resource of Kubernetes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.alerts import contents, objectives, processes, serving
from deploy.alerts.rules import AS_WRITTEN, RUNBOOK, Alert, Group, Pace

GROUPS: Final[Sequence[Group]] = (
    *objectives.GROUPS,
    *serving.GROUPS,
    *processes.GROUPS,
    *contents.GROUPS,
)
ALERTS: Final = tuple(rule for group in GROUPS for rule in group.rules if isinstance(rule, Alert))

DEPLOY: Final = Path(__file__).parents[1]
RULES_FILE: Final = DEPLOY / "prometheus" / "alerts.yml"
RESOURCE_FILE: Final = DEPLOY / "kubernetes" / "base" / "prometheusrule.yaml"

_HEAD: Final = "# Written by `make alerts` from deploy/alerts/, which is where to change it.\n"


class _Dumper(yaml.SafeDumper):
    """Write YAML as a person does: expressions of several lines as blocks, lists indented."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        """Indent lists in mappings too."""
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _dump(document: dict[str, Any]) -> str:
    return _HEAD + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000)


def rules(pace: Pace = AS_WRITTEN, runbook: str = RUNBOOK) -> str:
    """Return Prometheus' file of rules."""
    return _dump({"groups": [group.render(pace, runbook) for group in GROUPS]})


def resource(runbook: str = RUNBOOK) -> str:
    """Return the resource that Prometheus' operator for Kubernetes reads."""
    name = {"app.kubernetes.io/name": "listwright"}
    return _dump(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": "listwright", "labels": name},
            "spec": {"groups": [group.render(AS_WRITTEN, runbook) for group in GROUPS]},
        }
    )


def documents(runbook: str = RUNBOOK) -> dict[Path, str]:
    """Return every file that is made from the alerts, with its content."""
    return {RULES_FILE: rules(runbook=runbook), RESOURCE_FILE: resource(runbook)}
