"""Several models and versions at once: which one answers, what a switch does to requests in progress, and SIGHUP."""

from __future__ import annotations

import json
import shlex
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract import manifest as m
from service.bundles.model import Model
from service.bundles.registry import Registry
from service.contract.problems import Problem
from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import WAIT_SECONDS, FakeEngine, fake_model, live_app
from tests.service.raw import connected
from tests.service.requests import check_list, request
from tests.service.test_admin import serving, spoil
from tests.service.test_process import SERVE, Process, running
from tests.service.tiny_bundle import Options, write_bundle
from tests.service.transport.test_transport import eventually

INFO = {"family": "sort-gen", "provider": "cpu"}


def model(version: str, name: str = "tiny", engine: FakeEngine | None = None) -> Model:
    return fake_model(engine, Options(name=name, version=version))


def test_a_request_may_name_any_live_version_and_else_gets_the_last_published() -> None:
    with live_app(model("9"), model("10"), model("2"), keep_versions=3) as live:
        assert live.post(request()).json["version"] == "2"
        for version in ("9", "10", "2"):
            reply = live.post(request(version=version, model="tiny"))
            assert (reply.status, reply.json["version"]) == (200, version)
            assert live.records[-1].version == version
        counted = [
            live.series("rerank_request_duration_seconds_count", model="tiny", version=v, outcome="ok")
            for v in ("9", "10", "2")
        ]
        assert counted == [1, 1, 2]
        shown = [(x["name"], x["version"]) for x in live.get("/v1/models").json["models"]]
        assert shown == [("tiny", "2"), ("tiny", "10"), ("tiny", "9")]


@pytest.mark.parametrize("version", ["3", "", "1 ", "01", "latest", "../1", "x" * 5000, "é"])
def test_a_version_that_is_not_live_is_422_and_says_which_are(version: str) -> None:
    with live_app(model("1"), model("2"), keep_versions=2) as live:
        reply = live.post(request(version=version))
        assert_problem(reply, 422, "invalid-request", "version", text="1, 2" if version else "")
        assert len(reply.body) < 1000


@pytest.mark.parametrize("version", [1, 1.5, True, ["1"]])
def test_a_version_that_is_no_text_is_422(version: Any) -> None:
    with live_app(model("1")) as live:
        assert_problem(live.post(request(version=version)), 422, "invalid-request", "version")


def test_a_version_is_looked_for_under_the_name_that_is_asked_for() -> None:
    with live_app(model("1"), model("7", name="other"), default_model="tiny") as live:
        assert live.post(request(model="other", version="7")).json["model"] == "other"
        assert_problem(live.post(request(version="7")), 422, "invalid-request", "version")
        assert_problem(live.post(request(model="other", version="1")), 422, "invalid-request", "version")
        assert_problem(live.post(request(model="none", version="1")), 422, "invalid-request", "model")


@given(
    published=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("123456")), max_size=25),
    keep=st.integers(1, 4),
)
def test_the_last_published_versions_are_live_and_whoever_goes_is_told_once(
    published: list[tuple[str, str]], keep: int
) -> None:
    registry = Registry(keep_versions=keep)
    up: list[Model] = []
    gone: list[Model] = []
    registry.on_publish(up.append)
    registry.on_retire(gone.append)
    expected: dict[str, list[str]] = {}
    for name, version in published:
        registry.publish(model(version, name))
        versions = expected.setdefault(name, [])
        if version in versions:
            versions.remove(version)
        versions.append(version)
        del versions[:-keep]
        assert registry.select(name).version == version
    registry.loaded()
    assert [(x.name, x.version) for x in registry.models] == [
        (name, version) for name in sorted(expected) for version in reversed(expected[name])
    ]
    assert len(up) == len(published)
    assert len(set(map(id, gone))) == len(gone) == len(published) - len(registry.models)
    assert not {id(x) for x in gone} & {id(x) for x in registry.models}
    for name in "ab":
        for version in "123456":
            if version in expected.get(name, []):
                assert registry.select(name, version).version == version
            else:
                with pytest.raises(Problem):
                    registry.select(name, version)


