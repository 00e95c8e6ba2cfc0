"""Run the supervisor of `listwright serve`, where there is more than one process.

It holds the two sockets, serves the admin app, keeps the workers running (`crew.py`), and engine processes where the
workers do not run models themselves (`engines.py`), hands reloads out (`fleet.py`) and merges metrics (`gathering.py`).
It answers no requests. The workers hang on channels to it: they end when it does, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from service.access.sources import Access
from service.admin import CatalogueDesk, SceneDesk, admin_app
from service.bundles.chores import Chores
from service.engines.private import private_folder
from service.inference.onnx.choose import choose_provider, session_config
from service.settings import Settings, SettingsError
from service.telemetry.pacing import spare_what_is_loaded
from service.telemetry.refusal_log import RefusalLog
from service.telemetry.versions import KEY
from service.transport.listener import Listener
from service.transport.sockets import bind_sockets, loop_factory, on_hangup, stop_event
from service.workers.crew import Crew
from service.workers.cuda_probe import why_no_cuda_aside
from service.workers.engines import VISIBLE, Engines, visible_devices
from service.workers.fleet import Fleet
from service.workers.gathering import Gatherer, SupervisorMetrics

_log = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; 0 after a clean stop, 1 if workers kept dying.

    Raises `SettingsError` for settings that cannot work at all.
    """
    settings = settle_engines(settings)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(supervise(settings))


def settle_engines(settings: Settings) -> Settings:
    """Return the settings with the provider and the number of engine processes decided.

    Raises `SettingsError` for what cannot be.
    """
    if sys.platform == "win32":
        raise SettingsError("LISTWRIGHT_WORKERS (--workers): 1 on Windows, and no engine processes")
    provider = choose_provider(settings.provider, why_no_cuda_aside)
    name, engines = "LISTWRIGHT_ENGINE_PROCESSES (--engine-processes)", settings.engine_processes
    if engines is None:
        engines = 1 if provider == "cuda" else 0
    if provider == "cuda" and not engines and settings.workers > 1:
        raise SettingsError(f"{name}: must be 1 or more on CUDA, where one process per GPU serves all workers")
    if engines > settings.workers:
        raise SettingsError(f"{name}: {engines} are more than the {settings.workers} of LISTWRIGHT_WORKERS (--workers)")
    if provider == "cuda" and engines > (devices := len(visible_devices(engines))):
        raise SettingsError(f"{name}: {engines} are more than the {devices} GPUs of {VISIBLE}")
    if provider == "cuda" and engines > 1 and (problem := why_no_cuda_aside(engines)) is not None:
        raise SettingsError(f"{name}: {engines} GPUs cannot be used: {problem}")
    return settings.model_copy(update={"provider": provider, "engine_processes": engines})


async def supervise(settings: Settings) -> int:
    """Start, keep, stop. Returns the exit status."""
    with _engine_folder(settings) as folder:
        return await _supervise(settings, folder)


@contextlib.contextmanager
def _engine_folder(settings: Settings) -> Iterator[Path | None]:
    """Make the folder of the engine processes' sockets, if there are any. Raises `SettingsError`."""
    if not settings.engine_processes:
        yield None
        return
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(private_folder())
        except OSError as error:
            name = "LISTWRIGHT_ENGINE_PROCESSES (--engine-processes)"
            raise SettingsError(f"{name}: no folder can be made for their sockets: {error}") from None
        yield folder


async def _supervise(settings: Settings, folder: Path | None) -> int:
    stop = stop_event()
    access = Access.open(settings)
    sockets = bind_sockets(settings)
    metrics = SupervisorMetrics(lambda: fleet.size, settings.workers)
    engines = None
    if folder is not None:
        engines = Engines(settings, folder, on_end=metrics.engine_ended, give_up=lambda why: crew.fail(why))
        metrics.show_engines(lambda: engines.size, lambda: engines.wanted)
    fleet = Fleet(
        *(settings, session_config(settings, settings.provider), metrics.reloaded, metrics.bundle_refused),
        *(metrics.scenes_renewed, metrics.catalogues_renewed),
        engines=engines,
    )
    gatherer = Gatherer(metrics, lambda: [*fleet.live, *((KEY, name) for name in access.public.names)])
    crew = Crew(settings, sockets.public, fleet, metrics, gatherer, keys=access.public.live, give_up=stop.set)
    access.share(crew.take_keys)
    access.public.on_failure(metrics.access.failed)
    access.observe(metrics.access)
    refusals = RefusalLog()
    app = admin_app(
        *(settings, fleet.models, fleet.reload, SceneDesk.of(fleet), CatalogueDesk.of(fleet), gatherer.respond, access),
        log=refusals.add,
    )
    spare_what_is_loaded()
    admin = Listener(app, settings, sockets.admin, on_head=[refusals.head])
    where = f"{settings.engine_processes} processes for" if engines else "each of"
    _log.info("inference runs on %s, in %s %d workers", settings.provider, where, settings.workers)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(admin.listen())
        try:
            await crew.start()
            sockets.announce()
            chores = Chores(fleet)
            works = (fleet.load_all(), chores.watch(), chores.reloads.run(), access.reloads.run())
            loads = [group.create_task(work) for work in works]
            with on_hangup(chores.reloads.want, access.reloads.want):
                await stop.wait()
            for load in loads:
                load.cancel()
        finally:
            _log.info("stopping: workers drain")
            if engines is not None:
                engines.stopping()
            await crew.stop()
            admin.should_exit = True
            await crew.ended()
            if engines is not None:
                await engines.stop()
        await serving
    refusals.flush()
    _log.info("stopped")
    return 1 if crew.failed else 0
