"""Run the supervisor of `listwright serve --workers N`, N > 1.

It holds the two sockets, serves the admin app, keeps the workers running (`crew.py`), hands reloads out (`fleet.py`)
and merges metrics (`gathering.py`). It answers no requests. The workers hang on channels to it: they end when it does,
however it ends.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from service.access.sources import Access
from service.admin import CatalogueDesk, SceneDesk, admin_app
from service.bundles.chores import Chores
from service.inference.onnx.choose import session_config
from service.settings import Settings, SettingsError
from service.telemetry.pacing import spare_what_is_loaded
from service.telemetry.refusal_log import RefusalLog
from service.telemetry.versions import KEY
from service.transport.listener import Listener
from service.transport.sockets import bind_sockets, loop_factory, on_hangup, stop_event
from service.workers.crew import Crew
from service.workers.fleet import Fleet
from service.workers.gathering import Gatherer, SupervisorMetrics

_log = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; 0 after a clean stop, 1 if workers kept dying.

    Raises `SettingsError` for settings that cannot work at all.
    """
    settings = settings.model_copy(update={"provider": _provider(settings)})
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(supervise(settings))


def _provider(settings: Settings) -> str:
    """Choose the provider of all workers. Raises `SettingsError` if it cannot be shared."""
    name = "LISTWRIGHT_WORKERS (--workers)"
    if sys.platform == "win32":
        raise SettingsError(f"{name}: no more than 1 on Windows")
    provider = settings.provider if settings.provider == "cuda" else session_config(settings).provider
    if provider == "cuda":
        raise SettingsError(f"{name}: must be 1 on CUDA, where one process serves a GPU; more need --provider cpu")
    return provider


async def supervise(settings: Settings) -> int:
    """Start, keep, stop. Returns the exit status."""
    stop = stop_event()
    access = Access.open(settings)
    sockets = bind_sockets(settings)
    metrics = SupervisorMetrics(lambda: fleet.size, settings.workers)
    fleet = Fleet(
        *(settings, session_config(settings), metrics.reloaded, metrics.bundle_refused),
        *(metrics.scenes_reloaded, metrics.catalogues_reloaded),
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
    _log.info("inference runs on %s, in %d workers", settings.provider, settings.workers)
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
            await crew.stop()
            admin.should_exit = True
            await crew.ended()
        await serving
    refusals.flush()
    _log.info("stopped")
    return 1 if crew.failed else 0
