"""Kill, stop and signal the processes of a service."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import Final

from loadtest.resilience.chaos.harness import Service, demo_folder, serve, wait
from loadtest.resilience.chaos.scenario import Scenario, Trial
from loadtest.rig.server import alive, tree

ENDED: Final = "rerank_workers_ended_total"
REPLACED: Final = 30.0
"""Most seconds until a dead worker's replacement serves, on a busy machine."""

NOTICED: Final = 15.0
"""Most seconds until a stopped worker is killed: five missed beats, and as long again for a busy machine."""


def _new_worker(service: Service, *gone: int) -> bool:
    workers = service.workers()
    return len(workers) == 2 and not set(workers) & set(gone) and service.ready


def kill_one(trial: Trial) -> None:
    """Kill one of two workers under load."""
    with serve(trial, workers=2) as service:
        victim = trial.rng.choice(service.workers())
        service.kill(victim)
        service.until("a new worker serves", lambda: _new_worker(service, victim), REPLACED)
        service.until("the end is counted", lambda: (service.metric(ENDED) or 0) >= 1, 5)


def kill_all(trial: Trial) -> None:
    """Kill both workers at the same moment."""
    with serve(trial, workers=2) as service:
        victims = service.workers()
        service.kill(*victims)
        service.until("two new workers serve", lambda: _new_worker(service, *victims), REPLACED)
        service.until("a request is answered with a list", lambda: service.rerank()[0] == 200, 5)


def kill_supervisor(trial: Trial) -> None:
    """Kill the supervisor: nobody would replace or reload the workers, so they end."""
    with serve(trial, workers=2) as service:
        members = tree(service.server.pid)
        service.fault()
        os.kill(service.server.pid, signal.SIGKILL)
        service.until("every worker ends", lambda: set(alive(members)) <= {service.server.pid}, 15)


def stop_one(trial: Trial) -> None:
    """Stop one of two workers for ever."""
    with serve(trial, workers=2) as service:
        victim = trial.rng.choice(service.workers())
        service.freeze(victim)
        service.until("the stopped worker is replaced", lambda: _new_worker(service, victim), NOTICED + REPLACED)
        service.until("the end is counted", lambda: (service.metric(ENDED) or 0) >= 1, 5)


def stop_for_two_seconds(trial: Trial) -> None:
    """Stop one worker for less than five beats: it must live on."""
    with serve(trial, workers=2) as service:
        before = service.workers()
        service.freeze(before[0])
        time.sleep(2.0)
        os.kill(before[0], signal.SIGCONT)
        trial.held.clear()  # It lives, so it must answer everything that it held.
        time.sleep(1.0)
        trial.equal("the same workers serve", before, service.workers())
        service.until("ready", lambda: service.ready, 5)


def stop_supervisor(trial: Trial) -> None:
    """Stop the supervisor for longer than five beats: afterwards it must not blame its workers."""
    with serve(trial, workers=2) as service:
        before = service.workers()
        service.fault()
        os.kill(service.server.pid, signal.SIGSTOP)
        time.sleep(8.0)
        os.kill(service.server.pid, signal.SIGCONT)
        time.sleep(2.0)
        trial.equal("the same workers serve", before, service.workers())


def reload_beside_a_stopped_worker(trial: Trial) -> None:
    """Order a reload while one worker is stopped, then kill the other one."""
    folder = demo_folder(trial.scratch / "bundles", "1", "2")
    with serve(trial, "--load-timeout-seconds", "20", bundles=folder, workers=2) as service:
        stopped, other = service.workers()
        service.freeze(stopped)
        status, seconds = service.reload("2")
        trial.one_of("status of the reload beside it", (503, 200), status)
        trial.at_most("seconds of that reload", 60, seconds)
        service.kill(other)
        service.until("two new workers serve", lambda: _new_worker(service, stopped, other), NOTICED + REPLACED)
        # A worker that joins holds the lock that reloads need, so the first order may meet a 409.
        service.until("a later reload works", lambda: service.reload("1")[0] == 200, 30)


