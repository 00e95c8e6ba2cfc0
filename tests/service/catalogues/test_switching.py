"""Catalogues beside bundles, without a server: which serves when, and what becomes of one that is replaced."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.bundles import catalogues, retired_catalogues
from service.bundles.catalogues import CatalogueOptions
from service.bundles.opening import LocalOpener
from service.bundles.registry import Registry
from service.bundles.reload import Loader
from service.catalogues.live import Catalogues
from service.inference.onnx.session import SessionConfig
from service.telemetry.metrics import Metrics
from tests.service.bundles.test_switching import in_loop, until
from tests.service.catalogues.test_choosing import array, either_way, price_of
from tests.service.item_catalogues import OTHER, publish
from tests.service.tiny_bundle import SPEC, Options, write_bundle
from tests.service.watching import watching

CATALOGUE = "catalogue"


class Shop:
    """A loader over a folder, its catalogues and its metrics, without a server."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.registry = Registry()
        self.catalogues = Catalogues()
        self.registry.needs(self.catalogues.why_not_ready)
        self.metrics = Metrics(budget_seconds=1.0)
        self.loader = Loader(
            root,
            LocalOpener(SessionConfig()),
            self.registry,
            self._warm,
            catalogues=self.catalogues,
            catalogue_options=CatalogueOptions(root / CATALOGUE, **options),
            on_catalogues=self.metrics.catalogues_renewed,
        )

    async def _warm(self, _: Any) -> None:
        pass

    def reloads(self) -> list[float | None]:
        found = self.metrics.registry.get_sample_value
        return [found("rerank_catalogue_reloads_total", {"result": result}) for result in ("ok", "refused")]

    def refused(self) -> float | None:
        return self.metrics.registry.get_sample_value("rerank_files_refused", {"kind": "catalogue"})


def lives(shop: Shop, *versions: str) -> Callable[[], bool]:
    return lambda: [found.manifest.version for found in shop.catalogues.live.values()] == list(versions)


@in_loop
async def test_a_refused_version_is_tried_again_when_its_files_have_changed(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    folder = publish(tmp_path / CATALOGUE, "1", 10)
    whole = array(folder, "price.npy").read_bytes()
    array(folder, "price.npy").write_bytes(whole[:-8])
    shop = Shop(tmp_path)
    await shop.loader.load_all()
    assert "segment-0/price.npy" in str(shop.registry.why_not_ready())
    assert shop.refused() == 1
    async with watching(shop.loader):
        array(folder, "price.npy").write_bytes(whole)
        await until(lives(shop, "1"))
        await until(lambda: shop.registry.why_not_ready() is None)
    assert shop.reloads() == [1, 0]
    assert shop.refused() == 0


@in_loop
async def test_a_store_that_hangs_keeps_no_bundle_from_being_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave = threading.Event()

    def hang(*_: object, **__: object) -> None:
        assert leave.wait(60)

    write_bundle(tmp_path)
    publish(tmp_path / CATALOGUE, "1", 10)
    shop = Shop(tmp_path, seconds=0.05)
    with monkeypatch.context() as broken:
        broken.setattr(catalogues, "choose", hang)
        await shop.loader.load_all()
    leave.set()
    assert [model.name for model in shop.registry.models] == ["tiny"]
    assert "longer than 0.05 s (LISTWRIGHT_LOAD_TIMEOUT_SECONDS)" in str(shop.registry.why_not_ready())


@in_loop
async def test_a_sound_version_waits_for_a_reload(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    publish(tmp_path / CATALOGUE, "1", 10)
    shop = Shop(tmp_path)
    await shop.loader.load_all()
    async with watching(shop.loader):
        publish(tmp_path / CATALOGUE, "2", 20)
        await asyncio.sleep(0.5)
        assert lives(shop, "1")()
    await shop.loader.reload_all()
    assert lives(shop, "2")()


@in_loop
async def test_a_folder_that_is_away_takes_no_catalogue_with_it(tmp_path: Path) -> None:
    root = tmp_path / "bundles"
    write_bundle(root)
    publish(root / CATALOGUE, "1", 10)
    shop = Shop(root)
    await shop.loader.load_all()
    root.rename(tmp_path / "away")
    await shop.loader.reload_all()
    assert lives(shop, "1")()
    async with watching(shop.loader):
        (tmp_path / "away").rename(root)
        await until(lambda: not shop.loader.catalogue_files.is_refused)
    assert lives(shop, "1")()


@in_loop
async def test_catalogues_are_no_bundles_and_no_bundle_can_have_their_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_bundle(tmp_path)
    publish(tmp_path / CATALOGUE, "1", 10)
    shop = Shop(tmp_path)
    await shop.loader.load_all()
    assert not [line for line in caplog.messages if "left out" in line]
    write_bundle(tmp_path, Options(name=CATALOGUE))
    await shop.loader.reload_all()
    assert [model.name for model in shop.registry.models] == ["tiny"]
    assert "'catalogue' is no name for a model" in caplog.text


@in_loop
async def test_a_model_without_a_catalogue_is_named_if_there_are_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_bundle(tmp_path)
    shop = Shop(tmp_path)
    await shop.loader.load_all()
    assert "no catalogue is for" not in caplog.text
    publish(tmp_path / CATALOGUE, "1", 10, OTHER)
    write_bundle(tmp_path, Options(version="2"))
    write_bundle(tmp_path, Options(name="other", spec=OTHER))
    await shop.loader.reload_all()
    warned = [line for line in caplog.messages if "no catalogue is for" in line]
    assert len(warned) == 1
    assert f"model tiny version 2, whose feature spec has the fingerprint {SPEC.fingerprint}" in warned[0]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@either_way
@in_loop
async def test_a_request_keeps_its_version_and_what_no_request_has_is_unmapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy: bool
) -> None:
    monkeypatch.setattr(retired_catalogues, "MAP_SECONDS", 0.05)
    monkeypatch.setattr(retired_catalogues, "COPY_SECONDS", 0.1)
    write_bundle(tmp_path)
    folder = publish(tmp_path / CATALOGUE, "1", 10)
    shop = Shop(tmp_path, copy=copy)
    await shop.loader.load_all()
    held = shop.catalogues.find(SPEC.fingerprint)
    assert held is not None
    path = str(array(folder, "price.npy"))
    if copy:
        files = shop.loader.catalogue_files._served.checked[0].files
        path = rf" {files['segment-0/price.npy'].inode} +/memfd:listwright:"
    assert is_mapped(path)
    publish(tmp_path / CATALOGUE, "2", 20)
    await shop.loader.reload_all()
    shutil.rmtree(folder)
    await asyncio.sleep(0.3)  # Its pages have been given up, but nothing else.
    assert price_of(held) == 10
    assert is_mapped(path)
    del held
    await until(lambda: not is_mapped(path))
    assert price_of(shop.catalogues.live[SPEC.fingerprint]) == 20


def is_mapped(path: str) -> bool:
    """Whether this process has a map of a file with such a path."""
    return re.search(path, Path("/proc/self/maps").read_text()) is not None
