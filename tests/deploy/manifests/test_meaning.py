"""The manifests agree with the service, with the image, and with each other."""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

from deploy.alerts.rules import JOBS
from models.commands import fetch
from service.settings import Settings
from tests.deploy.files import ROOT, exported_series, metrics_in
from tests.deploy.manifests.rendering import (
    KUBECTL,
    KUBERNETES,
    NAMES,
    WITHOUT_KUBECTL,
    Manifest,
    container,
    environment,
    one,
    pod,
    rendered,
)
from tests.service.live import make_settings

yaml = pytest.importorskip("yaml", reason="needs PyYAML")
pytestmark = pytest.mark.skipif(KUBECTL is None, reason=WITHOUT_KUBECTL)

each = pytest.mark.parametrize("name", NAMES)
fetching = pytest.mark.parametrize("name", [name for name in NAMES if name not in ("base", "base with bundles-volume")])
whole = pytest.mark.parametrize("name", [name for name in NAMES if name != "overlays/canary"])

DOCKERFILE: Final = (ROOT / "Dockerfile").read_text("utf-8")
PREFIX: Final = "LISTWRIGHT_"
KILLED_SECONDS: Final = 3
"""A worker that does not end is killed so long after the drain, and an engine process so long after the workers."""


def settings(name: str) -> Settings:
    """The service's settings by the Deployment's variables; those of files that are not here are left out."""
    ours = {k.removeprefix(PREFIX).lower(): v for k, v in environment(name).items() if k.startswith(PREFIX)}
    return make_settings(**{k: v for k, v in ours.items() if not v.startswith("/")})


def selects(selector: Manifest, labels: Manifest) -> bool:
    return selector.items() <= labels.items()


def pod_labels(name: str) -> Manifest:
    labels: Manifest = one(name, "Deployment")["spec"]["template"]["metadata"]["labels"]
    return labels


@each
def test_every_variable_is_a_setting(name: str) -> None:
    ours = {variable.removeprefix(PREFIX).lower() for variable in environment(name) if variable.startswith(PREFIX)}
    assert ours <= set(Settings.model_fields)
    settings(name)


