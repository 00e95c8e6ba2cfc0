"""`--engine-processes`: one process runs the models for all workers, and none of its troubles is a client's."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import http.client
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from models.contract.manifest import MODEL_FILE
from service.settings import Settings, SettingsError
from service.workers import supervisor
from service.workers.engines import visible_devices
from service.workers.handle import EngineProcess
from tests.service.hanging_bundle import hanging_request, write_hanging_bundle
from tests.service.live import make_settings
from tests.service.requests import check_list, request
from tests.service.test_process import fails
from tests.service.tiny_bundle import Options, write_bundle
from tests.service.workers.test_workers import DURATION, Service, alive, eventually, serving, stopped

pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")]
LABELS = {"model": "tiny", "version": "1", "outcome": "ok"}
ONE = ("--engine-processes", "1", "--max-batch", "16")


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Two workers and one engine process; each test leaves version 1 live, and all three running."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), *ONE) as found:
        yield found
        status, _, err = found.process.stop()
        assert status == 0, err
        assert found.folders() == []


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a service's bundles and sockets: pytest's own have too long a path for a socket."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def whole(service: Service) -> bool:
    return len(service.workers()) == 2 and len(service.engines()) == 1 and service.value("rerank_engines_live") == 1


def ended(service: Service, reason: str) -> float:
    """Engine processes that have ended for this reason."""
    return service.value("rerank_engines_ended_total", reason=reason) or 0


@dataclass
class Clients:
    """Threads that ask without end, each with requests of its own, and check every list."""

    port: int
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Clients:
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(6)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        for turn in range(10**9):
            if self.stopping.is_set():
                break
            body = own_request(number, turn)
            try:
                connection.request("POST", "/v1/rerank", json.dumps(body), {"Content-Type": "application/json"})
                response = connection.getresponse()
                answer = json.loads(response.read())
                if response.status != 200:
                    raise AssertionError(f"{response.status}: {answer}")
                check_own(body, answer)
            except (AssertionError, OSError, http.client.HTTPException) as error:
                self.faults.append(repr(error))
                return
            self.outcomes["none" if answer["degraded"] is None else answer["degraded"]["reason"]] += 1
        connection.close()


def own_request(client: int, turn: int) -> dict[str, Any]:
    """A request whose candidates no other has."""
    made = request(20 + turn % 5)
    for candidate in made["candidates"]:
        candidate["id"] = f"{client}-{turn}-{candidate['id']}"
    return made


def check_own(body: dict[str, Any], answer: dict[str, Any]) -> None:
    """The list is made of this request's candidates, and none twice."""
    own = {candidate["id"] for candidate in body["candidates"]}
    ids = [item["id"] for item in answer["items"]]
    assert ids
    assert set(ids) <= own, "an answer to another request"
    assert len(set(ids)) == len(ids)


def test_jobs_of_all_workers_are_run_in_one_process_and_together(service: Service) -> None:
    assert whole(service)
    before = service.value(DURATION, **LABELS) or 0
    for pid in service.workers():
        with service.on(pid) as connection:
            for n in range(1, 6):
                status, answer = connection.ask("/v1/rerank", request(n))
                assert status == 200
                check_list(request(n), answer)
                assert answer["degraded"] is None
    assert (service.value(DURATION, **LABELS) or 0) == before + 10
    (engine,) = service.engines()
    os.kill(engine, signal.SIGSTOP)
    try:
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            answers = [pool.submit(service.process.ask, "/v1/rerank", request()) for _ in range(12)]
            eventually(lambda: (service.scrape(service.process.admin_port)["rerank_queue_depth", frozenset()]) == 12)
            os.kill(engine, signal.SIGCONT)
            assert {answer.result()[0] for answer in answers} == {200}
    finally:
        os.kill(engine, signal.SIGCONT)
    found = service.scrape()
    assert found["rerank_batch_size_sum", frozenset()] > found["rerank_batch_size_count", frozenset()]


def test_a_killed_engine_process_costs_no_request_and_is_replaced(service: Service) -> None:
    killed = ended(service, "killed")
    (engine,) = service.engines()
    with Clients(service.process.port) as clients:
        eventually(lambda: clients.outcomes["none"] > 20)
        os.kill(engine, signal.SIGKILL)
        eventually(lambda: clients.outcomes["model-error"] > 0)
        eventually(lambda: whole(service) and service.engines() != [engine])
        before = clients.outcomes["none"]
        eventually(lambda: clients.outcomes["none"] > before + 20)
    assert clients.faults == []
    assert set(clients.outcomes) == {"none", "model-error"}
    assert ended(service, "killed") == killed + 1
    assert service.versions() == {"1"}


