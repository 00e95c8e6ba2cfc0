"""Run a real Prometheus with the shortened rules, and ask which alerts fire."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import requests

from deploy.alerts.files import rules
from deploy.alerts.rules import SHORTENED
from loadtest.resilience.chaos.scenario import Skipped
from loadtest.rig.contender import direct_session
from loadtest.rig.server import HOST, answers, poll, started

JOB: Final = "listwright"
_SCRAPE: Final = "2s"
_SETTLED: Final = 3


class Prometheus:
    """A Prometheus that listens at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = direct_session()

    def firing(self) -> dict[str, dict[str, str]]:
        """Map the alerts that fire to their labels."""
        alerts = self._get("alerts")["alerts"]
        return {alert["labels"]["alertname"]: alert["labels"] for alert in alerts if alert["state"] == "firing"}

    def settled(self) -> bool:
        """Tell whether it has scraped often enough to see a counter grow."""
        result = self._get("query?query=sum_over_time(up[10m])").get("result", [])
        return any(float(found["value"][1]) >= _SETTLED for found in result)

    def scraped(self, since: float) -> bool:
        """Tell whether a target has answered a scrape since a Unix time."""
        result = self._get("query?query=timestamp(up==1)").get("result", [])
        return any(float(found["value"][1]) > since for found in result)

    def names(self) -> frozenset[str]:
        """Return the names of all series that it has seen."""
        return frozenset(self._get("label/__name__/values"))

    def _get(self, path: str) -> Any:
        try:
            return self._session.get(f"{self._url}/api/v1/{path}", timeout=10).json()["data"]
        except requests.Timeout:  # A busy machine: the next question finds it.
            return {"alerts": []}


@contextlib.contextmanager
def running(folder: Path, targets: Sequence[int]) -> Iterator[Prometheus]:
    """Scrape the ports every two seconds while the context lasts. Raises `Skipped` without the program."""
    program = shutil.which("prometheus")
    if program is None:
        raise Skipped("needs prometheus (apt-get install prometheus)")
    folder.mkdir()
    (folder / "alerts.yml").write_text(rules(SHORTENED), "utf-8")
    static = [{"targets": [f"{HOST}:{port}" for port in targets]}]
    config = {
        "global": {"scrape_interval": _SCRAPE, "scrape_timeout": _SCRAPE, "evaluation_interval": "1s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [{"job_name": JOB, "static_configs": static}],
    }
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(config), "utf-8")
    address = f"{HOST}:{_free_port()}"
    paths = (f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}")
    command = (program, *paths, f"--web.listen-address={address}", "--log.level=warn")
    log = folder / "log"
    with started(command, log, None, cpus=(), environment=None) as process:
        poll(process, log, lambda: answers(f"http://{address}/-/ready"), "was not ready", "Prometheus")
        yield Prometheus(f"http://{address}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
