"""A bundle whose graph an engine process runs: the process must run these very files."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.bundles.load import digest, read_manifest
from service.bundles.model import BundleError, Interrupted
from service.engines.link import EngineLink
from service.engines.listener import OwnEngine
from service.engines.opener import RemoteOpener
from service.engines.remote import RemoteEngine
from service.engines.wire import Key
from tests.service.engines.processes import Held, engine_process, in_loop


def run_by(bundle: Path, files: str | None = None) -> OwnEngine:
    manifest = read_manifest(bundle)
    return OwnEngine(Key(manifest.name, manifest.version, files or digest(manifest)), Held(largest_batch=3))


@pytest.mark.parametrize("quietly", [False, True])
def test_all_but_the_graph_is_loaded_here(path: Path, bundle: Path, quietly: bool) -> None:
    async def work() -> None:
        async with engine_process(path, run_by(bundle)):
            link = EngineLink()
            model = await RemoteOpener(link, path).open(bundle, quietly=quietly)
            assert isinstance(model.engine, RemoteEngine)
            assert model.engine.largest_batch == 3
            assert model.engine is link.engine(path, model.name, model.version, digest(model.manifest))
            await link.close()

    in_loop(work)


def test_a_process_that_runs_other_files_of_that_name_is_not_used(path: Path, bundle: Path) -> None:
    async def work() -> None:
        async with engine_process(path, run_by(bundle, "other files")):
            link = EngineLink()
            with pytest.raises(Interrupted, match="as its files are now"):
                await RemoteOpener(link, path).open(bundle, quietly=False)
            await link.close()

    in_loop(work)


def test_a_process_that_may_not_be_spoken_to_is_no_fault_of_the_bundle(path: Path, bundle: Path) -> None:
    async def work() -> None:
        async with engine_process(path, run_by(bundle)):
            path.chmod(0o666)
            link = EngineLink()
            with pytest.raises(Interrupted, match="open to other users"):
                await RemoteOpener(link, path).open(bundle, quietly=False)
            await link.close()

    in_loop(work)


def test_a_fault_of_the_bundle_is_one(path: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with engine_process(path, m=Held()):
            link = EngineLink()
            with pytest.raises(BundleError):
                await RemoteOpener(link, path).open(tmp_path, quietly=False)
            await link.close()

    in_loop(work)
