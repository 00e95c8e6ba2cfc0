"""`listwright serve --workers 2`: real processes on real sockets, one service whatever happens to one of them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import http.client
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from models.contract.manifest import MODEL_FILE
from service.telemetry.metrics import Metrics
from service.workers import restarts, supervisor
from tests.service.live import fake_model, make_settings
from tests.service.requests import check_list, request
from tests.service.test_process import SERVE, Process, fails, running, with_key
from tests.service.tiny_bundle import Options, write_bundle

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc"), pytest.mark.long]
DURATION = "rerank_request_duration_seconds_count"
# The same command, with a supervisor that never takes a worker for hung: tests stop workers, and on a busy machine that
# may last. `handle` has its own copy of the limit, for workers that do not end; that stays.
PATIENT = [
    sys.executable,
    "-c",
    "import sys; from models.cli import main; from service.workers import handle, heartbeat; "
    "heartbeat.SILENT_SECONDS = 3600.0; sys.exit(main(['serve', *sys.argv[1:]]))",
]
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True)
class Connection:
    """One connection, and so one worker."""

    opened: http.client.HTTPConnection

    def ask(self, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
        status, text = self.text(path, body, key)
        return status, json.loads(text)

    def text(self, path: str, body: Any = None, key: str | None = None) -> tuple[int, str]:
        sent = None if body is None else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        self.opened.request(method, path, sent, with_key(key))
        response = self.opened.getresponse()
        return response.status, response.read().decode()

    def value(self, name: str, **labels: str) -> float | None:
        status, text = self.text("/metrics")
        assert status == 200, text
        return parse(text).get((name, frozenset(labels.items())))


@dataclass(frozen=True)
class Service:
    """A running service with two workers, its bundles, and the folder for its temporary files."""

    process: Process
    bundles: Path
    temporary: Path

    def workers(self) -> list[int]:
        """Their process ids, and that of a trial while there is one."""
        return [pid for pid in children(self.process.popen.pid) if not is_engine(pid)]

    def engines(self) -> list[int]:
        """The process ids of engine processes."""
        return [pid for pid in children(self.process.popen.pid) if is_engine(pid)]

    def folders(self) -> list[Path]:
        """What the service has made for itself; ONNX Runtime leaves a file of its own there."""
        return list(self.temporary.glob("listwright*"))

    @contextlib.contextmanager
    def only(self, pid: int) -> Iterator[None]:
        """Only this worker runs, so whatever is answered is answered by it. For moments, unless it is patient."""
        with stopped(*(other for other in self.workers() if other != pid)):
            yield

    @contextlib.contextmanager
    def on(self, pid: int) -> Iterator[Connection]:
        """A connection that this worker has, while all run."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.process.port, timeout=20)) as opened:
            with self.only(pid):
                opened.request("GET", "/v2/health/live")
                opened.getresponse().read()
            yield Connection(opened)

    def versions(self, requests: int = 5) -> set[str]:
        """The versions in the answers of every worker, each asked on connections of its own."""
        found = set()
        for pid in self.workers():
            with self.on(pid) as connection:
                for _ in range(requests):
                    status, answer = connection.ask("/v1/rerank", request())
                    assert status == 200, answer
                    found.add(str(answer["version"]))
        return found

    def reload(self, version: str | None = None) -> tuple[int, Any]:
        body = {"model": "tiny"} if version is None else {"model": "tiny", "version": version}
        return self.process.ask("/admin/v1/reload", body, self.process.admin_port)

    def is_reloading(self) -> bool:
        """Whether a reload is going on; asking changes nothing but the count of refused ones."""
        return self.reload("absent")[0] == 409

    def scrape(self, port: int | None = None) -> Series:
        url = f"http://127.0.0.1:{port or self.process.port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as response:
            return parse(response.read().decode())

    def value(self, name: str, **labels: str) -> float | None:
        return self.scrape().get((name, frozenset(labels.items())))

    def reloads(self) -> tuple[float, float]:
        """Bundles that reloads have switched to, and that they have refused."""
        series = self.scrape()
        ok, refused = (series["rerank_reloads_total", frozenset({("result", r)})] for r in ("ok", "refused"))
        return ok, refused