def test_a_killed_worker_leaves_the_others_and_is_replaced_by_one_with_the_same_engine(service: Service) -> None:
    (engine,) = service.engines()
    before = service.workers()
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: len(service.workers()) == 2 and before[0] not in service.workers())
    eventually(lambda: service.value("rerank_workers_live") == 2)
    assert service.engines() == [engine]
    for pid in service.workers():
        with service.on(pid) as connection:
            assert connection.ask("/v1/rerank", request())[1]["degraded"] is None


def test_a_stopped_engine_process_is_taken_for_hung_and_replaced(service: Service) -> None:
    hung = ended(service, "hung")
    (engine,) = service.engines()
    os.kill(engine, signal.SIGSTOP)
    body = {**request(), "timeout_ms": 50}
    status, answer = service.process.ask("/v1/rerank", body)
    assert (status, answer["degraded"]["reason"]) == (200, "deadline")
    eventually(lambda: ended(service, "hung") == hung + 1)
    eventually(lambda: whole(service) and service.engines() != [engine])
    eventually(lambda: service.process.ask("/v1/rerank", request())[1]["degraded"] is None)


def test_a_reload_moves_to_a_new_engine_process_without_a_pause(service: Service) -> None:
    (engine,) = service.engines()
    write_bundle(service.bundles, Options(version="2"))
    with Clients(service.process.port) as clients:
        eventually(lambda: clients.outcomes["none"] > 20)
        status, model = service.reload("2")
        assert (status, model["version"]) == (200, "2")
        assert service.versions() == {"2"}
        eventually(lambda: not alive(engine))
        assert service.reload("1")[0] == 200
    assert clients.faults == []
    assert set(clients.outcomes) == {"none"}
    eventually(lambda: whole(service))
    assert engine not in service.engines()


def test_a_reload_costs_no_request_where_the_service_has_no_drain(folder: Path) -> None:
    with serving(folder, *ONE, "--drain-seconds", "0") as service:
        write_bundle(service.bundles, Options(version="2"))
        with Clients(service.process.port) as clients:
            eventually(lambda: clients.outcomes["none"] > 20)
            for version in "2121":
                assert service.reload(version)[0] == 200
        assert clients.faults == []
        assert set(clients.outcomes) == {"none"}


def test_a_bundle_that_is_refused_leaves_the_engine_process_as_it_was(service: Service) -> None:
    (engine,) = service.engines()
    folder = write_bundle(service.bundles, Options(version="3"))
    (folder / MODEL_FILE).write_bytes(b"spoilt")
    status, problem = service.reload("3")
    assert (status, problem["type"]) == (422, "urn:listwright:problem:bundle-refused")
    assert service.versions() == {"1"}
    assert service.engines() == [engine]


def test_an_engine_process_that_dies_before_the_switch_ends_it_at_once(service: Service) -> None:
    (engine,) = service.engines()
    write_bundle(service.bundles, Options(version="5"))
    slow, _ = service.workers()
    with stopped(slow), concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(service.reload, "5")
        (folder,) = service.folders()
        eventually(lambda: len(list(folder.glob("*.sock"))) == 2)
        (new,) = set(service.engines()) - {engine}
        os.kill(new, signal.SIGKILL)
        status, problem = answer.result(60)
    assert status == 503, problem
    assert "ended before it served" in problem["detail"]
    assert service.versions() == {"1"}
    eventually(lambda: service.engines() == [engine])


def test_an_engine_process_that_dies_while_it_loads_ends_the_reload_and_nothing_changes(service: Service) -> None:
    (engine,) = service.engines()
    write_bundle(service.bundles, Options(version="4"))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(service.reload, "4")
        eventually(lambda: len(service.engines()) == 2)
        (new,) = set(service.engines()) - {engine}
        os.kill(new, signal.SIGKILL)
        status, problem = answer.result(60)
    assert status == 503, problem
    assert "engine" in problem["detail"]
    assert service.versions() == {"1"}
    eventually(lambda: service.engines() == [engine])


def test_a_version_that_is_replaced_need_not_be_on_disk_any_more(folder: Path) -> None:
    with serving(folder, *ONE) as service:
        write_bundle(service.bundles, Options(version="2"))
        shutil.rmtree(service.bundles / "tiny" / "1")
        assert service.reload("2")[0] == 200
        assert service.versions() == {"2"}


def test_a_worker_that_is_stopped_in_a_switch_costs_no_other_worker(folder: Path) -> None:
    with serving(folder, *ONE, "--keep-versions", "2") as service:
        write_bundle(service.bundles, Options(version="2"))
        slow, other = service.workers()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answer = pool.submit(service.reload, "2")
            eventually(lambda: len(service.engines()) == 2)
            with stopped(slow):
                time.sleep(2)
            assert answer.result(60)[0] == 200
        assert service.workers() == sorted([slow, other])
        assert service.versions() == {"2"}


