"""Take away open files, folders, space on disk and the right time."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from loadtest.resilience.chaos.clock import STEP_SECONDS, Clock
from loadtest.resilience.chaos.harness import Service, demo_folder, serve
from loadtest.resilience.chaos.scenario import Scenario, Skipped, Trial
from loadtest.resilience.chaos.traps import copy_as
from loadtest.resilience.chaos.watch import LIVE
from loadtest.resilience.chaos.wire import Wire, ask

_FILES: Final = 200
_DAY_SECONDS: Final = 86_400
_PR_CAPBSET_DROP: Final = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int = 256) -> Iterator[Path]:
    """Mount a small file system in memory. Raises `Skipped` without the right to."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise Skipped("needs the right to mount a tmpfs (root)") from None
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


def fill(folder: Path) -> None:
    """Write to a file system until it is full."""
    with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass


def without_privileges(act: Callable[[], None]) -> None:
    """Call `act` in a thread whose programs may not ignore file permissions.

    That holds for root too. The bounding set belongs to a thread and limits the programs that it starts; this process
    keeps its rights.
    """
    errors: list[BaseException] = []

    def run() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        try:
            act()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="without-privileges")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def no_open_files(trial: Trial) -> None:
    """Let the process open 200 files, and open 300 connections."""
    if shutil.which("prlimit") is None:
        raise Skipped("needs prlimit (apt-get install util-linux)")
    with serve(trial, prefix=("prlimit", f"--nofile={_FILES}:{_FILES}")) as service:
        service.fault()
        wires = []
        try:
            for _ in range(300):
                wires.append(Wire(service.port, 2.0))
            time.sleep(2.0)
            trial.one_of("lines of log about it", (1, 2), service.log_lines("refused"))
            counted = service.metric("rerank_connections_refused_total")
            trial.expect("refused connections counted", "≥ 50", counted, (counted or 0) >= 50)
        finally:
            for wire in wires:
                wire.socket.close()
        service.until("a new connection afterwards", lambda: ask(service.port, LIVE, timeout=5).status == 200, 15)


def _goes_on(service: Service, *, workers: int, version: str) -> None:
    """Check a reload, a scrape and a replacement."""
    trial = service.trial
    trial.equal("status of a scrape", 200, service.status("/metrics"))
    trial.equal("status of a reload", 200, service.reload(version)[0])
    if workers > 1:
        victim = service.workers()[0]
        service.kill(victim)
        service.until(
            "a killed worker is replaced",
            lambda: len(set(service.workers()) - {victim}) == workers and service.ready,
            30,
        )
    trial.equal("status of a scrape afterwards", 200, service.status("/metrics"))


def no_temporary_folder(trial: Trial) -> None:
    """Delete TMPDIR under a running service of two workers."""
    folder = demo_folder(trial.scratch / "bundles", "1", "2")
    temporary = trial.scratch / "temporary"
    temporary.mkdir()
    environment = {"TMPDIR": str(temporary)}
    with serve(trial, bundles=folder, workers=2, environment=environment) as service:
        service.fault()
        shutil.rmtree(temporary)
        _goes_on(service, workers=2, version="1")


def full_temporary_folder(trial: Trial) -> None:
    """Fill TMPDIR under a running service of two workers, and start another one in it."""
    with small_disk(trial.scratch / "small") as small:
        environment = {"TMPDIR": str(small)}
        folder = demo_folder(trial.scratch / "bundles", "1", "2")
        with serve(trial, bundles=folder, workers=2, environment=environment) as service:
            service.fault()
            fill(small)
            _goes_on(service, workers=2, version="1")
        again = copy_folder(folder, trial.scratch / "again")
        with serve(trial, bundles=again, workers=2, environment=environment) as service:
            trial.equal("ready where it is full from the start", True, service.ready)


def copy_folder(source: Path, target: Path) -> Path:
    """Copy a folder, and return the copy."""
    return Path(shutil.copytree(source, target))


def foreign_multiprocess_folder(trial: Trial) -> None:
    """Set PROMETHEUS_MULTIPROC_DIR to a folder that does not exist."""
    for workers in (1, 2):
        inner = trial.scratch / str(workers)
        inner.mkdir()
        environment = {"PROMETHEUS_MULTIPROC_DIR": str(inner / "missing")}
        folder = demo_folder(inner / "bundles", "1", "2")
        with serve(trial, bundles=folder, workers=workers, environment=environment) as service:
            service.fault()
            _goes_on(service, workers=workers, version="1")
            count = service.metric("rerank_request_duration_seconds_count")
            trial.expect("requests are counted", "≥ 1", count, (count or 0) >= 1)


