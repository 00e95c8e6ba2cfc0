"""Scenes of `listwright serve --workers 2`: live in all workers or none, whatever happens to one of them."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.requests import request
from tests.service.scenes.test_reload import scene, write_scenes
from tests.service.test_process import running
from tests.service.tiny_bundle import Options, write_bundle
from tests.service.workers.test_workers import PATIENT, Service, eventually, serving, stopped

pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc")]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("scenes")
    write_bundle(folder / "bundles")
    write_scenes(folder / "bundles", scene("home"))
    with serving(folder, command=PATIENT) as found:
        yield found
        found.process.stop()


def names(answer: tuple[int, Any]) -> list[str]:
    status, scenes = answer
    assert status == 200
    return [found["name"] for found in scenes["scenes"]]


def by_worker(service: Service) -> list[list[str]]:
    """The scenes of every worker, each asked on a connection of its own."""
    found = []
    for pid in service.workers():
        with service.on(pid) as connection:
            found.append(names(connection.ask("/v1/scenes")))
    return found


def switch(service: Service, text: str) -> tuple[int, Any]:
    """Write the file, and reload the scenes alone."""
    write_scenes(service.bundles, text)
    return reload_scenes(service)


def reload_scenes(service: Service) -> tuple[int, Any]:
    return service.process.ask("/admin/v1/scenes/reload", {}, service.process.admin_port)


def count(service: Service, result: str) -> float:
    return service.value("rerank_scene_reloads_total", result=result) or 0


def test_a_reload_reaches_every_worker_before_it_is_answered(service: Service) -> None:
    before = count(service, "ok")
    assert switch(service, scene("home") + scene("shop", 2)) == (200, {"result": "ok", "problem": None})
    assert by_worker(service) == [["home", "shop"]] * 2
    for pid in service.workers():
        with service.on(pid) as connection:
            assert connection.ask("/v1/rerank", request(scene="shop"))[0] == 200
    found = {"scene": "shop", "outcome": "ok"}
    assert service.value("rerank_scene_requests_total", **found) == 2
    assert switch(service, scene("home"))[1]["result"] == "ok"
    assert by_worker(service) == [["home"]] * 2
    assert count(service, "ok") == before + 2


def test_a_wrong_file_changes_no_worker(service: Service) -> None:
    switch(service, scene("home"))
    before = count(service, "refused")
    status, problem = switch(service, scene("home") + scene("shop", 4))
    assert (status, problem["type"]) == (422, "urn:listwright:problem:scenes-refused")
    assert problem["detail"] == "scenes.shop.queues: has 4 queues; model 'tiny' takes at most 3"
    assert switch(service, "[scenes.home]\ntopn = 3")[1]["detail"] == "scenes.home.topn: is not a known key"
    assert by_worker(service) == [["home"]] * 2
    assert count(service, "refused") == before + 2


def test_a_signal_reloads_them_too(service: Service) -> None:
    switch(service, scene("home"))
    write_scenes(service.bundles, scene("signalled"))
    service.process.popen.send_signal(signal.SIGHUP)
    eventually(lambda: names(service.process.ask("/v1/scenes")) == ["signalled"])
    eventually(lambda: reload_scenes(service)[0] == 200)  # It has ended.
    assert by_worker(service) == [["signalled"]] * 2


def test_a_bundle_brings_its_scenes_in_one_reload(service: Service) -> None:
    switch(service, scene("home"))
    write_bundle(service.bundles, Options(version="2"))
    write_scenes(service.bundles, scene("new"))
    status, model = service.reload()
    assert (status, model["version"], model["scenes"]) == (200, "2", {"result": "ok", "problem": None})
    assert by_worker(service) == [["new"]] * 2
    assert service.reload("1")[1]["scenes"]["result"] == "unchanged"


def test_a_worker_that_dies_while_it_checks_them_leaves_all_as_they_were(service: Service) -> None:
    switch(service, scene("home"))
    one, late = service.workers()
    write_scenes(service.bundles, scene("never"))
    with stopped(late), concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(reload_scenes, service)
        eventually(lambda: service.reload("absent")[0] == 409)
        time.sleep(0.5)
        assert not answer.done(), "a worker that is stopped has not checked them"
        os.kill(late, signal.SIGKILL)
        status, problem = answer.result(60)
    assert (status, problem["type"]) == (503, "urn:listwright:problem:not-ready")
    assert problem["detail"].endswith("nothing has changed")
    with service.on(one) as connection:
        assert names(connection.ask("/v1/scenes")) == ["home"]
    eventually(lambda: service.value("rerank_workers_live") == 2)
    assert reload_scenes(service)[0] == 200
    assert by_worker(service) == [["never"]] * 2


def test_a_replacement_has_the_scenes_before_it_listens_and_no_count_falls(service: Service) -> None:
    switch(service, scene("home"))
    labels = {"scene": "home", "outcome": "ok"}
    for _ in range(4):
        assert service.process.ask("/v1/rerank", request(scene="home"))[0] == 200
    eventually(lambda: (service.value("rerank_scene_requests_total", **labels) or 0) >= 4)
    before = service.value("rerank_scene_requests_total", **labels) or 0
    time.sleep(1.5)  # Both have sent their counts to the supervisor, which they do every second.
    first = service.workers()
    os.kill(first[0], signal.SIGKILL)
    eventually(lambda: len(service.workers()) == 2 and service.workers() != first)
    eventually(lambda: service.value("rerank_workers_live") == 2)
    assert by_worker(service) == [["home"]] * 2
    assert (service.value("rerank_scene_requests_total", **labels) or 0) >= before
    series = service.scrape()
    assert {dict(labels)["scene"] for name, labels in series if name == "rerank_ignored_pins_total"} >= {"none", "home"}


@pytest.mark.slow
def test_a_wrong_file_at_start_keeps_all_from_being_ready_until_it_is_put_right(tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    write_bundle(bundles)
    write_scenes(bundles, "[scenes.home]\ntopn = 3")
    with running(bundles, PATIENT, "--workers", "2", "--budget-ms", "30000") as process:
        reason = "scenes.toml was not loaded: scenes.home.topn: is not a known key"
        eventually(lambda: reason in json.dumps(process.ask("/v2/health/ready")[1]))
        service = Service(process, bundles, tmp_path)
        assert (service.value("rerank_ready"), service.value("rerank_files_refused", kind="scenes")) == (0, 1)
        write_scenes(bundles, "[scenes.home]\ntop_n = 3")
        process.wait_until_ready()
        assert (service.value("rerank_ready"), service.value("rerank_files_refused", kind="scenes")) == (1, 0)
        assert names(process.ask("/v1/scenes")) == ["home"]
        assert len(process.ask("/v1/rerank", request(scene="home"))[1]["items"]) == 3
        assert process.stop()[0] == 0
