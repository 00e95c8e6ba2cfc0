"""The newest sound version serves, and one that was refused is tried again when its files change."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, ParamSpec

import pytest

from models.contract.manifest import MODEL_FILE
from service.bundles.model import Model
from service.bundles.opening import LocalOpener
from service.bundles.registry import Registry
from service.bundles.reload import Loader
from service.bundles.switching import candidates
from service.contract.problems import Problem
from service.inference.onnx.session import SessionConfig
from service.telemetry.metrics import Metrics
from tests.service.test_admin import spoil
from tests.service.tiny_bundle import Options, write_bundle

POLL = 0.05
P = ParamSpec("P")


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Shop:
    """A loader over a folder with versions of ``tiny``, its registry and its metrics, without a server."""

    def __init__(self, root: Path, keep_versions: int = 1, seconds: float | None = None) -> None:
        self.root = root
        self.registry = Registry(keep_versions=keep_versions)
        self.metrics = Metrics(budget_seconds=1.0)
        self.tried: list[str] = []
        self.loader = Loader(
            root,
            self,
            self.registry,
            self._warm,
            seconds=seconds,
            on_reload=self.metrics.reloaded,
            on_refusal=self.metrics.bundle_refused,
        )

    async def open(self, folder: Path, *, quietly: bool) -> Model:
        """Open a bundle as usual, and note which."""
        self.tried.append(folder.name)
        return await LocalOpener(SessionConfig()).open(folder, quietly=quietly)

    async def _warm(self, _: Model) -> None:
        pass

    @property
    def live(self) -> list[str]:
        return [model.version for model in self.registry.models]

    def refused(self, *versions: str) -> dict[str, float | None]:
        name = "rerank_bundle_refused"
        found = self.metrics.registry.get_sample_value
        return {v: found(name, {"model": "tiny", "version": v}) for v in versions}

    def reloads(self, result: str) -> float | None:
        return self.metrics.registry.get_sample_value("rerank_reloads_total", {"result": result})

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.loader.watch(POLL))
        try:
            yield
            await asyncio.sleep(0)
            assert not task.done(), task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def write(root: Path, *versions: str, bad: str = "") -> None:
    for version in versions:
        folder = write_bundle(root, Options(version=version))
        if version in bad:
            spoil(folder)


async def half(root: Path, version: str) -> bytes:
    """Write a version of which the model is not whole yet; return the whole of it."""
    path = write_bundle(root, Options(version=version)) / MODEL_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return whole


@in_loop
async def test_at_start_the_newest_sound_version_serves_and_those_above_are_shown(tmp_path: Path) -> None:
    write(tmp_path, "1", "2", "3", "4", bad="34")
    shop = Shop(tmp_path)
    await shop.loader.load_all()
    assert (shop.live, shop.tried) == (["2"], ["4", "3", "2"])
    assert shop.registry.why_not_ready() is None
    assert shop.refused("1", "2", "3", "4") == {"1": None, "2": None, "3": 1, "4": 1}


@in_loop
async def test_as_many_sound_versions_as_are_kept_serve_and_the_newest_is_current(tmp_path: Path) -> None:
    write(tmp_path, "1", "2", "3", "4", "5", bad="53")
    shop = Shop(tmp_path, keep_versions=2)
    await shop.loader.load_all()
    assert shop.live == ["4", "2"]


@in_loop
async def test_without_a_sound_version_the_service_is_not_ready_and_says_why(tmp_path: Path) -> None:
    write(tmp_path, "1", "2", bad="12")
    shop = Shop(tmp_path)
    await shop.loader.load_all()
    assert "bundle 'tiny' was not loaded: model.onnx: SHA-256 is" in str(shop.registry.why_not_ready())
    assert shop.refused("1", "2") == {"1": 1, "2": 1}
    async with shop.watching():  # An older one that becomes sound is better than none.
        shutil.rmtree(tmp_path / "tiny" / "1")
        write(tmp_path, "1")
        await until(lambda: shop.live == ["1"])
    assert shop.registry.why_not_ready() is None
    assert shop.refused("1", "2") == {"1": None, "2": 1}


@pytest.mark.parametrize("by_signal", [True, False])
@in_loop
async def test_a_name_that_failed_at_start_and_is_removed_is_no_reason_to_be_not_ready(
    tmp_path: Path, by_signal: bool
) -> None:
    write(tmp_path, "1")
    spoil(write_bundle(tmp_path, Options(name="other")))
    shop = Shop(tmp_path)
    await shop.loader.load_all()
    assert "bundle 'other' was not loaded" in str(shop.registry.why_not_ready())
    await shop.loader.reload_all()
    assert "bundle 'other' was not loaded" in str(shop.registry.why_not_ready())
    tmp_path.rename(away := tmp_path.with_name("away"))  # A volume that is away for a while says nothing of it.
    await shop.loader.reload_all()
    away.rename(tmp_path)
    assert "bundle 'other' was not loaded" in str(shop.registry.why_not_ready())
    shutil.rmtree(tmp_path / "other")
    if by_signal:
        await shop.loader.reload_all()
    else:
        async with shop.watching():
            await until(lambda: shop.registry.why_not_ready() is None)
    assert shop.registry.why_not_ready() is None
    assert shop.live == ["1"]


@pytest.mark.parametrize("start", [True, False])
@in_loop
async def test_a_version_that_was_half_there_serves_once_the_rest_has_come(tmp_path: Path, start: bool) -> None:
    write(tmp_path, "1")
    shop = Shop(tmp_path)
    if start:
        whole = await half(tmp_path, "2")
        await shop.loader.load_all()
    else:
        await shop.loader.load_all()
        whole = await half(tmp_path, "2")
        await shop.loader.reload_all()
    assert (shop.live, shop.refused("2")) == (["1"], {"2": 1})
    assert shop.registry.why_not_ready() is None
    before = len(shop.tried)
    async with shop.watching():
        await asyncio.sleep(5 * POLL)
        assert len(shop.tried) == before  # Nothing has changed.
        (tmp_path / "tiny" / "2" / MODEL_FILE).write_bytes(whole)
        await until(lambda: shop.live == ["2"])
        assert len(shop.tried) == before + 1
    assert shop.refused("2") == {"2": None}
    assert shop.reloads("ok") == 1


@in_loop
async def test_a_folder_that_is_still_written_is_left_alone_until_it_rests(tmp_path: Path) -> None:
    write(tmp_path, "1")
    whole = await half(tmp_path, "2")
    shop = Shop(tmp_path)
    await shop.loader.load_all()
    due = shop.loader._refusals.changed
    assert await due() == []
    for size in (100, 200, len(whole)):
        (tmp_path / "tiny" / "2" / MODEL_FILE).write_bytes(whole[:size])
        assert await due() == []
    assert await due() == [("tiny", "2")]
    assert await due() == []


@in_loop
async def test_one_that_is_still_bad_after_a_change_is_tried_once_for_each_change(tmp_path: Path) -> None:
    write(tmp_path, "1", "2", bad="2")
    shop = Shop(tmp_path)
    await shop.loader.load_all()
    async with shop.watching():
        for n in (1, 2):
            spoil(tmp_path / "tiny" / "2")
            await until(lambda n=n: shop.reloads("refused") == n)  # type: ignore[misc]
        await asyncio.sleep(5 * POLL)
    assert shop.tried == ["2", "1", "2", "2"]
    assert (shop.live, shop.refused("2")) == (["1"], {"2": 1})


@in_loop
async def test_a_refused_version_that_is_removed_is_shown_no_longer(tmp_path: Path) -> None:
    write(tmp_path, "1", "2", bad="2")
    shop = Shop(tmp_path)
    await shop.loader.load_all()
    async with shop.watching():
        shutil.rmtree(tmp_path / "tiny" / "2")
        await until(lambda: shop.refused("2") == {"2": None})
    assert shop.live == ["1"]


@in_loop
async def test_a_version_that_an_operator_has_chosen_is_not_replaced_by_itself(tmp_path: Path) -> None:
    write(tmp_path, "1", "2")
    whole = await half(tmp_path, "3")
    shop = Shop(tmp_path)
    await shop.loader.load_all()
    await shop.loader.reload("tiny", "1")
    (tmp_path / "tiny" / "3" / MODEL_FILE).write_bytes(whole)
    async with shop.watching():
        await asyncio.sleep(6 * POLL)
        assert shop.live == ["1"]
    await shop.loader.reload_all()
    assert (shop.live, shop.refused("3")) == (["3"], {"3": None})


@in_loop
async def test_a_hangup_takes_the_newest_sound_version_that_is_newer_and_adds_no_reason_to_be_not_ready(
    tmp_path: Path,
) -> None:
    write(tmp_path, "1", "2")
    shop = Shop(tmp_path)
    await shop.loader.load_all()
    write(tmp_path, "3", "4", "5", bad="45")
    spoil(write_bundle(tmp_path, Options(name="other")))
    await shop.loader.reload_all()
    assert (shop.live, shop.tried) == (["3"], ["2", "1", "5", "4", "3"])
    assert shop.registry.why_not_ready() is None
    assert (shop.reloads("ok"), shop.reloads("refused")) == (1, 3)


@pytest.mark.parametrize("stage", ["load", "warm"])
@in_loop
async def test_one_that_hangs_in_this_process_is_given_up_and_later_ones_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    write(tmp_path, "1")
    shop = Shop(tmp_path, seconds=0.1)
    may_end = threading.Event()

    async def hang(_: Model) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        if stage == "load":
            patch.setattr(LocalOpener, "_load", lambda *_: may_end.wait(60))
        else:
            patch.setattr(shop.loader, "_warm", hang)
        with pytest.raises(Problem, match=r"took longer than 0\.1 s \(LISTWRIGHT_LOAD_TIMEOUT_SECONDS\)"):
            await shop.loader.reload("tiny", None)
    may_end.set()
    monkeypatch.setattr(shop.loader, "_seconds", 60.0)
    await shop.loader.reload("tiny", None)
    assert shop.live == ["1"]


@in_loop
async def test_an_operator_is_told_of_a_refusal_and_nothing_is_tried_later(tmp_path: Path) -> None:
    write(tmp_path, "1", "2", bad="2")
    shutil.move(tmp_path / "tiny" / "2", tmp_path / "2")
    shop = Shop(tmp_path)
    await shop.loader.load_all()
    shutil.move(tmp_path / "2", tmp_path / "tiny" / "2")
    with pytest.raises(Problem):
        await shop.loader.reload("tiny", "2")
    assert shop.refused("2") == {"2": None}


def test_candidates_are_newer_than_what_serves() -> None:
    assert candidates(["1", "2", "3"], None) == ["1", "2", "3"]
    assert candidates(["1", "2", "3"], "1") == ["2", "3"]
    assert candidates(["1", "2", "3"], "3") == ["3"]
    assert candidates(["1", "2", "3"], "gone") == ["3"]