@each
def test_a_pod_has_time_for_the_delay_the_drain_and_the_end(name: str) -> None:
    own, spec = settings(name), pod(name)
    assert "lifecycle" not in container(name), "the service's own delay does the work of a hook"
    grace = spec["terminationGracePeriodSeconds"]
    ends = 2 if own.engine_processes else 1
    assert grace > own.shutdown_delay_seconds + own.drain_seconds + ends * KILLED_SECONDS
    # Readiness fails before the listener closes, even if the first probe comes late.
    probe = container(name)["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < own.shutdown_delay_seconds


@each
def test_probes_ask_for_routes_of_the_public_app_by_its_only_port(name: str) -> None:
    own = container(name)
    paths = {kind: own[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    app = (ROOT / "service" / "app.py").read_text("utf-8")
    assert all(f'app.get("{path}"' in app for path in paths.values())
    assert paths == {
        "startup": "/v2/health/live",
        "readiness": "/v2/health/ready",
        "liveness": "/v2/health/live",
    }
    (port,) = own["ports"]
    assert port["name"] == "http"
    assert {own[f"{kind}Probe"]["httpGet"]["port"] for kind in paths} == {"http"}
    assert re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.M) == [str(port["containerPort"])]
    assert f'"--port", "{port["containerPort"]}"' in DOCKERFILE
    assert "command" not in own
    assert "args" not in own


@each
def test_pods_are_restricted_and_run_as_the_images_user(name: str) -> None:
    spec = pod(name)
    user, group = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.M)[-1]
    context = spec["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (int(user), int(group), int(group))
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    for own in (*spec["containers"], *spec.get("initContainers", [])):
        assert own["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= own["resources"]["requests"].keys()
        assert "memory" in own["resources"]["limits"]
        assert "cpu" not in own["resources"]["limits"], "a quota of CPU stops the process for longer than the budget"


@each
def test_every_folder_that_is_written_is_a_volume(name: str) -> None:
    volumes = {volume["name"]: volume for volume in pod(name)["volumes"]}
    own = container(name)
    mounts = {mount["mountPath"]: mount for mount in own["volumeMounts"]}
    cache = Path(re.findall(r"^ENV LISTWRIGHT_CACHE_FOLDER=(.*)$", DOCKERFILE, re.M)[-1])
    assert str(cache.parent) in mounts
    assert "emptyDir" in volumes[mounts[str(cache.parent)]["name"]]
    assert not mounts[str(cache.parent)].get("readOnly")
    assert all(mount.get("readOnly") for path, mount in mounts.items() if path != str(cache.parent))
    assert {mount["name"] for mount in mounts.values()} <= volumes.keys()


@each
def test_keys_come_as_a_file_that_the_service_may_read_and_others_may_not(name: str) -> None:
    volume = next(volume for volume in pod(name)["volumes"] if volume["name"] == "keys")
    assert volume["secret"] == {"secretName": "listwright-keys", "defaultMode": 0o440}
    mount = next(mount for mount in container(name)["volumeMounts"] if mount["name"] == "keys")
    assert environment(name)["LISTWRIGHT_API_KEYS_FILE"].startswith(f"{mount['mountPath']}/")


@whole
def test_selectors_select_the_pods(name: str) -> None:
    labels = pod_labels(name)
    assert selects(one(name, "Deployment")["spec"]["selector"]["matchLabels"], labels)
    assert selects(one(name, "Service")["spec"]["selector"], labels)
    assert selects(one(name, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"], labels)
    assert selects(one(name, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"], labels)
    monitor, service = one(name, "ServiceMonitor")["spec"], one(name, "Service")
    assert selects(monitor["selector"]["matchLabels"], service["metadata"]["labels"])
    assert monitor["podTargetLabels"] == ["track"]
    assert "track" in labels
    for constraint in pod(name)["topologySpreadConstraints"]:
        assert selects(constraint["labelSelector"]["matchLabels"], labels)


@whole
def test_the_service_the_policy_and_the_monitor_use_the_public_port(name: str) -> None:
    (port,) = one(name, "Service")["spec"]["ports"]
    assert port["targetPort"] == "http"
    (endpoint,) = one(name, "ServiceMonitor")["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == (port["name"], "/metrics")
    ingress = one(name, "NetworkPolicy")["spec"]["ingress"]
    assert {entry["port"] for rule in ingress for entry in rule["ports"]} == {"http"}
    assert all(rule["from"] for rule in ingress)


@whole
def test_the_monitors_job_and_interval_are_those_of_the_alerts(name: str) -> None:
    monitor = one(name, "ServiceMonitor")["spec"]
    job = one(name, "Service")["metadata"]["labels"][monitor["jobLabel"]]
    (selected,) = re.findall(r'^job=~"(.*)"$', JOBS)
    assert re.fullmatch(selected, job)
    assert f"up{{{JOBS}}}" in (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text("utf-8")
    prometheus = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text("utf-8"))
    assert monitor["endpoints"][0]["interval"] == prometheus["global"]["scrape_interval"]


@whole
def test_the_autoscaler_scales_the_deployment_by_a_metric_that_the_adapter_makes(name: str) -> None:
    deployment, scaler = one(name, "Deployment"), one(name, "HorizontalPodAutoscaler")["spec"]
    target = {"apiVersion": deployment["apiVersion"], "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert scaler["scaleTargetRef"] == target
    assert "replicas" not in deployment["spec"], "applying the manifests again would undo the autoscaler's work"
    assert scaler["minReplicas"] >= 2
    pods, cpu = scaler["metrics"]
    rules = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text("utf-8"))["rules"]["custom"]
    assert [rule["name"]["as"] for rule in rules] == [pods["pods"]["metric"]["name"]]
    assert metrics_in(rules[0]["seriesQuery"]) <= exported_series()
    assert cpu["containerResource"]["container"] == container(name)["name"]


@whole
def test_a_rollout_and_a_drain_of_nodes_leave_enough_pods(name: str) -> None:
    assert one(name, "Deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert one(name, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


@each
def test_images_are_those_that_the_dockerfile_builds(name: str) -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"])
    images = {own["image"] for kind in ("containers", "initContainers") for own in pod(name).get(kind, [])}
    (image,) = images
    tag = set(image.rpartition(":")[2].split("-"))
    assert tag <= extras
    assert ("initContainers" in pod(name)) <= ("store" in tag or not name.startswith("overlays/"))
    assert ("gpu" in tag) == (name == "overlays/gpu")


@fetching
def test_the_init_container_fetches_what_the_service_serves(name: str) -> None:
    own = container(name, "initContainers")
    parser = argparse.ArgumentParser()
    fetch.configure(parser)
    assert own["command"][:2] == ["listwright", "fetch"]
    arguments = parser.parse_args(own["command"][2:])
    assert str(arguments.to) == environment(name)["LISTWRIGHT_BUNDLES"]
    assert "$(BUNDLES_URL)" in arguments.urls
    (variable,) = own["env"]
    source = variable["valueFrom"]["configMapKeyRef"]
    maps = {manifest["metadata"]["name"]: manifest for manifest in rendered(name) if manifest["kind"] == "ConfigMap"}
    assert source["key"] in maps[source["name"]]["data"]
    mounts = {mount["name"]: mount["mountPath"] for mount in own["volumeMounts"]}
    assert mounts["bundles"] == str(arguments.to)
    if "scenes" in mounts:
        volume = next(volume for volume in pod(name)["volumes"] if volume["name"] == "scenes")
        assert mounts["scenes"] in arguments.urls
        assert "scenes.toml" in maps[volume["configMap"]["name"]]["data"]


def test_the_gpu_overlay_puts_workers_before_one_process_on_one_gpu_that_fails_without_it() -> None:
    own, resources = settings("overlays/gpu"), container("overlays/gpu")["resources"]
    assert (own.provider, own.workers, own.engine_processes) == ("cuda", 4, 1)
    assert resources["limits"]["nvidia.com/gpu"] == "1"
    assert int(resources["requests"]["cpu"]) == own.workers + 1
    assert resources["requests"]["memory"] == resources["limits"]["memory"] == "8Gi"
    target = one("overlays/gpu", "HorizontalPodAutoscaler")["spec"]["metrics"][0]["pods"]["target"]["averageValue"]
    # More than all that may be in progress would never be reached.
    assert int(target) == 4 * own.workers < own.workers * own.max_in_flight
    (toleration,) = pod("overlays/gpu")["tolerations"]
    assert toleration["key"] == "nvidia.com/gpu"


def test_the_gpu_overlay_and_compose_have_one_layout_and_one_limit_of_memory() -> None:
    (gpu,) = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text("utf-8"))["services"].values()
    layout = {k: v for k, v in environment("overlays/gpu").items() if k in gpu["environment"]}
    assert layout == gpu["environment"]
    assert {"LISTWRIGHT_WORKERS", "LISTWRIGHT_ENGINE_PROCESSES", "LISTWRIGHT_MAX_BATCH"} <= layout.keys()
    (default,) = re.findall(r":-(\d+)g}", gpu["deploy"]["resources"]["limits"]["memory"])
    assert container("overlays/gpu")["resources"]["limits"]["memory"] == f"{default}Gi"


def test_the_canary_is_one_more_deployment_behind_the_same_service_and_nothing_else() -> None:
    assert sorted(manifest["kind"] for manifest in rendered("overlays/canary")) == ["ConfigMap", "Deployment"]
    canary, stable = one("overlays/canary", "Deployment"), one("overlays/cpu", "Deployment")
    labels = pod_labels("overlays/canary")
    assert canary["metadata"]["namespace"] == stable["metadata"]["namespace"]
    assert selects(one("overlays/cpu", "Service")["spec"]["selector"], labels)
    assert selects(one("overlays/cpu", "NetworkPolicy")["spec"]["podSelector"]["matchLabels"], labels)
    assert canary["spec"]["selector"]["matchLabels"] == labels
    for selector in (stable["spec"]["selector"], one("overlays/cpu", "PodDisruptionBudget")["spec"]["selector"]):
        assert not selects(selector["matchLabels"], labels)
    assert canary["spec"]["replicas"] == 1
    own = {manifest["metadata"]["name"] for manifest in rendered("overlays/cpu")}
    assert not own & {manifest["metadata"]["name"] for manifest in rendered("overlays/canary")}
    account = pod("overlays/canary")["serviceAccountName"]
    assert account == one("overlays/cpu", "ServiceAccount")["metadata"]["name"]


def test_nothing_asks_for_the_admin_port_or_makes_a_secret() -> None:
    for name in NAMES:
        assert not {manifest["kind"] for manifest in rendered(name)} & {"Secret", "Ingress", "Role", "ClusterRole"}
        assert "8001" not in str(rendered(name))
