"""Catalogues of `listwright serve --workers 2`: live in all workers or none, whatever happens to one of them."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.catalogues.test_choosing import DIGITS, array, spoil
from tests.service.item_catalogues import ITEMS, price, publish, request
from tests.service.test_process import running
from tests.service.tiny_bundle import write_bundle
from tests.service.workers.test_workers import PATIENT, Service, eventually, serving, stopped

pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc")]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("catalogues")
    write_bundle(folder / "bundles")
    publish(folder / "bundles" / "catalogue", "1", 10)
    with serving(folder, command=PATIENT) as found:
        yield found
        found.process.stop()


def reload_catalogues(service: Service) -> tuple[int, Any]:
    return service.process.ask("/admin/v1/catalogue/reload", {}, service.process.admin_port)


def price_served(answer: tuple[int, Any]) -> float:
    status, found = answer
    assert status == 200, found
    return price(found)


def by_worker(service: Service) -> list[float]:
    """The prices that every worker ranks with, each asked on a connection of its own."""
    found = []
    for pid in service.workers():
        with service.on(pid) as connection:
            found.append(price_served(connection.ask("/v1/rerank", request())))
    return found


def only(service: Service, version: str, price: float) -> Path:
    """Leave no version on disk but this new one, and switch to it."""
    root = service.bundles / "catalogue"
    old = [path for path in (root / DIGITS).iterdir() if not path.name.startswith(".")]
    folder = publish(root, version, price)
    for path in old:
        if path != folder:
            shutil.rmtree(path)
    status, answer = reload_catalogues(service)
    assert (status, answer["result"]) == (200, "ok"), answer
    return folder


def count(service: Service, result: str) -> float:
    return service.value("rerank_catalogue_reloads_total", result=result) or 0


def test_a_reload_reaches_every_worker_before_it_is_answered(service: Service) -> None:
    before = count(service, "ok")
    only(service, "11", 110)
    assert by_worker(service) == [110, 110]
    assert count(service, "ok") == before + 1
    assert reload_catalogues(service)[1]["result"] == "unchanged"
    assert count(service, "ok") == before + 1


def test_a_refused_version_changes_no_worker(service: Service) -> None:
    folder = only(service, "21", 210)
    before = count(service, "refused")
    wrong = publish(service.bundles / "catalogue", "22", 220)
    spoil(wrong)
    status, problem = reload_catalogues(service)
    assert (status, problem["type"]) == (422, "urn:listwright:problem:catalogue-refused")
    assert f"{DIGITS}/22: segment-0/price.npy: SHA-256 is" in problem["detail"]
    assert by_worker(service) == [210, 210]
    assert count(service, "refused") == before + 1
    shutil.rmtree(wrong)
    shutil.copytree(folder, folder.with_name(".23"))  # An upload that is not whole yet.
    assert reload_catalogues(service)[1]["result"] == "unchanged"


def test_a_signal_reloads_them_too(service: Service) -> None:
    only(service, "31", 310)
    publish(service.bundles / "catalogue", "32", 320)
    service.process.popen.send_signal(signal.SIGHUP)
    eventually(lambda: price_served(service.process.ask("/v1/rerank", request())) == 320)
    eventually(lambda: reload_catalogues(service)[0] == 200)  # It has ended.
    assert by_worker(service) == [320, 320]


def test_a_worker_that_dies_while_it_opens_one_leaves_all_as_they_were(service: Service) -> None:
    only(service, "41", 410)
    one, late = service.workers()
    publish(service.bundles / "catalogue", "42", 420)
    with stopped(late), concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(reload_catalogues, service)
        eventually(service.is_reloading)
        time.sleep(0.5)
        assert not answer.done(), "a worker that is stopped has not opened it"
        with service.on(one) as connection:
            assert price_served(connection.ask("/v1/rerank", request())) == 410
        os.kill(late, signal.SIGKILL)
        status, problem = answer.result(60)
    assert (status, problem["type"]) == (503, "urn:listwright:problem:not-ready")
    assert problem["detail"].endswith("nothing has changed")
    eventually(lambda: service.value("rerank_workers_live") == 2)
    eventually(lambda: reload_catalogues(service)[0] == 200)
    assert by_worker(service) == [420, 420]


def test_a_file_that_is_replaced_between_check_and_map_is_refused_by_the_worker_that_finds_it(
    service: Service,
) -> None:
    old = only(service, "51", 510)
    _, late = service.workers()
    folder = publish(service.bundles / "catalogue", "52", 520)
    with stopped(late), concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(reload_catalogues, service)
        # The other worker opens it meanwhile; were it slower than this, both would refuse, which must end the same way.
        eventually(service.is_reloading)
        time.sleep(1)
        assert not answer.done()
        shutil.copy(array(old, "price.npy"), folder.parent / ".price.npy")
        (folder.parent / ".price.npy").replace(array(folder, "price.npy"))
        os.kill(late, signal.SIGCONT)
        status, problem = answer.result(60)
    assert (status, problem["type"]) == (422, "urn:listwright:problem:catalogue-refused")
    assert "segment-0/price.npy: SHA-256 is" in problem["detail"]
    assert by_worker(service) == [510, 510]
    shutil.rmtree(folder)


def test_no_request_is_refused_or_mixes_two_while_versions_come_and_workers_go(service: Service) -> None:
    only(service, "61", 610)
    stop, found = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            found.append(service.process.ask("/v1/rerank", request(ITEMS)))

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    try:
        for version in range(62, 68):
            only(service, str(version), 10 * version)
            seen = len(found)  # Of the next six answers of three threads, one at least was asked for after the switch.
            while len(found) < seen + 6:
                asking[0].join(0.01)
    finally:
        stop.set()
        for thread in asking:
            thread.join()
    assert {status for status, _ in found} == {200}
    assert {price(answer) for _, answer in found} == {10 * version for version in range(61, 68)}
    assert by_worker(service) == [670, 670]


def test_a_replacement_has_the_live_catalogue_before_it_listens(service: Service) -> None:
    only(service, "71", 710)
    publish(service.bundles / "catalogue", "72", 720)
    first = service.workers()
    os.kill(first[0], signal.SIGKILL)
    eventually(lambda: len(service.workers()) == 2 and service.workers() != first)
    eventually(lambda: service.value("rerank_workers_live") == 2)
    assert by_worker(service) == [710, 710]


def test_a_copy_outlives_its_folder_and_reaches_a_replacement(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundles")
    folder = publish(tmp_path / "items", "1", 10)
    flags = ("--catalogue", str(tmp_path / "items"), "--catalogue-copy", "true")
    with serving(tmp_path, *flags, command=PATIENT) as service:
        assert by_worker(service) == [10, 10]
        for path in folder.glob("*/*.npy"):  # Under a plain map this would end the workers.
            os.truncate(path, 0)
        shutil.rmtree(tmp_path / "items")
        first = service.workers()
        os.kill(first[0], signal.SIGKILL)
        eventually(lambda: len(service.workers()) == 2 and service.workers() != first)
        eventually(lambda: service.value("rerank_workers_live") == 2)
        assert by_worker(service) == [10, 10]
        assert sealed(service.process.popen.pid) > 10
        publish(tmp_path / "items", "2", 20)
        assert reload_catalogues(service)[1]["result"] == "ok"
        assert by_worker(service) == [20, 20]
        contents = {path.read_bytes() for path in (tmp_path / "items").glob("*/*/*/*.npy")}
        eventually(lambda: sealed(service.process.popen.pid) == len(contents))  # Those of before are freed.
        assert service.process.stop()[0] == 0


def sealed(pid: int) -> int:
    """How many copies a process holds."""
    links = [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    return sum(str(link).startswith("/memfd:listwright") for link in links)


@pytest.mark.slow
def test_a_wrong_catalogue_at_start_keeps_all_from_being_ready_until_it_is_put_right(tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    write_bundle(bundles)
    folder = publish(bundles / "catalogue", "1", 10)
    whole = array(folder, "price.npy").read_bytes()
    array(folder, "price.npy").write_bytes(whole[:-8])
    with running(bundles, PATIENT, "--workers", "2", "--budget-ms", "30000") as process:
        reason = f"a catalogue was not loaded: {DIGITS}/1: segment-0/price.npy: SHA-256"
        eventually(lambda: reason in json.dumps(process.ask("/v2/health/ready")[1]))
        array(folder, "price.npy").write_bytes(whole)
        process.wait_until_ready()
        assert price_served(process.ask("/v1/rerank", request())) == 10
        assert process.stop()[0] == 0