def test_several_versions_and_engine_processes(folder: Path) -> None:
    write_bundle(folder / "bundles")
    write_bundle(folder / "bundles", Options(version="2"))
    flags = ("--keep-versions", "2", "--shadow", "tiny@1", "--shadow-share", "1")
    with serving(folder, "--engine-processes", "2", *flags) as service:
        eventually(lambda: len(service.engines()) == 2)
        assert service.value("rerank_engines_wanted") == 2
        for pid in service.workers():
            with service.on(pid) as connection:
                for version in ("1", "2"):
                    _, answer = connection.ask("/v1/rerank", {**request(), "model": "tiny", "version": version})
                    assert (answer["version"], answer["degraded"]) == (version, None)
        eventually(lambda: service.value("rerank_shadow_total", model="tiny", version="1", outcome="scored"))
        before = set(service.engines())
        for engine in before:
            os.kill(engine, signal.SIGKILL)
        eventually(lambda: len(set(service.engines()) - before) == 2 and service.value("rerank_engines_live") == 2)
        eventually(lambda: service.process.ask("/v1/rerank", request())[1]["degraded"] is None)


def test_an_engine_that_hangs_is_replaced_with_its_process(folder: Path) -> None:
    write_hanging_bundle(folder / "bundles")
    flags = ("--engine-hang-seconds", "1", "--drain-seconds", "5", *ONE)
    with serving(folder, *flags) as service:
        (engine,) = service.engines()
        status, answer = service.process.ask("/v1/rerank", hanging_request())
        assert status == 200
        assert answer["degraded"]["reason"] in ("deadline", "model-error")
        eventually(lambda: ended(service, "hung") == 1)
        eventually(lambda: whole(service) and service.engines() != [engine])
        eventually(lambda: service.process.ask("/v1/rerank", request())[1]["degraded"] is None)
        assert service.process.ask("/v2/health/ready")[0] == 200


def test_all_end_when_the_supervisor_is_killed_and_leave_nothing(folder: Path) -> None:
    with serving(folder, *ONE) as service:
        pids = [*service.workers(), *service.engines()]
        assert len(pids) == 3
        (sockets,) = service.folders()
        assert sockets.stat().st_mode & 0o777 == 0o700
        service.process.popen.kill()
        service.process.popen.wait()
        eventually(lambda: not any(map(alive, pids)))
        assert service.folders() == []


def test_a_socket_that_others_can_reach_is_not_used(folder: Path) -> None:
    with serving(folder, *ONE) as service:
        (sockets,) = service.folders()
        sockets.chmod(0o755)
        write_bundle(service.bundles, Options(version="2"))
        status, problem = service.reload("2")
        assert status == 503
        assert "open to other users" in problem["detail"]
        sockets.chmod(0o700)
        assert service.reload("2")[0] == 200


def test_an_engine_process_that_cannot_be_started_at_first_is_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where memory or processes are short for a moment."""
    tries: list[int] = []
    start = EngineProcess.start

    async def start_later(slot: int, settings: Settings, variables: Mapping[str, str]) -> EngineProcess:
        tries.append(slot)
        if len(tries) < 3:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return await start(slot, settings, variables)

    monkeypatch.setattr(EngineProcess, "start", start_later)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    settings = make_settings(
        workers=1, engine_processes=1, provider="cpu", port=0, bundles=str(write_bundle(folder / "b").parents[1])
    )

    async def supervise() -> int:
        running = asyncio.create_task(supervisor.supervise(settings))
        while len(tries) < 3 and not running.done():
            await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        return await running

    assert asyncio.run(supervise()) == 0
    assert len(tries) == 3
    assert [path.name for path in folder.iterdir()] == ["b"]


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--engine-processes", "2"), "2 are more than the 1 of LISTWRIGHT_WORKERS (--workers)"),
        (("--engine-processes", "x"), "LISTWRIGHT_ENGINE_PROCESSES (--engine-processes)"),
    ],
)
def test_numbers_of_processes_that_cannot_be_are_errors_that_name_the_setting(
    flags: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    assert why in fails("--bundles", str(tmp_path), "--port", "0", *flags)


def test_a_gpu_without_engine_processes_for_several_workers_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "why_no_cuda_aside", lambda: None)
    with pytest.raises(SettingsError, match="must be 1 or more on CUDA"):
        supervisor.settle_engines(make_settings(provider="cuda", workers=4, engine_processes=0))
    assert supervisor.settle_engines(make_settings(provider="auto", workers=4)).engine_processes == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert visible_devices(2) == ["3", "5"]
    with pytest.raises(SettingsError, match="3 are more than the 2 GPUs of CUDA_VISIBLE_DEVICES"):
        supervisor.settle_engines(make_settings(provider="cuda", workers=4, engine_processes=3))


def test_a_folder_for_sockets_that_is_too_deep_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    write_bundle(tmp_path / "bundles")
    flags = ("--workers", "2", *ONE)
    message = fails("--bundles", str(tmp_path / "bundles"), "--port", "0", *flags, TMPDIR=str(deep))
    assert "--engine-processes): no folder can be made for their sockets" in message
