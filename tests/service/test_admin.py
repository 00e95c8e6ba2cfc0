"""Loading at start and reloading while serving: a bundle that fails changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from models.contract import manifest as m
from service.admin import create_admin_app
from service.bundles.catalogues import CatalogueOptions
from service.bundles.model import Model
from service.bundles.opening import LocalOpener
from service.bundles.reload import Loader
from service.inference.dispatcher import Dispatcher
from service.inference.onnx.session import SessionConfig
from service.inference.thread import InferenceThread
from service.ranking.warmup import warm_up
from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import Live, Reply, listening, live_app, make_settings
from tests.service.requests import request
from tests.service.tiny_bundle import Options, write_bundle


@dataclass(frozen=True)
class Served:
    """A bundles folder, the public app on it and its admin app."""

    root: Path
    public: Live
    admin: Live
    loader: Loader

    def reload(self, body: dict[str, Any], headers: dict[str, str] | None = None) -> Reply:
        sent = {"Content-Type": "application/json", **(headers or {})}
        return self.admin.request("POST", "/admin/v1/reload", json.dumps(body).encode(), sent)


@contextlib.contextmanager
def serving(root: Path, **options: Any) -> Iterator[Served]:
    settings = make_settings(bundles=root, **options)
    with live_app(ready=False, bundles=root, **options) as public, contextlib.closing(InferenceThread()) as thread:
        dispatcher = Dispatcher(thread)

        async def warm(model: Model) -> None:
            await warm_up(dispatcher, model)

        loader = Loader(
            root,
            LocalOpener(SessionConfig()),
            public.registry,
            warm,
            scenes=public.scenes,
            on_scenes=public.metrics.scenes_renewed,
            catalogues=public.catalogues,
            catalogue_options=CatalogueOptions.of(settings),
            on_catalogues=public.metrics.catalogues_renewed,
        )
        asyncio.run(loader.load_all())
        app = create_admin_app(settings=settings, registry=public.registry, loader=loader, catalogues=public.catalogues)
        with listening(app, settings) as port:
            yield Served(root, public, replace(public, port=port), loader)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    write_bundle(tmp_path)
    with serving(tmp_path) as found:
        yield found


def spoil(folder: Path) -> None:
    path = folder / m.MODEL_FILE
    path.write_bytes(path.read_bytes()[:-10])


def test_the_newest_version_of_every_name_is_loaded_at_start(tmp_path: Path) -> None:
    for name, version in [("a", "9"), ("a", "10"), ("b", "1")]:
        write_bundle(tmp_path, Options(name=name, version=version))
    (tmp_path / "not a bundle").mkdir()
    (tmp_path / "notes.txt").touch()
    with serving(tmp_path, default_model="a") as served:
        models = served.public.get("/v1/models").json["models"]
        assert [(x["name"], x["version"], x["default"]) for x in models] == [("a", "10", True), ("b", "1", False)]
        assert served.public.get("/v2/health/ready").status == 200
        assert served.public.post(request()).json["model"] == "a"


def test_a_broken_bundle_at_start_leaves_the_service_not_ready_and_says_what_differs(tmp_path: Path) -> None:
    spoil(write_bundle(tmp_path))
    with serving(tmp_path) as served:
        assert_problem(served.public.get("/v2/health/ready"), 503, "not-ready", text="model.onnx: SHA-256 is")
        assert_problem(served.public.post(request()), 503, "not-ready", text="model.onnx: SHA-256 is")


def test_a_default_model_that_is_not_there_keeps_the_service_not_ready(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    with serving(tmp_path, default_model="absent") as served:
        assert_problem(
            served.public.get("/v2/health/ready"), 503, "not-ready", text="'absent' (LISTWRIGHT_DEFAULT_MODEL)"
        )
        assert served.public.post(request()).status == 503
        assert served.public.post(request(model="tiny")).status == 200


def test_reload_switches_to_the_newest_version(served: Served) -> None:
    write_bundle(served.root, Options(version="2"))
    reply = served.reload({"model": "tiny"})
    assert (reply.status, reply.json["version"]) == (200, "2")
    assert served.public.post(request()).json["version"] == "2"
    assert served.admin.get("/admin/v1/models").json["models"][0]["version"] == "2"
    info = {"model": "tiny", "family": "sort-gen", "provider": "cpu"}
    assert served.public.series("rerank_model_info", version="2", **info) == 1
    assert served.public.series("rerank_model_info", version="1", **info) is None


def test_reload_goes_back_to_an_older_version_by_name(served: Served) -> None:
    write_bundle(served.root, Options(version="2"))
    assert served.reload({"model": "tiny", "version": "2"}).status == 200
    assert served.reload({"model": "tiny", "version": "1"}).status == 200
    assert served.public.post(request()).json["version"] == "1"


def test_a_bundle_that_fails_never_replaces_one_that_works(served: Served) -> None:
    spoil(write_bundle(served.root, Options(version="2")))
    assert_problem(served.reload({"model": "tiny"}), 422, "bundle-refused", text="model.onnx: SHA-256 is")
    assert served.public.post(request()).json["version"] == "1"
    assert served.public.get("/v2/health/ready").status == 200


def test_a_bundle_whose_defaults_do_not_lead_to_a_list_is_refused_by_its_warm_up(served: Served) -> None:
    def change(manifest: m.Manifest) -> m.Manifest:
        return replace(manifest, queues=(m.QueueSpec("bad", "1/(ctr-ctr)"),))

    write_bundle(served.root, Options(version="2", change=change))
    assert_problem(served.reload({"model": "tiny"}), 422, "bundle-refused", text="warm-up request")
    assert served.public.post(request()).json["version"] == "1"


@pytest.mark.parametrize(
    "body",
    [
        {"model": "../tiny"},
        {"model": ".."},
        {"model": "/etc"},
        {"model": "tiny", "version": "../../elsewhere/1"},
        {"model": "tiny", "version": "/etc"},
        {"model": "tiny", "version": "."},
        {"model": "absent"},
        {"model": "tiny", "version": "absent"},
        {"model": "tiny\n"},
    ],
)
def test_reload_loads_nothing_but_bundles_of_the_folder(served: Served, body: dict[str, Any]) -> None:
    assert_problem(served.reload(body), 422, "bundle-refused")
    assert served.public.post(request()).json["version"] == "1"


def test_a_link_that_leads_out_of_the_folder_is_refused(
    served: Served, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = write_bundle(tmp_path_factory.mktemp("outside"), Options(version="5"))
    (served.root / "tiny" / "5").symlink_to(outside)
    assert_problem(served.reload({"model": "tiny", "version": "5"}), 422, "bundle-refused", text="lies outside")


def test_a_bundle_that_stands_under_another_name_is_refused(served: Served) -> None:
    write_bundle(served.root, Options(version="2")).rename(served.root / "tiny" / "3")
    assert_problem(served.reload({"model": "tiny"}), 422, "bundle-refused", text="says tiny/2, but stands in tiny/3")


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "model"), ({"model": ""}, "model"), ({"model": 1}, "model"), ({"model": "tiny", "vresion": "1"}, "vresion")],
)
def test_a_wrong_order_is_422_and_names_the_field(served: Served, body: dict[str, Any], field: str) -> None:
    assert_problem(served.reload(body), 422, "invalid-request", field)


def test_malformed_json_to_the_admin_app_is_400(served: Served) -> None:
    order = '{"model": "tiny"}'
    wrong = (b"{", b"", b"\xef\xbb\xbf" + order.encode(), order.encode("utf-16"), b'{"model": "\xff"}', b"[" * 100_000)
    for body in wrong:
        reply = served.admin.request("POST", "/admin/v1/reload", body, {"Content-Type": "application/json"})
        assert_problem(reply, 400, "malformed-json")


@pytest.mark.parametrize("media", ["text/plain", "application/json; charset=latin-1", ""])
def test_an_order_must_be_json_by_its_content_type(served: Served, media: str) -> None:
    reply = served.reload({"model": "tiny"}, {"Content-Type": media})
    assert_problem(reply, 415, "unsupported-media-type")


def test_an_order_may_be_compressed_as_any_body(served: Served) -> None:
    def sent(body: bytes, coding: str) -> Reply:
        headers = {"Content-Type": "application/json", "Content-Encoding": coding}
        return served.admin.request("POST", "/admin/v1/reload", body, headers)

    order = gzip.compress(b'{"model": "tiny"}')
    assert sent(order, "gzip").status == 200
    assert_problem(sent(order[:-1], "gzip"), 400, "malformed-encoding")
    assert_problem(sent(gzip.compress(bytes(3 * 2**20)), "gzip"), 413, "body-too-large")
    assert_problem(sent(order, "br"), 415, "unsupported-media-type")


def test_a_second_reload_meanwhile_is_409(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, leave = threading.Event(), threading.Event()
    load = LocalOpener._load

    def slow(opener: LocalOpener, folder: Path, quietly: bool) -> Model:
        entered.set()
        assert leave.wait(10)
        return load(opener, folder, quietly)

    monkeypatch.setattr(LocalOpener, "_load", slow)
    first: list[Reply] = []
    thread = threading.Thread(target=lambda: first.append(served.reload({"model": "tiny"})))
    thread.start()
    assert entered.wait(10)
    try:
        assert_problem(served.reload({"model": "tiny"}), 409, "conflict")
        assert served.public.post(request()).status == 200
    finally:
        leave.set()
        thread.join()
    assert first[0].status == 200


def test_administration_is_not_on_the_public_port(served: Served) -> None:
    assert_problem(served.public.get("/admin/v1/models"), 404, "not-found")
    assert_problem(served.public.request("POST", "/admin/v1/reload", b"{}"), 404, "not-found")


def test_keys_guard_the_admin_app_too(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    with serving(tmp_path, api_keys="secret") as served:
        assert_problem(served.reload({"model": "tiny"}), 401, "unauthorized")
        assert_problem(served.reload({"model": "tiny"}, {"Content-Type": "text/plain"}), 401, "unauthorized")
        assert served.reload({"model": "tiny"}, {"Authorization": "Bearer secret"}).status == 200


@pytest.mark.long
def test_requests_are_answered_while_bundles_are_swapped(served: Served) -> None:
    write_bundle(served.root, Options(version="2"))
    stop = threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        while not stop.is_set():
            statuses.append(served.public.post(request()).status)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for version in ("2", "1", "2", "1"):
            assert served.reload({"model": "tiny", "version": version}).status == 200
    finally:
        stop.set()
        thread.join()
    assert statuses
    assert set(statuses) == {200}
