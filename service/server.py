"""Put the parts together and run them: two listeners in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from service.access.keys import ApiKeys
from service.access.sources import Access
from service.admin import create_admin_app
from service.app import PublicApp, create_app
from service.bundles.catalogues import CatalogueOptions
from service.bundles.chores import Chores
from service.bundles.model import Model
from service.bundles.opening import LocalOpener
from service.bundles.registry import Registry
from service.bundles.reload import Loader
from service.bundles.retired import Retired
from service.bundles.trial import Trial
from service.catalogues.choose_source import make_live
from service.catalogues.live import Catalogues
from service.catalogues.source import LiveSource
from service.engines.link import EngineLink
from service.inference.dispatcher import Dispatcher
from service.inference.onnx.choose import session_config
from service.inference.onnx.session import SessionConfig
from service.inference.thread import InferenceThread
from service.inference.watch import HUNG_STATUS, EngineWatch, end_process, stop_on_hang, threads_left
from service.ranking.warmup import warm_up
from service.scenes.live import Scenes
from service.settings import Settings, SettingsError, flag
from service.telemetry.exposition import Exposition
from service.telemetry.metrics import Metrics
from service.telemetry.pacing import spare_what_is_loaded
from service.telemetry.refusal_log import RefusalLog
from service.telemetry.request_log import RequestLog, RequestLogOptions
from service.telemetry.spans import EXTRA, CountSpans, Tracing
from service.transport.listener import Listener
from service.transport.sockets import bind_sockets, loop_factory, on_hangup, stop_event

_log = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Serve until told to stop; return the exit status.

    Raises `SettingsError` for settings that cannot work.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        status = runner.run(serve(settings))
        if threads_left():
            end_process(status)
    return status


@dataclass(frozen=True, kw_only=True)
class Core:
    """Parts of a process that answers requests; nothing is loaded or listens yet."""

    registry: Registry
    metrics: Metrics
    loader: Loader
    app: PublicApp
    watch: EngineWatch | None
    """None where other processes run the models, and watch that themselves."""
    scenes: Scenes
    catalogues: Catalogues
    live: LiveSource | None
    keys: ApiKeys
    refusals: RefusalLog

    @property
    def hung(self) -> bool:
        """Tell whether the engine of this process hangs."""
        return self.watch is not None and self.watch.hung


@contextlib.contextmanager
def assemble(
    settings: Settings,
    config: SessionConfig,
    keys: ApiKeys,
    exposition: Exposition | None = None,
    *,
    tried: bool = False,
    link: EngineLink | None = None,
) -> Iterator[Core]:
    """Put the parts together; at the end let the inference thread finish, unless it hangs.

    `tried` says that another process tries each bundle before this one is told to load it. With a `link` models run in
    engine processes, and there is no such thread here.
    """
    registry = Registry(
        default=settings.default_model,
        retry_after_seconds=settings.retry_after_seconds,
        keep_versions=settings.keep_versions,
    )
    metrics = Metrics(budget_seconds=settings.budget_seconds, exposition=exposition, shadow=settings.shadow_bundle)
    registry.on_publish(metrics.model_loaded)
    registry.on_retire(metrics.model_retired)
    live = make_live(settings, metrics.live_values)
    scenes = Scenes(retry_after_seconds=settings.retry_after_seconds)
    scenes.on_swap(metrics.scenes_swapped)
    registry.needs(scenes.why_not_ready)
    catalogues = Catalogues()
    catalogues.on_swap(metrics.catalogues_swapped)
    registry.needs(catalogues.why_not_ready)
    with (
        _request_log(settings) as request_log,
        traces(settings, metrics.spans_ended) as tracing,
        _open_queue(link) as queue,
    ):
        dispatcher = Dispatcher(queue, on_drop=metrics.dropped)
        registry.on_retire(Retired(lambda: dispatcher.idle).keep)
        watch = _watch_engine(settings, queue, registry, metrics) if isinstance(queue, InferenceThread) else None
        loader = Loader(
            settings.bundles,
            # The trial has replayed the recorded requests on CPU.
            LocalOpener(config, golden=config.provider != "cpu"),
            registry,
            functools.partial(_warm, registry, dispatcher, catalogues),
            trial=None if tried else Trial(config, settings.load_timeout_seconds),
            seconds=settings.load_timeout_seconds,
            on_reload=metrics.reloaded,
            on_refusal=metrics.bundle_refused,
            scenes=scenes,
            on_scenes=metrics.scenes_renewed,
            catalogues=catalogues,
            catalogue_options=CatalogueOptions.of(settings),
            on_catalogues=metrics.catalogues_renewed,
        )
        app = create_app(
            settings=settings,
            registry=registry,
            metrics=metrics,
            dispatcher=dispatcher,
            scenes=scenes,
            catalogues=catalogues,
            live=live,
            keys=keys,
            request_log=request_log,
            tracing=tracing,
        )
        yield Core(
            registry=registry,
            metrics=metrics,
            loader=loader,
            app=app,
            watch=watch,
            scenes=scenes,
            catalogues=catalogues,
            live=live,
            keys=keys,
            refusals=request_log.refusals,
        )


@contextlib.contextmanager
def _open_queue(link: EngineLink | None) -> Iterator[EngineLink | InferenceThread]:
    """Return the link if there is one, or an inference thread.

    The thread ends with the context; the link is its maker's.
    """
    if link is not None:
        yield link
        return
    with contextlib.closing(InferenceThread()) as thread:
        yield thread


@contextlib.contextmanager
def _request_log(settings: Settings) -> Iterator[RequestLog]:
    """Make the log of requests, and tell at the end what it has counted."""
    options = RequestLogOptions(
        share=settings.log_requests,
        slow_seconds=settings.slow_seconds,
        batch_slow_seconds=settings.batch_budget_seconds,
    )
    made = RequestLog(options)
    try:
        yield made
    finally:
        made.flush()


def check_traces(settings: Settings) -> None:
    """Raise `SettingsError` if traces are asked for without the extra that they need."""
    if settings.otlp_endpoint is None:
        return
    try:
        importlib.import_module("service.telemetry.tracing")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise SettingsError(f"LISTWRIGHT_OTLP_ENDPOINT ({flag('otlp_endpoint')}): {EXTRA}") from None


@contextlib.contextmanager
def traces(settings: Settings, count: CountSpans) -> Iterator[Tracing | None]:
    """Export traces if the settings name a collector; None: they do not.

    At the end it sends what waits, for a second at most.
    """
    if settings.otlp_endpoint is None:
        yield None
        return
    from service.telemetry.tracing import OtlpTracing  # It is an extra, and takes memory.

    with contextlib.closing(OtlpTracing(settings.otlp_endpoint, settings.trace_share, count)) as tracing:
        yield tracing


def _watch_engine(settings: Settings, thread: InferenceThread, registry: Registry, metrics: Metrics) -> EngineWatch:
    """Make the watch over the inference thread; a hang makes the process not ready."""

    def on_hang(reason: str) -> None:
        metrics.engine_hung()
        registry.hang(reason)

    watch = EngineWatch(
        thread,
        hang_seconds=settings.engine_hang_seconds,
        load_seconds=settings.load_timeout_seconds,
        on_hang=on_hang,
    )
    registry.on_publish(lambda model: watch.know(model.engine, f"{model.name} {model.version}"))
    return watch


async def _warm(registry: Registry, dispatcher: Dispatcher, catalogues: Catalogues, model: Model) -> None:
    await warm_up(dispatcher, model, gently=registry.serving, catalogues=catalogues)


@contextlib.asynccontextmanager
async def live_values(source: LiveSource | None) -> AsyncIterator[None]:
    """Connect to the live source, if there is one, and close it at the end."""
    if source is None:
        yield
        return
    opening = asyncio.create_task(source.open())
    try:
        yield
    finally:
        await source.close()
        await opening


async def serve(settings: Settings) -> int:
    """Listen, load, answer, drain; return the exit status."""
    config = session_config(settings)
    _log.info("inference runs on %s", config.provider)
    access = Access.open(settings)
    sockets = bind_sockets(settings)
    stop = stop_event()
    with assemble(settings, config, access.public) as core:
        spare_what_is_loaded()
        admin = create_admin_app(
            settings=settings,
            registry=core.registry,
            loader=core.loader,
            catalogues=core.catalogues,
            access=access,
            log=core.refusals.add,
        )
        access.observe(core.metrics.access)
        public = Listener(core.app, settings, sockets.public, gate=core.app.endpoint, connections=core.app.connections)
        listeners = [public, Listener(admin, settings, sockets.admin, on_head=[core.refusals.head])]
        async with live_values(core.live), asyncio.TaskGroup() as group:
            listening = [group.create_task(listener.listen()) for listener in listeners]
            sockets.announce()
            watching = group.create_task(stop_on_hang(core.watch, stop))
            chores = Chores(core.loader)
            works = (_load(core), chores.watch(), chores.reloads.run(), access.reloads.run())
            loads = [group.create_task(work) for work in works]
            with on_hangup(chores.reloads.want, access.reloads.want):
                await stop.wait()
            core.registry.drain()
            _log.info("stopping: not ready, draining")
            for load in loads:
                load.cancel()
            await asyncio.sleep(settings.shutdown_delay_seconds)
            for listener in listeners:
                listener.should_exit = True
            await asyncio.wait(listening)
            watching.cancel()
    _log.info("stopped")
    return HUNG_STATUS if core.hung else 0


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
