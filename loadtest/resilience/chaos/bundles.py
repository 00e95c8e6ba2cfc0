"""Give a service broken bundles, at a reload and at its start."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from loadtest.resilience.chaos.harness import Service, demo_folder, serve
from loadtest.resilience.chaos.scenario import Scenario, Trial
from loadtest.resilience.chaos.traps import (
    HANG,
    TRIGGERS,
    copy_as,
    crashing,
    garbage,
    hanging,
    nonsense,
    truncated,
)
from loadtest.rig.server import UNHURRIED
from models.contract.manifest import DEMO_BUNDLE, MODEL_FILE

HANGS: Final = "rerank_engine_hangs_total"


def _refused(service: Service, version: str, break_it: Callable[[Path], None]) -> None:
    """Check that a broken version is refused with 422 and the old one goes on."""
    trial, before = service.trial, service.workers()
    break_it(copy_as(service.bundles, "demo", version))
    trial.equal(f"status of the reload of {version}", 422, service.reload(version)[0])
    trial.equal("the same processes serve", before, service.workers())
    trial.equal("version that answers", (200, "1"), service.version())


def crash_at_reload(trial: Trial) -> None:
    """Reload to a model that crashes ONNX Runtime, in one process and in two workers."""
    for workers in (1, 2):
        inner = trial.scratch / str(workers)
        inner.mkdir()
        with serve(trial, bundles=demo_folder(inner / "bundles"), workers=workers) as service:
            service.fault()
            _refused(service, "2-crash", crashing)


def hang_at_reload(trial: Trial) -> None:
    """Reload to a model whose runs never end."""
    with serve(trial, "--load-timeout-seconds", "6") as service:
        service.fault()
        _refused(service, "2-hang", lambda bundle: hanging(bundle, always=True))


def broken_at_reload(trial: Trial) -> None:
    """Reload to bytes that are no model, and to half an upload."""
    with serve(trial) as service:
        service.fault()
        _refused(service, "2-garbage", garbage)
        _refused(service, "3-half", truncated)
        shutil.copy(DEMO_BUNDLE / MODEL_FILE, service.bundles / "demo" / "3-half" / MODEL_FILE)
        trial.equal("status of the reload once it is whole", 200, service.reload("3-half")[0])


def crash_at_start(trial: Trial) -> None:
    """Start with a newest version that crashes and a sound older one."""
    for workers in (1, 2):
        inner = trial.scratch / str(workers)
        inner.mkdir()
        folder = demo_folder(inner / "bundles")
        crashing(copy_as(folder, "demo", "2"))
        with serve(trial, bundles=folder, workers=workers) as service:
            trial.equal("version that answers", (200, "1"), service.version())
            trial.equal("ready", True, service.ready)


def nonsense_in_answers(trial: Trial) -> None:
    """Send requests at which the model gives NaN, or slots that do not exist."""
    folder = trial.scratch / "bundles"
    nonsense(copy_as(folder, "demo", "1"))
    with serve(trial, *UNHURRIED, bundles=folder) as service:
        service.fault()
        before = service.log_lines("")
        for output, at in TRIGGERS.items():
            for _ in range(3):
                status, answer = service.rerank(diversity={"lambda": at}, explain=True)
                reason = (answer.get("degraded") or {}).get("reason") if status == 200 else None
                trial.equal(f"a wrong {output}", (200, "model-error"), (status, reason))
        trial.at_most("lines of log about 15 wrong answers", 3, service.log_lines("") - before)


def engine_hang(trial: Trial) -> None:
    """Send a request whose run never ends, to one process."""
    with _hang_on_demand(trial, 1) as service:
        status = service.server.process
        _poison(service)
        service.until("not ready", lambda: service.status("/v2/health/ready") in (0, 503), 10)
        with contextlib.suppress(subprocess.TimeoutExpired):
            status.wait(20)
        found = status.poll()
        trial.expect("it ends with an error", "a status above 0", found, found is not None and found > 0)
        trial.expect("the hang is logged", "1 line or more", n := service.log_lines("hang"), n > 0)


def engine_hang_in_a_worker(trial: Trial) -> None:
    """Send a request whose run never ends, to one of two workers."""
    with _hang_on_demand(trial, 2) as service:
        before = set(service.workers())
        _poison(service)

        def replaced() -> bool:
            now = set(service.workers())
            return len(now) == 2 and len(now & before) == 1 and service.ready

        service.until("the worker is replaced", replaced, 45)
        service.until("the hang is counted", lambda: (service.metric(HANGS) or 0) >= 1, 5)


def engine_hang_and_stop(trial: Trial) -> None:
    """Send SIGTERM to a process whose engine hangs: it must end all the same."""
    with _hang_on_demand(trial, 1, seconds="30") as service:
        _poison(service)
        service.server.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            service.server.process.wait(15)
        found = service.server.process.poll()
        trial.expect("it ends within 15 s", "an exit status", found, found is not None)


@contextlib.contextmanager
def _hang_on_demand(trial: Trial, workers: int, seconds: str = "1") -> Iterator[Service]:
    folder = trial.scratch / "bundles"
    hanging(copy_as(folder, "demo", "1"))
    options = ("--budget-ms", "200", "--engine-hang-seconds", seconds)
    with serve(trial, *options, bundles=folder, workers=workers) as service:
        yield service


def _poison(service: Service) -> None:
    """Send the request that hangs, and do not wait for its answer for long."""
    service.fault()
    thread = threading.Thread(target=lambda: service.rerank(diversity={"lambda": HANG}), daemon=True)
    thread.start()


SCENARIOS: Final = (
    Scenario(
        name="bundle-crash-reload",
        row=9,
        fault="a bundle that crashes its process",
        how="a reload to a model whose constants divide −2⁶³ by −1; one process, then two workers",
        right="422, no process ends, the old version goes on",
        act=crash_at_reload,
    ),
    Scenario(
        name="bundle-crash-start",
        row=9,
        fault="the newest bundle crashes at start",
        how="such a version above a sound one; one process, then two workers",
        right="the sound version serves, ready is 200",
        act=crash_at_start,
    ),
    Scenario(
        name="bundle-hang-reload",
        row=9,
        fault="a bundle whose runs never end",
        how="a reload to a model with an endless loop",
        right="422 within the time for loading, the old version goes on",
        act=hang_at_reload,
    ),
    Scenario(
        name="bundle-broken",
        row=9,
        fault="bundles that are no model, or half uploaded",
        how="reloads to random bytes and to half a file; the rest comes later",
        right="422, the old version goes on; 200 once it is whole",
        act=broken_at_reload,
        quick=True,
    ),
    Scenario(
        name="bundle-nan",
        row=8,
        fault="a model that gives NaN or impossible slots",
        how="requests that trigger it in each output in turn, with `explain`",
        right="200, degraded `model-error`; one line of log a minute",
        act=nonsense_in_answers,
    ),
    Scenario(
        name="engine-hang",
        row=5,
        fault="the engine hangs, in one process",
        how="a request that starts an endless loop; `--engine-hang-seconds 1`",
        right="not ready, logged, ends with an error after the drain limit",
        act=engine_hang,
    ),
    Scenario(
        name="engine-hang-worker",
        row=5,
        fault="the engine hangs, in one of two workers",
        how="as above",
        right="counted, the worker is replaced, the other one goes on",
        act=engine_hang_in_a_worker,
    ),
    Scenario(
        name="engine-hang-sigterm",
        row=5,
        fault="SIGTERM while the engine hangs",
        how="as above, with SIGTERM before the hang is noticed",
        right="it ends within the drain limit",
        act=engine_hang_and_stop,
    ),
)
