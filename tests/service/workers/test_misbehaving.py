"""Workers that hang at the worst moments: in either phase of a switch, in a drain, at their very end."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.bad_bundles import write_hanging
from tests.service.tiny_bundle import Options, write_bundle
from tests.service.workers.test_hangs import both_answer, ended, reload_in_the_background
from tests.service.workers.test_workers import Service, alive, eventually, serving

pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc")]
MISBEHAVING = Path(__file__).with_name("misbehaving.py")


@contextlib.contextmanager
def misbehaving(folder: Path, *flags: str) -> Iterator[tuple[Service, Path]]:
    """A service, and the file that says where one of its workers hangs."""
    file = folder / "misbehave"
    command = [sys.executable, str(MISBEHAVING), str(file), "serve"]
    with serving(folder, *flags, command=command) as service:
        yield service, file


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Path]]:
    with misbehaving(tmp_path_factory.mktemp("misbehaving")) as found:
        yield found


def test_a_worker_that_stops_in_the_second_phase_is_replaced_by_one_that_has_switched(
    both: tuple[Service, Path],
) -> None:
    service, file = both
    hung = ended(service, "hung")
    write_bundle(service.bundles, Options(version="2"))
    file.write_text("Commit stop")
    status, text = reload_in_the_background(service)
    assert (status, '"version":"2"' in text) == (200, True), text
    eventually(lambda: both_answer(service), 60)
    assert service.versions() == {"2"}
    assert ended(service, "hung") == hung + 1


def test_a_worker_that_is_late_in_the_first_phase_fails_the_reload_and_stays(both: tuple[Service, Path]) -> None:
    service, file = both
    before, (version,) = service.workers(), service.versions()
    write_bundle(service.bundles, Options(version="3"))
    _, refused = service.reloads()
    file.write_text("Prepare sleep")
    status, text = reload_in_the_background(service)
    assert status == 503, text
    assert "did not answer Prepare within 8 seconds" in text
    assert "nothing has changed" in text
    assert service.versions() == {version}
    assert service.workers() == before
    assert service.reloads()[1] == refused + 1
    assert service.reload()[0] == 200  # The lock has been released.
    assert service.versions() == {"3"}


@pytest.mark.slow
def test_a_worker_that_ends_but_does_not_go_is_killed(both: tuple[Service, Path]) -> None:
    service, file = both
    hung, victim = ended(service, "hung"), service.workers()[0]
    file.write_text("close sleep")
    os.kill(victim, signal.SIGTERM)
    eventually(lambda: not alive(victim) and both_answer(service), 60)
    assert ended(service, "hung") == hung + 1


def test_a_worker_that_does_not_drain_is_killed_after_the_limit(tmp_path: Path) -> None:
    with misbehaving(tmp_path, "--drain-seconds", "1") as (service, file):
        pids = service.workers()
        file.write_text("drain sleep")
        status, _, err = service.process.stop()
        assert status == 0, err
        assert "hangs, so it is killed: it was told to end 4 seconds ago" in err
        assert not any(map(alive, pids))


def test_told_to_stop_it_waits_neither_for_a_bundle_that_is_tried_nor_for_a_worker_that_waits_for_that(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, "--drain-seconds", "2", "--load-timeout-seconds", "600") as service:
        victim = service.workers()[0]
        write_hanging(service.bundles, Options(version="2"))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answer = pool.submit(reload_in_the_background, service)
            eventually(service.is_reloading)
            os.kill(victim, signal.SIGKILL)
            eventually(lambda: service.scrape(service.process.admin_port)["rerank_workers_live", frozenset()] == 1)
            time.sleep(2)  # Long enough, as a rule, for its replacement to wait for the end of the reload.
            service.process.popen.send_signal(signal.SIGTERM)
            _, err = service.process.popen.communicate(timeout=60)
            status, text = answer.result(60)
    assert service.process.popen.returncode == 0, err
    assert (status, "the service is shutting down" in text) == (503, True), text
    assert "Traceback" not in err
