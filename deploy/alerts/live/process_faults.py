"""Break processes: workers, and those that run models for them."""

from __future__ import annotations

import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

import psutil

from deploy.alerts.live.fault import PATIENCE, ROOMY, Fault, Stage
from deploy.alerts.live.prometheus import Prometheus
from loadtest.resilience.chaos.harness import demo_folder, wait
from loadtest.resilience.chaos.traps import HANG, copy_as, hanging
from loadtest.rig.server import HOST, answers, poll, started


def hang(stage: Stage) -> None:
    """Send a request whose run never ends, to one of two workers."""
    folder = stage.trial.scratch / "bundles"
    hanging(copy_as(folder, "demo", "1"))
    with stage.serve("--budget-ms", "200", "--engine-hang-seconds", "1", bundles=folder, workers=2) as watched:
        service = watched.service
        threading.Thread(target=lambda: service.rerank(diversity={"lambda": HANG}), daemon=True).start()
        watched.until_firing()


def restarts(stage: Stage) -> None:
    """Kill a single process again and again, which something starts on the same port."""
    folder = demo_folder(stage.trial.scratch / "bundles")
    with socket.create_server((HOST, 0)) as free:
        port = int(free.getsockname()[1])
    ports = ("--host", HOST, "--port", str(port), "--admin-port", "0")
    command = (sys.executable, "-m", "models.cli", "serve", *ports, "--bundles", str(folder))
    log = stage.trial.scratch / "log"

    def live_once(prometheus: Prometheus) -> None:
        with started(command, log, None, cpus=(), environment=None) as process:
            poll(process, log, lambda: answers(f"http://{HOST}:{port}/v2/health/live"), "did not answer")
            began = time.time()
            wait(lambda: prometheus.scraped(began), PATIENCE)
            process.kill()

    with stage.scraping(port) as prometheus:
        stage.watch(prometheus, lambda: live_once(prometheus))


def missing_worker(stage: Stage) -> None:
    """Kill a worker whose successor finds no bundle."""
    with stage.serve(*ROOMY, workers=2) as watched:
        shutil.rmtree(watched.service.bundles)
        watched.service.kill(watched.service.workers()[0])
        watched.until_firing()


def missing_engine(stage: Stage) -> None:
    """Kill the engine process, whose successor finds no bundle."""
    with stage.serve(*ROOMY, "--engine-processes", "1", workers=2) as watched:
        shutil.rmtree(watched.service.bundles)
        watched.service.kill(_engine(watched.service.server.pid))
        watched.until_firing()


def _engine(supervisor: int) -> int:
    """Return the process that runs models."""
    children = psutil.Process(supervisor).children()
    return next(child.pid for child in children if "service.workers.engine" in child.cmdline())


def _fault(act: Callable[[Stage], None], name: str, how: str, *alerts: str) -> Fault:
    return Fault(name=name, alerts=alerts, how=how, act=act)


FAULTS: Final = (
    _fault(hang, "hang", "a run that never ends, in one of two workers", "RerankEngineHung", "RerankWorkerEnded"),
    _fault(restarts, "restarts", "SIGKILL to a single process and a new start, again and again", "RerankRestarts"),
    _fault(
        missing_worker,
        "missing-worker",
        "SIGKILL to one of two workers, the folder of bundles removed before",
        "RerankWorkersMissing",
        "RerankWorkerEnded",
    ),
    _fault(
        missing_engine,
        "missing-engine",
        "SIGKILL to the engine process of two workers, the folder of bundles removed before",
        "RerankEnginesMissing",
        "RerankEngineEnded",
    ),
)