def test_a_retired_version_leaves_the_list_of_live_models_but_its_counts_stay() -> None:
    with live_app(model("1")) as live:
        live.post(request())
        live.registry.publish(model("2"))
        assert live.series("rerank_model_info", model="tiny", version="1", **INFO) is None
        assert live.series("rerank_model_info", model="tiny", version="2", **INFO) == 1
        assert live.series("rerank_request_duration_seconds_count", model="tiny", version="1", outcome="ok") == 1
        assert_problem(live.post(request(version="1")), 422, "invalid-request", "version")
        live.registry.publish(model("2"))
        assert live.series("rerank_model_info", model="tiny", version="2", **INFO) == 1
        live.registry.publish(model("1"))
        assert live.series("rerank_model_info", model="tiny", version="1", **INFO) == 1
        assert live.series("rerank_model_info", model="tiny", version="2", **INFO) is None


def test_a_request_in_progress_ends_with_the_version_it_began_with() -> None:
    old = FakeEngine()
    old.hold.clear()
    with live_app(model("1", engine=old)) as live, connected(live.port) as client, connected(live.port) as other:
        client.ask(request(3))
        eventually(lambda: len(old.batches) == 1)
        other.ask(request(4))
        eventually(lambda: live.series("rerank_queue_depth") == 1)
        live.registry.publish(model("2"))
        old.hold.set()
        for waiting, n in ((client, 3), (other, 4)):
            answer = waiting.answer().json
            check_list(request(n), answer)
            assert (answer["version"], answer["degraded"]) == ("1", None)
        assert live.post(request()).json["version"] == "2"
        assert live.series("rerank_request_duration_seconds_count", model="tiny", version="1", outcome="ok") == 2


def test_as_many_versions_as_are_kept_are_loaded_at_start_the_newest_as_the_current_one(tmp_path: Path) -> None:
    for version in ("2", "9", "10", "1"):
        write_bundle(tmp_path, Options(version=version))
    with serving(tmp_path, keep_versions=2) as served:
        shown = [(x["version"]) for x in served.public.get("/v1/models").json["models"]]
        assert shown == ["10", "9"]
        assert served.public.post(request(version="9")).json["version"] == "9"
        assert served.reload({"model": "tiny", "version": "2"}).status == 200
        assert [x["version"] for x in served.public.get("/v1/models").json["models"]] == ["2", "10"]
        assert served.public.post(request()).json["version"] == "2"


def test_without_a_default_the_first_model_that_goes_live_is_it_whatever_comes_later() -> None:
    with live_app(model("1", name="tiny")) as live:
        for later in (model("1", name="a"), model("1", name="zebra"), model("2", name="tiny")):
            live.registry.publish(later)
            assert live.post(request()).json["model"] == "tiny"
        shown = {(x["name"], x["version"]) for x in live.get("/v1/models").json["models"] if x["default"]}
        assert shown == {("tiny", "2")}


def test_with_no_default_every_request_names_its_model_however_few_there_are() -> None:
    with live_app(model("1"), default_model="none") as live:
        assert_problem(live.post(request()), 422, "invalid-request", "model", text="no default model; there is: tiny")
        assert live.post(request(model="tiny")).status == 200
        assert live.get("/v2/health/ready").status == 200
        assert not [x for x in live.get("/v1/models").json["models"] if x["default"]]


def test_a_reload_of_a_bundle_with_another_fingerprint_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    with serving(tmp_path) as served:
        write_bundle(tmp_path, Options(version="2", fingerprint="f" * 64))
        refused = served.reload({"model": "tiny"})
        assert_problem(refused, 422, "bundle-refused", text="was exported for the feature spec")
        assert served.public.post(request()).json["version"] == "1"
        assert served.public.get("/v2/health/ready").status == 200


@pytest.mark.parametrize("link", ["tiny/5", "other"])
def test_links_out_of_the_root_are_not_followed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, link: str
) -> None:
    name, _, version = link.partition("/")
    outside = write_bundle(tmp_path_factory.mktemp("outside"), Options(name=name, version=version or "1"))
    write_bundle(tmp_path)
    with serving(tmp_path) as served:
        (tmp_path / link).symlink_to(outside if version else outside.parent)
        assert_problem(served.reload({"model": name}), 422, "bundle-refused", text="lies outside")
        assert [x["name"] for x in served.public.get("/v1/models").json["models"]] == ["tiny"]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def live_versions(process: Process) -> list[tuple[str, str]]:
    return [(x["name"], x["version"]) for x in process.ask("/v1/models")[1]["models"]]


