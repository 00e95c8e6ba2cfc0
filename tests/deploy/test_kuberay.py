"""The jobs of KubeRay: rendered, of the right schema, behind a token, and with command lines that are parsed."""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy.files import ROOT

yaml = pytest.importorskip("yaml", reason="needs PyYAML")
KUBERAY: Final = ROOT / "deploy" / "kuberay"
STEPS: Final = ("check", "train", "mine", "distil", "export")
WORK: Final = "work"
"""The folder of what all steps share."""

RUN_STEP: Final = KUBERAY / "run-step"
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
    shared = {one["kind"]: one for one in rendered(WORK)}
    policy, claim = shared["NetworkPolicy"], shared["PersistentVolumeClaim"]
    for pod in pods(step):
        assert pod["metadata"]["labels"] == policy["spec"]["podSelector"]["matchLabels"]
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert {"name": "work", "mountPath": "/training"} in container["volumeMounts"]
        mounted = {volume["name"]: volume for volume in pod["spec"]["volumes"]}["work"]
        assert mounted["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert all(rule["from"] for rule in policy["spec"]["ingress"])


@pytest.mark.parametrize("step", STEPS)
def test_to_delete_a_step_deletes_its_job_and_no_files(step: str) -> None:
    assert [one["kind"] for one in rendered(step)] == ["RayJob"]
    assert "RayJob" not in {one["kind"] for one in rendered(WORK)}


KUBECTL: Final = """\
#!/bin/bash
# Stands in for kubectl: notes what it is asked, and answers each question for a state with the next one of its folder.
cd "$(dirname "$0")" || exit 1
echo "$*" >> asked
case "$*" in
    *jobDeploymentStatus*)
        state=$(head -n 1 states); tail -n +2 states > rest; mv rest states
        [[ $state == away ]] && exit 1
        echo "$state" ;;
    *jobStatus*) cat result ;;
    *message*) echo "why it failed" ;;
esac
"""


def run_steps(folder: Path, states: Sequence[str], result: str, *steps: str) -> tuple[int, str, list[str]]:
    """Exit status and last words of `run-step`, and what it has asked of kubectl, questions for states left out."""
    kubectl = folder / "kubectl"
    kubectl.write_text(KUBECTL, "utf-8")
    kubectl.chmod(0o755)
    (folder / "states").write_text("".join(f"{state}\n" for state in states), "utf-8")
    (folder / "result").write_text(result, "utf-8")
    (folder / "asked").touch()
    variables = {**os.environ, "KUBECTL": str(kubectl), "POLL_SECONDS": "0"}
    command = [str(RUN_STEP), *steps]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=60, check=False)
    asked = (folder / "asked").read_text("utf-8").splitlines()
    return done.returncode, done.stderr, [line for line in asked if not line.startswith("get ")]


def orders(step: str) -> list[str]:
    return [f"delete rayjob/listwright-{step} --ignore-not-found", f"apply --kustomize {KUBERAY / step}"]


def test_steps_are_run_one_after_the_other_each_with_a_job_of_its_own(tmp_path: Path) -> None:
    states = ["", "Initializing", "away", "away", "Running", "Retrying", "Complete", "Running", "Complete"]
    status, words, asked = run_steps(tmp_path, states, "SUCCEEDED", "check", "train")
    assert (status, words) == (0, "")
    assert asked == [*orders("check"), *orders("train")]


@pytest.mark.parametrize(
    ("state", "result"),
    [("Failed", "FAILED"), ("ValidationFailed", ""), ("Complete", "FAILED"), ("Complete", "STOPPED")],
)
def test_a_step_that_fails_ends_the_run_and_is_named(tmp_path: Path, state: str, result: str) -> None:
    status, words, asked = run_steps(tmp_path, ["Running", state], result, "check", "train")
    assert status == 1
    assert words == "run-step: rayjob/listwright-check did not succeed: why it failed\n"
    assert asked == orders("check")


def test_a_server_that_stays_away_ends_the_run(tmp_path: Path) -> None:
    status, words, asked = run_steps(tmp_path, ["Running", *["away"] * 20], "", "check", "train")
    assert (status, asked) == (1, orders("check"))
    assert "rayjob/listwright-check did not succeed" in words


def test_without_a_step_it_says_which_there_are(tmp_path: Path) -> None:
    status, words, asked = run_steps(tmp_path, [], "")
    assert (status, asked) == (1, [])
    assert all(step in words for step in STEPS)


@pytest.mark.parametrize("step", STEPS)
def test_the_parts_of_kubernetes_are_of_its_schema(step: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    plain = rendered(WORK)
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
