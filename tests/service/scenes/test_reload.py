"""Scenes are reloaded with bundles: a wrong file, or a bundle that a live scene does not fit, changes nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.contract.manifest import Limits
from models.contract.serving import SCENES_FILE
from service.bundles.opening import LocalOpener
from service.bundles.registry import Registry
from service.bundles.reload import Loader
from service.bundles.scene_file import SceneFile
from service.inference.onnx.session import SessionConfig
from service.scenes.live import Scenes
from service.scenes.reading import SceneMap
from service.telemetry.metrics import Metrics
from tests.service.bundles.test_switching import in_loop, until
from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import Reply
from tests.service.requests import request
from tests.service.test_admin import Served, serving
from tests.service.tiny_bundle import Options, write_bundle
from tests.service.watching import watching

WIDE = Limits(list_length=5, queues=4)
NARROW = Limits(list_length=5, queues=2)


def write_scenes(root: Path, text: str) -> None:
    """Put a file of scenes in its place at once."""
    (root / ".scenes.toml").write_text(text, "utf-8")
    (root / ".scenes.toml").replace(root / SCENES_FILE)


def scene(name: str, queues: int = 0, more: str = "") -> str:
    """A scene with so many queues of its own."""
    found = ", ".join(f"{{name = 'q{i}', score = 'ctr'}}" for i in range(queues))
    return f"[scenes.{name}]\n{more}\n" + (f"queues = [{found}]\n" if queues else "")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    write_bundle(tmp_path)
    write_scenes(tmp_path, scene("home") + scene("shop", 3))
    with serving(tmp_path) as found:
        yield found


def names(served: Served) -> list[str]:
    return [found["name"] for found in served.public.get("/v1/scenes").json["scenes"]]


def reload_scenes(served: Served) -> Reply:
    return served.admin.request("POST", "/admin/v1/scenes/reload", b"", {"Content-Type": "application/json"})


def reloads(served: Served) -> list[float | None]:
    return [served.public.series("rerank_scene_reloads_total", result=result) for result in ("ok", "refused")]


def test_the_scenes_of_the_file_serve_from_the_start(served: Served) -> None:
    assert served.public.get("/v2/health/ready").status == 200
    assert names(served) == ["home", "shop"]
    queue = {"name": "q0", "score": "ctr"}
    assert served.public.get("/v1/scenes").json["scenes"][1]["queues"][0] == queue
    assert reloads(served) == [0, 0]


def test_without_a_file_there_are_no_scenes(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    with serving(tmp_path) as served:
        assert served.public.get("/v2/health/ready").status == 200
        assert names(served) == []
        assert reload_scenes(served).json == {"result": "unchanged", "problem": None}
        assert reloads(served) == [0, 0]


def test_the_list_of_scenes_needs_a_key_like_that_of_models(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    with serving(tmp_path, api_keys="secret") as served:
        assert_problem(served.public.get("/v1/scenes"), 401, "unauthorized")
        assert served.public.get("/v1/scenes", {"Authorization": "Bearer secret"}).json == {"scenes": []}
        assert_problem(reload_scenes(served), 401, "unauthorized")


def test_a_reload_of_scenes_alone_switches_to_the_file(served: Served) -> None:
    write_scenes(served.root, scene("home", 1) + scene("new"))
    assert reload_scenes(served).json == {"result": "ok", "problem": None}
    assert names(served) == ["home", "new"]
    assert reload_scenes(served).json == {"result": "unchanged", "problem": None}
    (served.root / SCENES_FILE).unlink()
    assert reload_scenes(served).json["result"] == "ok"
    assert names(served) == []
    assert reloads(served) == [2, 0]


def test_scenes_go_on_while_their_file_is_a_link_to_nothing(served: Served) -> None:
    file = served.root / SCENES_FILE
    target = file.with_name("elsewhere")
    file.replace(target)
    file.symlink_to(target)
    assert reload_scenes(served).json["result"] == "unchanged"
    target.rename(file.with_name("moved"))
    assert_problem(reload_scenes(served), 422, "scenes-refused", text="is a link to a file that is not there")
    assert names(served) == ["home", "shop"]
    file.unlink()
    assert reload_scenes(served).json["result"] == "ok"
    assert names(served) == []
    assert reloads(served) == [1, 1]


def test_a_link_to_nothing_that_is_removed_is_a_change_of_the_refused_file(tmp_path: Path) -> None:
    async def switch(_: SceneMap) -> None: ...

    async def look() -> None:
        scenes = SceneFile(tmp_path, switch, lambda _outcome, _count: None)
        scenes.note(await scenes.renew())
        assert scenes.is_refused
        assert not await scenes.changed()
        (tmp_path / SCENES_FILE).unlink()
        assert [await scenes.changed() for _ in range(2)] == [False, True]  # It has rested at the second look.

    (tmp_path / SCENES_FILE).symlink_to("nowhere")
    asyncio.run(look())


def test_a_reload_of_a_bundle_reloads_the_scenes_and_says_so(served: Served) -> None:
    assert served.reload({"model": "tiny"}).json["scenes"] == {"result": "unchanged", "problem": None}
    write_scenes(served.root, scene("new"))
    answer = served.reload({"model": "tiny"}).json
    assert (answer["version"], answer["scenes"]) == ("1", {"result": "ok", "problem": None})
    assert names(served) == ["new"]
    write_scenes(served.root, "[scenes.new]\ntopn = 3")
    answer = served.reload({"model": "tiny"}).json
    assert answer["scenes"] == {"result": "refused", "problem": "scenes.new.topn: is not a known key"}
    assert names(served) == ["new"]
    assert reloads(served) == [1, 1]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[scenes.home]\ntopn = 3", "scenes.home.topn: is not a known key"),
        ("[scenes.home]\nmodel = 'absent'", "scenes.home.model: no model 'absent' is live"),
        ("[scenes.home]\nversion = '7'", "scenes.home.version: no version '7' of model 'tiny' is live"),
        (scene("home", 4), "scenes.home.queues: has 4 queues; model 'tiny' takes at most 3"),
        (scene("fine") + "[scenes.home", "is not valid TOML"),
    ],
)
def test_a_wrong_file_changes_nothing(served: Served, text: str, named: str) -> None:
    before = served.public.get("/v1/scenes").json
    write_scenes(served.root, text)
    assert_problem(reload_scenes(served), 422, "scenes-refused", text=named)
    assert served.public.get("/v1/scenes").json == before
    assert served.public.get("/v2/health/ready").status == 200
    assert reloads(served) == [0, 1]


def test_a_wrong_file_at_start_keeps_the_service_not_ready_and_it_says_why(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    write_scenes(tmp_path, "[scenes.home]\ntopn = 3")
    with serving(tmp_path) as served:
        why = "scenes.toml was not loaded: scenes.home.topn: is not a known key"
        assert_problem(served.public.get("/v2/health/ready"), 503, "not-ready", text=why)
        assert served.public.post(request()).status == 200
        write_scenes(tmp_path, scene("home"))
        assert reload_scenes(served).status == 200
        assert served.public.get("/v2/health/ready").status == 200
        assert names(served) == ["home"]


def test_a_bundle_that_a_live_scene_does_not_fit_is_refused(served: Served) -> None:
    write_bundle(served.root, Options(version="2", limits=NARROW))
    refused = served.reload({"model": "tiny"})
    assert_problem(refused, 422, "bundle-refused", text="scenes.shop.queues: has 3 queues")
    assert served.public.post(request()).json["version"] == "1"
    assert names(served) == ["home", "shop"]
    write_scenes(served.root, scene("home") + scene("shop", 2))
    answer = served.reload({"model": "tiny"}).json
    assert (answer["version"], answer["scenes"]["result"]) == ("2", "ok")


def test_one_reload_brings_a_bundle_and_scenes_that_need_it(served: Served) -> None:
    write_bundle(served.root, Options(version="2", limits=WIDE))
    write_scenes(served.root, scene("shop", 4))
    answer = served.reload({"model": "tiny"}).json
    assert (answer["version"], answer["scenes"]["result"]) == ("2", "ok")
    assert names(served) == ["shop"]
    assert reloads(served) == [1, 0]


def test_a_version_that_a_live_scene_names_is_not_retired(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    write_scenes(tmp_path, scene("home", more="version = '1'"))
    with serving(tmp_path) as served:
        write_bundle(tmp_path, Options(version="2"))
        refused = served.reload({"model": "tiny"})
        assert_problem(refused, 422, "bundle-refused", text="scenes.home.version")
        assert served.public.post(request()).json["version"] == "1"
        assert served.reload({"model": "tiny", "version": "1"}).status == 200
        write_scenes(tmp_path, scene("home"))
        assert served.reload({"model": "tiny"}).json["version"] == "2"


def test_requests_go_on_while_files_come_and_go(served: Served) -> None:
    stop, statuses = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            statuses.append(served.public.post(request(scene="home")).status)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(5):
            write_scenes(served.root, "[scenes.home]\ntop_n = 0")
            assert reload_scenes(served).status == 422
            write_scenes(served.root, scene("home") + scene("shop", 2))
            assert reload_scenes(served).status == 200
            write_scenes(served.root, scene("home"))
            assert reload_scenes(served).status == 200
    finally:
        stop.set()
        asking.join()
    assert statuses
    assert set(statuses) == {200}
    assert names(served) == ["home"]


class Shop:
    """A loader over a folder, its scenes and its metrics, without a server."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry = Registry()
        self.scenes = Scenes()
        self.registry.needs(self.scenes.why_not_ready)
        self.metrics = Metrics(budget_seconds=1.0)
        self.loader = Loader(
            root,
            LocalOpener(SessionConfig()),
            self.registry,
            self._warm,
            scenes=self.scenes,
            on_scenes=self.metrics.scenes_renewed,
        )

    async def _warm(self, _: Any) -> None:
        pass

    def reloads(self) -> list[float | None]:
        found = self.metrics.registry.get_sample_value
        return [found("rerank_scene_reloads_total", {"result": result}) for result in ("ok", "refused")]


