"""Keys of `listwright serve --workers 2`: the supervisor reads the file, and all workers take them at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.access.files import SECRETS, entry, write_keys
from tests.service.requests import request
from tests.service.workers.test_workers import PATIENT, Service, eventually, serving, stopped

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("keys")
    write_keys(folder / "keys.toml", entry("backend"))
    with serving(folder, "--api-keys-file", str(folder / "keys.toml"), command=PATIENT) as found:
        yield found
        found.process.stop()


def key_file(service: Service) -> Path:
    return service.bundles.parent / "keys.toml"


def by_worker(service: Service, key: str) -> list[int]:
    """The status that every worker gives a key, each asked on a connection of its own."""
    found = []
    for pid in service.workers():
        with service.on(pid) as connection:
            found.append(connection.ask("/v1/rerank", request(), SECRETS[key])[0])
    return found


def reload(service: Service, key: str = "backend") -> tuple[int, object]:
    return service.process.ask("/admin/v1/keys/reload", {}, service.process.admin_port, SECRETS[key])


def admin_status(service: Service, key: str) -> int:
    return service.process.ask("/admin/v1/models", None, service.process.admin_port, SECRETS[key])[0]


@pytest.mark.long
def test_every_worker_has_the_keys_from_the_start(service: Service) -> None:
    assert by_worker(service, "backend") == [200] * 2
    assert by_worker(service, "old") == [401] * 2


def test_a_reload_is_answered_when_every_worker_has_the_new_keys(service: Service) -> None:
    write_keys(key_file(service), entry("backend") + entry("old"))
    assert reload(service) == (200, {"result": "ok"})
    assert by_worker(service, "old") == [200] * 2
    write_keys(key_file(service), entry("backend"))
    assert reload(service) == (200, {"result": "ok"})
    assert by_worker(service, "old") == [401] * 2
    assert by_worker(service, "backend") == [200] * 2


def test_a_signal_to_the_supervisor_rotates_the_keys_of_all(service: Service) -> None:
    write_keys(key_file(service), entry("backend") + entry("new"))
    service.process.popen.send_signal(signal.SIGHUP)
    eventually(lambda: admin_status(service, "new") == 200)
    assert reload(service, "new") == (200, {"result": "unchanged"})
    assert by_worker(service, "new") == [200] * 2


def test_a_wrong_file_changes_no_worker(service: Service) -> None:
    write_keys(key_file(service), entry("backend"))
    reload(service)
    before = service.value("rerank_key_reloads_total", result="refused") or 0
    write_keys(key_file(service), entry("old"), 0o644)
    assert reload(service)[0] == 422
    key_file(service).unlink()
    assert reload(service)[0] == 422
    assert by_worker(service, "backend") == [200] * 2
    assert by_worker(service, "old") == [401] * 2
    assert service.value("rerank_key_reloads_total", result="refused") == before + 2


def test_counts_of_all_add_up(service: Service) -> None:
    write_keys(key_file(service), entry("backend"))
    reload(service)
    labels = {"key": "backend", "result": "served"}
    before = service.value("rerank_key_requests_total", **labels) or 0
    unknown = service.value("rerank_auth_failures_total", reason="unknown") or 0
    assert by_worker(service, "backend") == [200] * 2
    assert by_worker(service, "old") == [401] * 2
    assert admin_status(service, "old") == 401
    eventually(lambda: service.value("rerank_key_requests_total", **labels) == before + 2)
    eventually(lambda: service.value("rerank_auth_failures_total", reason="unknown") == unknown + 3)


def test_a_worker_that_starts_meanwhile_has_the_new_keys_before_it_listens(service: Service) -> None:
    write_keys(key_file(service), entry("backend"))
    reload(service)
    first = service.workers()
    with stopped(first[1]):
        os.kill(first[0], signal.SIGKILL)
        eventually(lambda: len(service.workers()) == 2 and service.workers() != first)
        # The replacement starts, and the other one hangs: keys reach both in the end.
    write_keys(key_file(service), entry("backend") + entry("new"))
    assert reload(service) == (200, {"result": "ok"})
    eventually(lambda: service.value("rerank_workers_live") == 2)
    assert by_worker(service, "new") == [200] * 2