def full_cache(trial: Trial) -> None:
    """Serve with a full cache folder, then with one that may not be written."""
    with small_disk(trial.scratch / "small", 64) as small:
        folder = demo_folder(trial.scratch / "bundles", "1", "2")
        with serve(trial, "--cache-folder", str(small / "cache"), bundles=folder) as service:
            service.fault()
            fill(small)
            trial.equal("status of a reload, full cache", 200, service.reload("1")[0])

    def unwritable() -> None:
        cache = trial.scratch / "closed"
        cache.mkdir()
        cache.chmod(0o500)
        inner = copy_folder(folder, trial.scratch / "bundles-again")
        with serve(trial, "--cache-folder", str(cache), bundles=inner) as service:
            trial.equal("status of a reload, unwritable cache", 200, service.reload("1")[0])
        cache.chmod(0o700)

    without_privileges(unwritable)


def no_bundles_folder(trial: Trial) -> None:
    """Delete the folder of bundles under a running service."""
    with serve(trial) as service:
        service.fault()
        shutil.rmtree(service.bundles)
        trial.one_of("status of a reload", (404, 422), service.reload("2")[0])
        os.kill(service.server.pid, signal.SIGHUP)
        time.sleep(1.0)
        trial.equal("ready", True, service.ready)
        trial.equal("status of a request", 200, service.rerank()[0])
        demo_folder(service.bundles, "2")
        trial.equal("status of a reload once it is back", 200, service.reload("2")[0])


def unreadable_folder(trial: Trial) -> None:
    """Put a folder that may not be read beside a good one."""
    folder = demo_folder(trial.scratch / "bundles")
    secret = copy_as(folder, "another", "1").parent
    secret.chmod(0)

    def act() -> None:
        with serve(trial, bundles=folder) as service:
            service.fault()
            trial.equal("ready", True, service.ready)
            trial.expect("the folder is named in the log", "1 line or more", n := service.log_lines("another"), n > 0)
            demo_folder(folder, "2")
            trial.equal("status of a reload", 200, service.reload("2")[0])

    try:
        without_privileges(act)
    finally:
        secret.chmod(0o700)


def clock_jumps(trial: Trial) -> None:
    """Set the wall clock a day forward and two days back under load."""
    clock = Clock(trial.scratch)
    folder = demo_folder(trial.scratch / "bundles", "1", "2")
    with serve(trial, bundles=folder, workers=2, environment=clock.environment) as service:
        before = service.workers()
        service.fault()
        for days, version in ((1, "1"), (-1, "2")):
            clock.move(days * _DAY_SECONDS)
            time.sleep(STEP_SECONDS)
            trial.equal(f"ready {days:+d} day", True, service.ready)
            trial.equal("status of a reload", 200, service.reload(version)[0])
            trial.equal("days that the service's clock is away", days, _loaded_days_ahead(service, version))
        trial.equal("the same workers serve", before, service.workers())


def _loaded_days_ahead(service: Service, version: str) -> int:
    """Return the days from now to when a version was loaded, by the service's clock."""
    models = service.session.get(f"{service.server.url}/v1/models", timeout=30).json()["models"]
    (loaded,) = [float(model["loaded_at"]) for model in models if model["version"] == version]
    return round((loaded - time.time()) / _DAY_SECONDS)


SCENARIOS: Final = (
    Scenario(
        name="open-files",
        row=16,
        fault="no more open files",
        how="a limit of 200, and 300 connections",
        right="open connections are answered, new ones once there is room; counted, one line of log a minute",
        act=no_open_files,
    ),
    Scenario(
        name="tmpdir-deleted",
        row=4,
        fault="the folder for temporary files is deleted",
        how="`TMPDIR` of two workers removed; then a reload, a scrape, a killed worker",
        right="all of these work: no metric needs a file",
        act=no_temporary_folder,
    ),
    Scenario(
        name="tmpdir-full",
        row=4,
        fault="the folder for temporary files is full",
        how="`TMPDIR` on a full tmpfs; as above, and a start in it",
        right="all of these work",
        act=full_temporary_folder,
    ),
    Scenario(
        name="multiproc-dir",
        row=4,
        fault="`PROMETHEUS_MULTIPROC_DIR` from outside",
        how="a folder that does not exist; one process, then two workers",
        right="changes nothing",
        act=foreign_multiprocess_folder,
    ),
    Scenario(
        name="cache-full",
        row=0,
        fault="the cache of graphs is full, or may not be written",
        how="`--cache-folder` on a full tmpfs, then on a folder of mode 0500",
        right="bundles load without it",
        act=full_cache,
    ),
    Scenario(
        name="bundles-deleted",
        row=0,
        fault="the folder of bundles is deleted",
        how="removed under load; a reload, SIGHUP; then it comes back",
        right="what is live goes on; the reload is refused, and works once it is back",
        act=no_bundles_folder,
    ),
    Scenario(
        name="unreadable-folder",
        row=13,
        fault="a folder among the bundles that may not be read",
        how="mode 0000, at start and at a reload",
        right="named and skipped; the others serve",
        act=unreadable_folder,
    ),
    Scenario(
        name="clock",
        row=0,
        fault="the clock jumps",
        how="a day forward, then two days back; two workers",
        right="changes nothing",
        act=clock_jumps,
    ),
)
