"""Put the parts together and run them: two listeners in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from service.admin import create_admin_app
from service.app import PublicApp, create_app
from service.bundles.registry import Registry
from service.bundles.reload import Loader
from service.inference.dispatcher import Dispatcher
from service.inference.onnx.choose import session_config
from service.inference.onnx.session import SessionConfig
from service.inference.thread import InferenceThread
from service.ranking.warmup import warm_up
from service.settings import Settings
from service.telemetry.exposition import Exposition
from service.telemetry.logs import log_refusal
from service.telemetry.metrics import Metrics
from service.transport.listener import Listener
from service.transport.sockets import bind_sockets, loop_factory, on_hangup, stop_event

_log = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Serve until told to stop; return 0. Raises `SettingsError` for settings that cannot work."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(settings))
    return 0


@dataclass(frozen=True, kw_only=True)
class Core:
    """Parts of a process that answers requests; nothing is loaded or listens yet."""

    registry: Registry
    metrics: Metrics
    loader: Loader
    app: PublicApp


@contextlib.contextmanager
def assemble(settings: Settings, config: SessionConfig, exposition: Exposition | None = None) -> Iterator[Core]:
    """Put the parts together; at the end let the inference thread finish."""
    registry = Registry(
        default=settings.default_model,
        retry_after_seconds=settings.retry_after_seconds,
        keep_versions=settings.keep_versions,
    )
    metrics = Metrics(budget_seconds=settings.budget_seconds, exposition=exposition, shadow=settings.shadow_bundle)
    registry.on_publish(metrics.model_loaded)
    registry.on_retire(metrics.model_retired)
    with contextlib.closing(InferenceThread()) as thread:
        dispatcher = Dispatcher(thread, on_drop=metrics.dropped)
        warm = functools.partial(warm_up, dispatcher)
        loader = Loader(settings.bundles, config, registry, warm, on_reload=metrics.reloaded)
        app = create_app(
            settings=settings, registry=registry, metrics=metrics, dispatcher=dispatcher, observers=(log_refusal,)
        )
        yield Core(registry=registry, metrics=metrics, loader=loader, app=app)


async def serve(settings: Settings) -> None:
    """Listen, load, answer, drain."""
    config = session_config(settings)
    _log.info("inference runs on %s", config.provider)
    sockets = bind_sockets(settings)
    stop = stop_event()
    with assemble(settings, config) as core:
        admin = create_admin_app(settings=settings, registry=core.registry, loader=core.loader)
        public = Listener(core.app, settings, sockets.public, gate=core.app.endpoint, connections=core.app.connections)
        listeners = [public, Listener(admin, settings, sockets.admin)]
        async with asyncio.TaskGroup() as group:
            for listener in listeners:
                group.create_task(listener.listen())
            sockets.announce()
            loading = group.create_task(_load(core))
            with on_hangup(lambda: group.create_task(core.loader.reload_all())):
                await stop.wait()
            core.registry.drain()
            _log.info("stopping: not ready, draining")
            loading.cancel()
            await asyncio.sleep(settings.shutdown_delay_seconds)
            for listener in listeners:
                listener.should_exit = True
    _log.info("stopped")


async def _load(core: Core) -> None:
    await core.loader.load_all()
    settle(core.registry)


def settle(registry: Registry) -> None:
    """Log, once all is loaded, that the service is ready, or why not."""
    reason = registry.why_not_ready()
    if reason is None:
        _log.info("ready")
    else:
        _log.error("not ready: %s", reason)
