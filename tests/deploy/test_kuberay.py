"""The jobs of KubeRay: rendered, of the right schema, behind a token, and with command lines that are parsed."""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy.files import ROOT

yaml = pytest.importorskip("yaml", reason="needs PyYAML")
KUBERAY: Final = ROOT / "deploy" / "kuberay"
STEPS: Final = ("check", "train", "mine", "distil", "export")
CRD: Final = "KUBERAY_RAYJOB_CRD"
"""Names the file of KubeRay's definition of a RayJob, ray.io_rayjobs.yaml, which is not in this repository."""

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")


@cache
def rendered(step: str) -> tuple[dict[str, Any], ...]:
    """The objects of a step."""
    command = ["kubectl", "kustomize", str(KUBERAY / step)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def job(step: str) -> dict[str, Any]:
    (found,) = (one for one in rendered(step) if one["kind"] == "RayJob")
    return found


def pods(step: str) -> list[dict[str, Any]]:
    cluster = job(step)["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"] for group in groups]


@pytest.mark.parametrize("step", STEPS)
def test_every_step_has_a_command_line_that_is_understood(step: str) -> None:
    words = shlex.split(job(step)["spec"]["entrypoint"])
    assert words[0] == "listwright"
    modules = {"data": "models.commands.data", "train": "models.commands.train", "mine": "models.commands.mine"}
    module = importlib.import_module({**modules, "export": "export.command"}[words[1]])
    parser = argparse.ArgumentParser(exit_on_error=False)
    module.configure(parser)
    arguments = parser.parse_args(words[2:])
    # The export has no such option; all other steps use the cluster that is made for them.
    assert getattr(arguments, "ray", None) == (None if step == "export" else "auto")
    if step in ("train", "distil"):
        assert arguments.resume == "auto"
    if step != "export":
        # Said, since a command may begin before all pods of the cluster are there.
        workers = job(step)["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
        limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
        threads = getattr(arguments, "threads", None) or 1
        assert arguments.workers * threads == workers["replicas"] * int(limits["cpu"])


@pytest.mark.parametrize("step", STEPS)
def test_a_cluster_asks_for_a_token_and_ends_with_its_step(step: str) -> None:
    spec = job(step)["spec"]
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["submissionMode"] == "SidecarMode"
    workers = spec["rayClusterSpec"]["workerGroupSpecs"][0]
    assert workers["minReplicas"] == workers["replicas"] == workers["maxReplicas"]
    assert (workers["replicas"] > 0) == ("--ray" in spec["entrypoint"])


@pytest.mark.parametrize("step", STEPS)
def test_pods_are_unprivileged_share_the_volume_and_are_those_of_the_network_policy(step: str) -> None:
    (policy,) = (one for one in rendered(step) if one["kind"] == "NetworkPolicy")
    for pod in pods(step):
        assert pod["metadata"]["labels"] == policy["spec"]["podSelector"]["matchLabels"]
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert {"name": "work", "mountPath": "/training"} in container["volumeMounts"]
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert all(rule["from"] for rule in policy["spec"]["ingress"])


@pytest.mark.parametrize("step", STEPS)
def test_the_parts_of_kubernetes_are_of_its_schema(step: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    plain = [one for one in rendered(step) if one["kind"] != "RayJob"]
    wrapped = [{"apiVersion": "v1", "kind": "Pod", **pod, "metadata": {"name": "p"}} for pod in pods(step)]
    for one in [*plain, *wrapped]:
        validate.validate(one, "1.32", strict=True)


@pytest.mark.skipif(CRD not in os.environ, reason=f"{CRD} names no file; it is ray.io_rayjobs.yaml of KubeRay")
@pytest.mark.parametrize("step", STEPS)
def test_the_job_is_of_the_schema_of_kuberay(step: str) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
    errors = sorted(jsonschema.Draft4Validator(definition()).iter_errors(job(step)), key=str)
    assert [f"{list(error.absolute_path)}: {error.message}" for error in errors] == []


@cache
def definition() -> Any:
    """The schema of a RayJob that KubeRay's definition has."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = yaml.load(Path(os.environ[CRD]).read_text("utf-8"), loader)
    (version,) = (one for one in found["spec"]["versions"] if one["name"] == "v1")
    return closed(version["schema"]["openAPIV3Schema"])


def closed(schema: Any) -> Any:
    """The schema, with names of fields that it does not have as errors, as a server's strict check has them."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    open_ended = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not open_ended:
        inner["additionalProperties"] = False
    return inner