def reloads(process: Process, result: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{process.port}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    return float(next(x for x in lines if x.startswith(f'rerank_reloads_total{{result="{result}"}}')).split()[1])


@pytest.mark.long
def test_a_hangup_picks_up_new_versions_and_names_and_a_bad_bundle_changes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "bundles"
    write_bundle(root)
    log = tmp_path / "log"
    command = ("/bin/sh", "-c", f'exec "$@" 2>{shlex.quote(str(log))}', "sh", *SERVE)
    with running(root, command, "--default-model", "tiny") as process:
        process.wait_until_ready()
        write_bundle(root, Options(version="2"))
        write_bundle(root, Options(name="fresh", version="1"))
        process.popen.send_signal(signal.SIGHUP)
        until(lambda: live_versions(process) == [("fresh", "1"), ("tiny", "2")])
        assert process.ask("/v1/rerank", request())[1]["version"] == "2"
        assert process.ask("/v1/rerank", request(model="fresh"))[0] == 200
        until(lambda: reloads(process, "ok") == 2)

        spoil(write_bundle(root, Options(version="3")))
        write_bundle(root, Options(name="other", version="1", fingerprint="0" * 64))
        (root / "zero").mkdir()
        (root / "zero" / "1").mkdir()
        (root / "zero" / "1" / m.MANIFEST_FILE).write_text("{")
        process.popen.send_signal(signal.SIGHUP)
        until(lambda: reloads(process, "refused") == 3)
        assert live_versions(process) == [("fresh", "1"), ("tiny", "2")]
        assert process.ask("/v2/health/ready")[0] == 200
        assert process.ask("/v1/rerank", request())[1]["version"] == "2"

        root.rename(tmp_path / "elsewhere")
        process.popen.send_signal(signal.SIGHUP)
        process.popen.send_signal(signal.SIGHUP)
        until(lambda: f"left out of the bundles: '{root}': No such file" in log.read_text())
        assert process.ask("/v1/rerank", request())[0] == 200
        (tmp_path / "elsewhere").rename(root)
        write_bundle(root, Options(version="4"))
        process.popen.send_signal(signal.SIGHUP)
        until(lambda: process.ask("/v1/rerank", request())[1]["version"] == "4")
        status, _, _ = process.stop()
    assert status == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    errors = [line["message"] for line in lines if line["level"] == "error"]
    assert any("tiny" in text and "SHA-256" in text for text in errors)
    assert any("other" in text and "feature spec" in text for text in errors)
    assert any("zero" in text and "not valid JSON" in text for text in errors)
    assert not [line for line in lines if "exception" in line]


@pytest.mark.long
def test_a_hangup_follows_a_bundle_that_was_changed_in_place_and_leaves_others_alone(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    write_bundle(tmp_path, Options(name="other", version="1"))
    with running(tmp_path, SERVE, "--default-model", "tiny") as process:
        process.wait_until_ready()
        path = folder / m.MANIFEST_FILE
        changed = json.loads(path.read_text())
        changed["objectives"] = {"click": 1.0, "conversion": 2.0, "gmv": 3.0}
        path.write_text(json.dumps(changed))
        process.popen.send_signal(signal.SIGHUP)

        def objectives() -> Any:
            return next(x["objectives"] for x in process.ask("/v1/models")[1]["models"] if x["name"] == "tiny")

        until(lambda: objectives() == changed["objectives"])
        assert reloads(process, "ok") == 1
        assert process.stop()[0] == 0


@pytest.mark.long
def test_requests_are_answered_through_hangups(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    seen: list[tuple[int, str]] = []
    stop = threading.Event()
    with running(tmp_path, SERVE, "--budget-ms", "30000") as process:
        process.wait_until_ready()

        def ask() -> None:
            with connected(process.port) as client:
                while not stop.is_set():
                    client.ask(request())
                    reply = client.answer()
                    seen.append((reply.status, reply.json["version"]))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            until(lambda: (200, "1") in seen)
            for version in ("2", "3"):
                write_bundle(tmp_path, Options(version=version))
                process.popen.send_signal(signal.SIGHUP)
                until(lambda version=version: (200, version) in seen)  # type: ignore[misc]
            assert live_versions(process) == [("tiny", "3")]
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert process.stop()[0] == 0
    assert {status for status, _ in seen} == {200}
