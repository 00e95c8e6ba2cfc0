"""Every object that Kustomize renders is valid for every supported version of Kubernetes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")

from tests.deploy.manifests.__main__ import main
from tests.deploy.manifests.rendering import KUBECTL, NAMES, WITHOUT_KUBECTL, one, rendered
from tests.deploy.manifests.schemas import fault, versions

pytestmark = pytest.mark.skipif(KUBECTL is None, reason=WITHOUT_KUBECTL)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_every_object_is_valid_for_every_version(name: str) -> None:
    assert versions()[0] == "1.29"
    assert len(versions()) >= 9
    found = [(m["kind"], v, problem) for m in rendered(name) for v in versions() if (problem := fault(m, v))]
    assert found == []


@pytest.mark.parametrize(
    ("kind", "spoil", "problem"),
    [
        ("Deployment", lambda m: m["spec"]["template"]["spec"].update(enableServiceLink=False), "enableServiceLink"),
        ("Deployment", lambda m: m["spec"].update(replicas="two"), "spec.replicas"),
        ("ServiceMonitor", lambda m: m["spec"]["endpoints"][0].update(intervall="5s"), "intervall"),
        ("ServiceMonitor", lambda m: m["spec"]["endpoints"][0].update(interval="5 s"), "interval"),
        ("PrometheusRule", lambda m: m["spec"].update(groups=[{"name": "g", "rules": [{"alert": "A"}]}]), "rules.0"),
    ],
)
def test_a_field_that_is_misspelt_or_wrong_is_found(kind: str, spoil: Callable[[Any], None], problem: str) -> None:
    manifest: Any = copy.deepcopy(one("base", kind))
    spoil(manifest)
    assert problem in (fault(manifest, versions()[0]) or "")


def test_the_command_names_a_fault_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt = {**one("base", "Service"), "specs": {}}
    monkeypatch.setattr("tests.deploy.manifests.__main__.NAMES", ("base",))
    monkeypatch.setattr("tests.deploy.manifests.__main__.rendered", lambda _: (spoilt,))
    assert main() == 1
    assert "base: Service listwright: Kubernetes 1.29: " in capsys.readouterr().out
