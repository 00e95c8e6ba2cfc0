"""Start with odd surroundings and settings: harmless ones, and wrong ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Final

from loadtest.resilience.chaos.harness import demo_folder, serve
from loadtest.resilience.chaos.scenario import Scenario, Trial
from loadtest.resilience.chaos.traps import copy_as

_START_SECONDS: Final = 30.0

SERVICE_LINKS: Final = {
    "LISTWRIGHT_PORT": "tcp://10.0.0.1:80",
    "LISTWRIGHT_SERVICE_HOST": "10.0.0.1",
    "LISTWRIGHT_SERVICE_PORT": "80",
    "LISTWRIGHT_PORT_80_TCP": "tcp://10.0.0.1:80",
    "LISTWRIGHT_PORT_80_TCP_ADDR": "10.0.0.1",
    "LISTWRIGHT_CANARY_SERVICE_HOST": "10.0.0.2",
    "LISTWRIGHT_CANARY_PORT": "tcp://10.0.0.2:80",
    "LISTWRIGHT_CANARY_PORT_80_TCP_PROTO": "tcp",
}


def refused_start(
    trial: Trial, name: str, *options: str, names: str, environment: Mapping[str, str] | None = None
) -> None:
    """Check that a start ends with status 2 and a message that `names` the fault."""
    command = [sys.executable, "-m", "models.cli", "serve", *options]
    variables = {**os.environ, **(environment or {})}
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, env=variables, timeout=_START_SECONDS, check=False
        )
        found = f"status {ended.returncode}, {'named' if names in ended.stderr else 'not named'}"
    except subprocess.TimeoutExpired:
        found = "it serves"
    trial.equal(name, "status 2, named", found)


def service_links(trial: Trial) -> None:
    """Set the variables that Kubernetes sets for services called listwright."""
    with serve(trial, environment=SERVICE_LINKS) as service:
        service.fault()
        trial.equal("ready", True, service.ready)
    refused_start(trial, "a typo", names="LISTWRIGHT_BUDGET_MSS", environment={"LISTWRIGHT_BUDGET_MSS": "3"})


def second_model(trial: Trial) -> None:
    """Add a second model to a service without a default, by SIGHUP."""
    with serve(trial) as service:
        service.fault()
        trial.equal("a request without a model, before", 200, service.rerank(model=None)[0])
        copy_as(service.bundles, "another", "1")
        os.kill(service.server.pid, signal.SIGHUP)
        service.until("the new model serves", lambda: service.rerank(model="another")[0] == 200, 20)
        status, answer = service.rerank(model=None)
        trial.equal("a request without a model, after", (200, "demo"), (status, (answer or {}).get("model")))
        trial.equal("ready", True, service.ready)
        both = str(service.bundles)
    refused_start(trial, "a start with two models", "--bundles", both, "--port", "0", names="LISTWRIGHT_DEFAULT_MODEL")
    with serve(trial, "--default-model", "none", bundles=service.bundles) as service:
        trial.equal("`--default-model none`, no model named", 422, service.rerank(model=None)[0])


def version_order(trial: Trial) -> None:
    """Serve a release beside its candidate and an older release."""
    folder = demo_folder(trial.scratch / "bundles", "0.9.0", "1.0.0-rc1", "1.0.0")
    with serve(trial, bundles=folder) as service:
        service.fault()
        trial.equal("version at start", (200, "1.0.0"), service.version())
        demo_folder(folder, "1.10.0", "1.9.0")
        os.kill(service.server.pid, signal.SIGHUP)
        service.until("the newest release serves", lambda: service.version() == (200, "1.10.0"), 20)
        time.sleep(0.5)
        trial.equal("version afterwards", (200, "1.10.0"), service.version())


def wrong_settings(trial: Trial) -> None:
    """Start with settings that cannot work."""
    folder = str(demo_folder(trial.scratch / "bundles"))
    served = ("--bundles", folder)
    refused_start(trial, "--port 65535 without an admin port", *served, "--port", "65535", names="admin")
    key = {"LISTWRIGHT_API_KEYS": "schlüssel"}
    refused_start(trial, "a key outside ASCII", *served, "--port", "0", names="LISTWRIGHT_API_KEYS", environment=key)


SCENARIOS: Final = (
    Scenario(
        name="kubernetes",
        row=11,
        fault="Kubernetes' variables for services of this name",
        how="`LISTWRIGHT_PORT=tcp://…`, `LISTWRIGHT_CANARY_SERVICE_HOST=…` and others",
        right="ignored; a typo still ends the start and is named",
        act=service_links,
    ),
    Scenario(
        name="second-model",
        row=12,
        fault="a second model appears",
        how="SIGHUP in a service of one model; then a start with both",
        right="requests without a model keep theirs; the start asks for a default",
        act=second_model,
    ),
    Scenario(
        name="version-order",
        row=13,
        fault="a candidate beside its release",
        how="versions 0.9.0, 1.0.0-rc1, 1.0.0; later 1.10.0 and 1.9.0",
        right="the newest release serves",
        act=version_order,
    ),
    Scenario(
        name="wrong-settings",
        row=13,
        fault="settings that cannot work",
        how="`--port 65535` without an admin port; an API key outside ASCII",
        right="an error at start that names the setting",
        act=wrong_settings,
    ),
)