def hangup_storm(trial: Trial) -> None:
    """Send 100 SIGHUPs within a second, to one process and to a supervisor."""
    for workers in (1, 2):
        inner = trial.scratch / str(workers)
        inner.mkdir()
        folder = demo_folder(inner / "bundles")
        with serve(trial, bundles=folder, workers=workers) as service:
            before = service.workers()
            service.fault()
            for _ in range(100):
                os.kill(service.server.pid, signal.SIGHUP)
                time.sleep(0.01)
            demo_folder(folder, "2")
            time.sleep(0.2)
            os.kill(service.server.pid, signal.SIGHUP)
            service.until("the newest version serves", lambda: service.version() == (200, "2"), 30)
            trial.equal("the same workers serve", before, service.workers())


def terminate(trial: Trial) -> None:
    """Send SIGTERM under load to one process, then to a supervisor with a stopped worker."""
    with serve(trial) as service:
        service.fault()
        service.server.process.send_signal(signal.SIGTERM)
        trial.equal("exit status", 0, _exit_status(service, 15))
    inner = trial.scratch / "workers"
    inner.mkdir()
    with serve(trial, bundles=demo_folder(inner / "bundles"), workers=2) as service:
        service.freeze(service.workers()[0])
        members = tree(service.server.pid)
        service.server.process.send_signal(signal.SIGTERM)
        found = _exit_status(service, 18)
        trial.expect("it ends beside a stopped worker", "within 18 s", f"status {found}", found is not None)
        trial.equal("processes left", 0, len(alive(members)))


def _exit_status(service: Service, within: float) -> int | None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        return service.server.process.wait(within)
    return None


def stop_the_only_process(trial: Trial) -> None:
    """Stop a service of one process for two seconds."""
    with serve(trial) as service:
        service.freeze(service.server.pid)
        time.sleep(2.0)
        os.kill(service.server.pid, signal.SIGCONT)
        trial.held.clear()
        seconds = wait(lambda: service.rerank()[0] == 200 and service.ready, 5)
        trial.at_most("seconds until it answers again", 5, seconds)
        trial.equal("engine hangs counted", 0.0, service.metric("rerank_engine_hangs_total"))


SCENARIOS: Final = (
    Scenario(
        name="kill-worker",
        row=0,
        fault="a worker is killed",
        how="SIGKILL to one of two workers",
        right="counted and replaced; only what it held is lost",
        act=kill_one,
        quick=True,
    ),
    Scenario(
        name="kill-all-workers",
        row=0,
        fault="all workers are killed at once",
        how="SIGKILL to both workers",
        right="both replaced; connections in the kernel's queue are answered late",
        act=kill_all,
    ),
    Scenario(
        name="kill-supervisor",
        row=0,
        fault="the supervisor is killed",
        how="SIGKILL to the supervisor of two workers",
        right="its workers answer what they have and end",
        act=kill_supervisor,
    ),
    Scenario(
        name="stop-worker",
        row=3,
        fault="a worker hangs for ever",
        how="SIGSTOP to one of two workers",
        right="killed after five missed beats, counted, replaced",
        act=stop_one,
    ),
    Scenario(
        name="stop-worker-2s",
        row=3,
        fault="a worker hangs for 2 s",
        how="SIGSTOP, SIGCONT 2 s later",
        right="it lives on and answers what it held",
        act=stop_for_two_seconds,
    ),
    Scenario(
        name="stop-supervisor",
        row=3,
        fault="the supervisor hangs for 8 s",
        how="SIGSTOP, SIGCONT 8 s later",
        right="workers go on; none is blamed for the supervisor's own pause",
        act=stop_supervisor,
    ),
    Scenario(
        name="reload-stopped",
        row=3,
        fault="a reload while a worker hangs, then the other worker dies",
        how="SIGSTOP, a reload, SIGKILL to the other",
        right="the reload ends in time, whole or not at all; both are replaced; the next reload works",
        act=reload_beside_a_stopped_worker,
    ),
    Scenario(
        name="sighup-storm",
        row=0,
        fault="a storm of SIGHUP",
        how="100 within a second, to one process and to a supervisor",
        right="nothing ends; the newest version serves in the end",
        act=hangup_storm,
    ),
    Scenario(
        name="sigterm",
        row=5,
        fault="SIGTERM under load, also beside a worker that hangs",
        how="SIGTERM; SIGSTOP to one of two workers before it",
        right="all accepted requests answered, exit status 0; no process is left",
        act=terminate,
    ),
    Scenario(
        name="stop-process-2s",
        row=5,
        fault="the only process is stopped for 2 s",
        how="SIGSTOP, SIGCONT 2 s later",
        right="it answers what waited, and does not blame its engine",
        act=stop_the_only_process,
    ),
)
