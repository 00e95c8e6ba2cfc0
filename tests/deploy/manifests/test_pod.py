"""A pod's life without a cluster: the init container's command, the variables, the probes, and SIGTERM."""

from __future__ import annotations

import argparse
import json
import re
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from models.commands import fetch
from models.contract.manifest import EMBEDDED_BUNDLES
from models.contract.serving import RERANK_PATH
from service.settings import Settings
from tests.deploy.files import ROOT
from tests.deploy.manifests.rendering import KUBECTL, WITHOUT_KUBECTL, container, environment, pod
from tests.service.live import WAIT_SECONDS
from tests.service.test_process import Process, running
from tests.service.transport.test_transport import eventually
from tests.service.workers.test_workers import Service

CPU, GPU = "overlays/cpu", "overlays/gpu"
KEY: Final = "a-key-for-this-test-only"
REQUEST: Final = {"candidates": [{"id": f"i{n}", "scores": {"ctr": n / 10, "cvr": 0.1}} for n in range(1, 6)]}
GUIDE: Final = (ROOT / "docs" / "kubernetes.md").read_text("utf-8")

without_kubectl = pytest.mark.skipif(KUBECTL is None, reason=WITHOUT_KUBECTL)


def init_container(name: str, folder: Path) -> None:
    """Run the command of the init container, in this process, into a folder of the test."""
    words = container(name, "initContainers")["command"][2:]
    own = {"$(BUNDLES_URL)": f"file://{EMBEDDED_BUNDLES}", "/bundles": str(folder)}
    parser = argparse.ArgumentParser()
    fetch.configure(parser)
    assert fetch.run(parser.parse_args([own.get(word, word) for word in words])) == 0


def variables(name: str, folder: Path) -> dict[str, str]:
    """The Deployment's variables, but for the GPU's, with paths of volumes that lie in a folder of the test."""
    mounted = {mount["mountPath"] for mount in container(name)["volumeMounts"]}
    found = {}
    for variable, value in environment(name).items():
        path = next((path for path in mounted if value.startswith(path)), None)
        if variable.removeprefix("LISTWRIGHT_").lower() in Settings.model_fields:
            found[variable] = value if path is None else f"{folder}{value}"
    # A busy CPU would try runs of 64 for minutes.
    without_gpu = {"LISTWRIGHT_PROVIDER": "cpu", "LISTWRIGHT_MAX_BATCH": "8"}
    return {**found, **without_gpu, "LISTWRIGHT_CACHE_FOLDER": f"{folder}/cache"}


def probed(process: Process, kind: str) -> int:
    """The status that a probe of the kubelet gets; both overlays have the same."""
    return process.ask(container(CPU)[f"{kind}Probe"]["httpGet"]["path"])[0]


def listed(process: Process) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    sent = urllib.request.Request(
        f"http://127.0.0.1:{process.port}{RERANK_PATH}", json.dumps(REQUEST).encode(), headers
    )
    with urllib.request.urlopen(sent, timeout=WAIT_SECONDS) as response:
        return json.loads(response.read())


@pytest.mark.long
@without_kubectl
@pytest.mark.parametrize("name", [CPU, GPU])
def test_a_pod_fetches_serves_and_leaves_in_its_time(name: str, tmp_path: Path) -> None:
    init_container(name, tmp_path / "bundles")
    keys = tmp_path / "etc" / "listwright" / "keys" / "keys.toml"
    keys.parent.mkdir(parents=True)
    keys.write_text(f'[[keys]]\nname = "test"\nkey = "{KEY}"\n')
    keys.chmod(0o440)
    own = variables(name, tmp_path)
    with running(tmp_path / "bundles", **own) as process:
        eventually(lambda: probed(process, "startup") == 200)
        eventually(lambda: probed(process, "readiness") == 200)
        assert len(listed(process)["items"]) == 5
        service = Service(process, tmp_path / "bundles", tmp_path)
        assert service.value("rerank_workers_live") == int(own["LISTWRIGHT_WORKERS"])
        if name == GPU:
            assert service.value("rerank_engines_live") == service.value("rerank_engines_wanted") == 1
        begun = time.monotonic()
        process.popen.send_signal(signal.SIGTERM)
        eventually(lambda: probed(process, "readiness") == 503)
        assert probed(process, "liveness") == 200
        assert len(listed(process)["items"]) == 5, "who comes before proxies know of the end is answered"
        assert process.popen.wait(pod(name)["terminationGracePeriodSeconds"]) == 0
        assert time.monotonic() - begun >= float(own["LISTWRIGHT_SHUTDOWN_DELAY_SECONDS"])


def test_manifests_in_the_guide_are_valid_too() -> None:
    pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    from tests.deploy.manifests.schemas import fault, versions

    blocks = [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.M | re.S)]
    whole = [block for block in blocks if "apiVersion" in block]
    assert [block["kind"] for block in whole] == ["CronJob"]
    assert [problem for block in whole for v in versions() if (problem := fault(block, v))] == []
    (own,) = whole[0]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    parser = argparse.ArgumentParser()
    fetch.configure(parser)
    parser.parse_args(own["command"][2:])