def lives(shop: Shop, *names: str) -> Callable[[], bool]:
    return lambda: list(shop.scenes.live) == list(names)


@in_loop
async def test_a_refused_file_is_tried_again_when_it_has_changed(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    write_scenes(tmp_path, "[scenes.home]\ntopn = 3")
    shop = Shop(tmp_path)
    await shop.loader.load_all()
    assert "scenes.home.topn" in str(shop.registry.why_not_ready())
    async with watching(shop.loader):
        write_scenes(tmp_path, "[scenes.home]\ntop_n = 3\n")
        await until(lives(shop, "home"))
    assert shop.registry.why_not_ready() is None
    assert shop.reloads() == [1, 0]


@in_loop
async def test_a_sound_file_that_changes_waits_for_a_reload(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    write_scenes(tmp_path, scene("home"))
    shop = Shop(tmp_path)
    await shop.loader.load_all()
    async with watching(shop.loader):
        write_scenes(tmp_path, scene("new"))
        await asyncio.sleep(0.5)
        assert lives(shop, "home")()
    await shop.loader.reload_all()
    assert lives(shop, "new")()


@in_loop
async def test_scenes_of_a_model_that_comes_later_serve_with_it(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    write_bundle(tmp_path, Options(name="other"))
    write_scenes(tmp_path, scene("home", more="model = 'tiny'"))
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[:-10])
    shop = Shop(tmp_path)
    await shop.loader.load_all()
    assert lives(shop)()
    async with watching(shop.loader):
        (folder / "model.onnx").write_bytes(whole)
        await until(lives(shop, "home"))
    assert shop.registry.why_not_ready() is None


@in_loop
async def test_a_folder_that_is_away_takes_no_scenes_with_it(tmp_path: Path) -> None:
    root = tmp_path / "bundles"
    write_bundle(root)
    write_scenes(root, scene("home"))
    shop = Shop(root)
    await shop.loader.load_all()
    root.rename(tmp_path / "away")
    await shop.loader.reload_all()
    assert lives(shop, "home")()
    assert shop.reloads() == [0, 1]


@in_loop
async def test_the_file_is_not_taken_for_a_bundle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_bundle(tmp_path)
    write_scenes(tmp_path, scene("home"))
    shop = Shop(tmp_path)
    await shop.loader.load_all()
    assert not [line for line in caplog.messages if "left out" in line]


@in_loop
async def test_a_fault_of_the_service_at_start_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("a fault of the service")

    write_bundle(tmp_path)
    write_scenes(tmp_path, scene("home"))
    shop = Shop(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(shop.loader, "check_scenes", fail)
        await shop.loader.load_all()
    assert "a fault of the service" in str(shop.registry.why_not_ready())
    async with watching(shop.loader):
        await until(lives(shop, "home"))
    assert shop.registry.why_not_ready() is None