def parse(text: str) -> Series:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, fields = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(name)
    return sorted(found)


def is_engine(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"service.workers.engine\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def state(pid: int) -> str:
    """The letter of /proc; Z if there is no such process."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "Z"


def alive(pid: int) -> bool:
    return state(pid) != "Z"


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Stop processes for as long as this lasts; those that were stopped before stay so afterwards."""
    pids = tuple(pid for pid in pids if state(pid) != "T")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        for pid in pids:
            eventually(lambda pid=pid: state(pid) in "TZ")  # type: ignore[misc]
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def eventually(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def wait_for_trial(service: Service) -> None:
    """Wait until a bundle has been tried: the supervisor has one more child for a while."""
    for number in (3, 2):
        eventually(lambda number=number: len(service.workers()) == number)  # type: ignore[misc]


@contextlib.contextmanager
def serving(folder: Path, *flags: str, command: Sequence[str] = SERVE, **variables: str) -> Iterator[Service]:
    bundles, temporary = folder / "bundles", folder / "temporary"
    temporary.mkdir()
    if not bundles.exists():
        write_bundle(bundles)
    limits = ("--budget-ms", "30000", "--max-in-flight", "1000")
    more = {"TMPDIR": str(temporary), **variables}
    with running(bundles, command, "--workers", "2", *limits, *flags, **more) as process:
        service = Service(process, bundles, temporary)
        pids = service.workers()
        try:
            process.wait_until_ready()
            for pid in pids:
                with service.on(pid) as connection:
                    eventually(lambda: connection.text("/v2/health/ready")[0] == 200)
            yield service
        finally:
            for pid in {*pids, *service.workers(), *service.engines()}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One that no test ends; each test leaves version 1 live."""
    with serving(tmp_path_factory.mktemp("workers"), command=PATIENT) as found:
        yield found
        found.process.stop()  # A supervisor that is killed takes what it has measured for `make coverage` with it.


def test_two_workers_answer_and_their_counts_add_up_whoever_is_asked(service: Service) -> None:
    labels = {"model": "tiny", "version": "1", "outcome": "ok"}
    assert len(service.workers()) == 2
    before = service.value(DURATION, **labels) or 0
    for pid in service.workers():
        with service.on(pid) as connection:
            for n in range(1, 21):
                status, answer = connection.ask("/v1/rerank", request(n))
                assert status == 200
                check_list(request(n), answer)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: service.process.ask("/v1/rerank", request()), range(100)))
    assert {status for status, _ in answers} == {200}
    eventually(lambda: service.value(DURATION, **labels) == before + 140)
    for pid in service.workers():
        with service.on(pid) as connection:
            assert connection.value(DURATION, **labels) == before + 140
    assert service.scrape(service.process.admin_port)[DURATION, frozenset(labels.items())] == before + 140
    stages = {"stage": "infer"}
    assert service.value("rerank_stage_duration_seconds_count", **stages) == before + 140


def test_the_series_are_those_of_one_process(service: Service) -> None:
    alone = Metrics(budget_seconds=30)
    alone.model_loaded(fake_model())
    expected = {key for key in parse(generate_latest(alone.registry).decode()) if key[0].startswith("rerank_")}
    found = {
        (name, labels)
        for name, labels in service.scrape()
        if dict(labels).get("version", "1") in ("1", "none")  # Another test may have had other versions live.
    }
    own = {
        ("rerank_workers_live", frozenset()),
        ("rerank_workers_wanted", frozenset()),
        *(("rerank_workers_ended_total", frozenset({("reason", r)})) for r in ("hung", "killed", "failed", "stopped")),
    }
    assert found == expected | own
    assert service.value("rerank_workers_live") == service.value("rerank_workers_wanted") == 2
    assert service.value("rerank_latency_budget_seconds") == 30
    service.process.ask("/v1/rerank", request())
    eventually(lambda: 0 < (service.value("rerank_latency_p99_seconds") or 0) < 10)


def shows(service: Service, in_part: int) -> bool:
    """Each request in part counts as a little more than 4 KiB."""
    return (service.value("rerank_unfinished_bytes") or 0) // 4096 >= in_part


def test_gauges_are_summed_over_workers(service: Service) -> None:
    body = json.dumps(request()).encode()
    head = b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with contextlib.ExitStack() as stack:
        opened = []
        for open_ones, pid in enumerate(service.workers(), 1):
            with service.only(pid):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", service.process.port), 10))
                connection.sendall(head % len(body) + body[:-1])
                opened.append(connection)
                eventually(functools.partial(shows, service, open_ones))
        key = ("rerank_unfinished_bytes", frozenset[tuple[str, str]]())
        eventually(lambda: service.scrape(service.process.admin_port)[key] > 2 * 4096)
        for connection in opened:
            connection.sendall(body[-1:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
    eventually(lambda: service.scrape(service.process.admin_port)[key] == 0)


def test_a_reload_switches_every_worker_before_it_is_answered(service: Service) -> None:
    ok, refused = service.reloads()
    write_bundle(service.bundles, Options(version="2"))
    status, model = service.reload()
    assert (status, model["version"], model["current"]) == (200, "2", True)
    assert service.versions() == {"2"}
    for port, path in ((service.process.admin_port, "/admin/v1/models"), (service.process.port, "/v1/models")):
        assert [m["version"] for m in service.process.ask(path, port=port)[1]["models"]] == ["2"]
    info = {"model": "tiny", "family": "sort-gen", "provider": "cpu"}
    assert service.value("rerank_model_info", version="2", **info) == 1
    assert service.value("rerank_model_info", version="1", **info) is None
    assert service.reload("1")[0] == 200
    assert service.versions() == {"1"}
    assert service.reloads() == (ok + 2, refused)


def test_a_bundle_that_one_worker_refuses_changes_none(service: Service) -> None:
    ok, refused = service.reloads()
    folder = write_bundle(service.bundles, Options(version="3"))
    _, late = service.workers()
    os.kill(late, signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(service.reload, "3")
        wait_for_trial(service)
        # The other worker loads meanwhile; were it slower than this, both would refuse, which must end the same way.
        time.sleep(1)
        assert not answer.done(), "a worker that is stopped has not loaded it"
        assert service.reload("3")[0] == 409
        (folder / MODEL_FILE).write_bytes(b"spoilt")
        os.kill(late, signal.SIGCONT)
        status, problem = answer.result(60)
    assert (status, problem["type"]) == (422, "urn:listwright:problem:bundle-refused")
    assert "model.onnx: SHA-256 is" in problem["detail"]
    assert service.versions() == {"1"}
    assert service.reloads()[0] == ok
    assert service.reloads()[1] > refused
    status, problem = service.reload("absent")
    assert (status, problem["type"]) == (422, "urn:listwright:problem:bundle-refused")
    assert service.reload("1")[0] == 200


def test_a_killed_worker_is_replaced_by_one_with_the_live_version_and_not_the_newest(service: Service) -> None:
    write_bundle(service.bundles, Options(version="4"))
    labels = {"model": "tiny", "version": "1", "outcome": "ok"}
    before = service.workers()
    count = service.value(DURATION, **labels) or 0
    os.kill(before[0], signal.SIGKILL)
    answers = [service.process.ask("/v1/rerank", request())[0] for _ in range(20)]
    assert answers == [200] * 20
    eventually(lambda: len(service.workers()) == 2 and before[0] not in service.workers())
    (new,) = set(service.workers()) - set(before)
    eventually(lambda: service.value("rerank_workers_live") == 2, 60)  # Else the other would be stopped for too long.
    with service.on(new) as connection:
        assert connection.ask("/v2/health/ready")[0] == 200
        assert connection.ask("/v1/rerank", request())[1]["version"] == "1"
    eventually(lambda: service.value(DURATION, **labels) == count + 21)


def test_a_worker_that_dies_during_a_reload_ends_the_reload_and_nothing_changes(service: Service) -> None:
    write_bundle(service.bundles, Options(version="5"))
    _, victim = service.workers()
    os.kill(victim, signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(service.reload, "5")
        wait_for_trial(service)
        time.sleep(0.3)
        os.kill(victim, signal.SIGKILL)
        status, problem = answer.result(60)
    assert (status, problem["type"]) == (503, "urn:listwright:problem:not-ready")
    assert "nothing has changed" in problem["detail"]
    eventually(lambda: len(service.workers()) == 2)
    assert service.versions() == {"1"}


def test_hangup_switches_every_worker_to_the_newest_and_stopping_leaves_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, "--shutdown-delay-seconds", "1") as service:
        assert service.folders() == []
        write_bundle(service.bundles, Options(version="2"))
        service.process.popen.send_signal(signal.SIGHUP)
        eventually(lambda: service.process.ask("/v1/rerank", request())[1]["version"] == "2")
        assert service.versions() == {"2"}
        pids = service.workers()
        service.process.popen.send_signal(signal.SIGTERM)
        eventually(lambda: service.process.ask("/v2/health/ready")[0] == 503)
        assert service.process.ask("/v1/rerank", request())[0] == 200
        _, err = service.process.popen.communicate(timeout=30)
        assert service.process.popen.returncode == 0, err
        assert not any(map(alive, pids))
        assert service.folders() == []
        assert "Traceback" not in err


@dataclass
class Client:
    """Asks until nobody listens any more, on one connection for as long as that lasts, or on a new one each time."""

    port: int
    keep: bool
    answered: int = 0
    lost: list[str] = field(default_factory=list)

    def run(self) -> None:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            with contextlib.closing(connection):
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    return
                while self._ask(connection) and self.keep:
                    pass

    def _ask(self, connection: http.client.HTTPConnection) -> bool:
        """One request; False once the server says that it closes the connection."""
        headers = {"Content-Type": "application/json"}
        try:
            connection.request("POST", "/v1/rerank", json.dumps(request()).encode(), headers)
            response = connection.getresponse()
            items = json.loads(response.read())["items"]
        except Exception as error:
            self.lost.append(repr(error))
            return False
        if response.status != 200 or len(items) != 5:
            self.lost.append(f"status {response.status}")
        self.answered += 1
        return not response.will_close


def test_every_request_that_was_accepted_is_answered_when_it_is_told_to_stop(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        clients = [Client(service.process.port, keep=i % 2 == 0) for i in range(6)]
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        eventually(lambda: all(client.answered > 20 for client in clients))
        service.process.popen.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(30)
        assert service.process.popen.wait(30) == 0
    assert [client.lost for client in clients] == [[]] * len(clients)


def test_workers_end_when_their_supervisor_is_killed_and_leave_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        pids = service.workers()
        assert len(pids) == 2
        service.process.popen.kill()
        service.process.popen.wait()
        eventually(lambda: not any(map(alive, pids)))
        assert service.folders() == []


def test_workers_that_cannot_live_end_the_service_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(restarts, "_FIRST_DELAY_SECONDS", 0.001)
    monkeypatch.setattr(restarts, "_LONGEST_DELAY_SECONDS", 0.001)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    settings = make_settings(workers=2, provider="cpu", port=0, bundles=str(write_bundle(tmp_path / "b").parents[1]))
    assert asyncio.run(supervisor.supervise(settings)) == 1
    assert "listening" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_cuda_that_does_not_work_is_an_error_before_any_worker_is_started(tmp_path: Path) -> None:
    message = fails("--bundles", str(tmp_path), "--port", "0", "--provider", "cuda", "--workers", "2")
    assert "LISTWRIGHT_PROVIDER (--provider): cuda cannot be used" in message
