"""Puts the parts together and runs them: two listeners in one event loop, from first log line to clean exit."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any, cast

from service.admin import create_admin_app
from service.app import create_app
from service.batcher import Batcher
from service.engine import InferenceThread
from service.listener import BACKLOG, Listener
from service.loader import Loader
from service.logs import log_refusals
from service.metrics import Metrics
from service.onnx_engine import session_config
from service.registry import Registry
from service.settings import Settings, SettingsError
from service.warmup import warm_up

_log = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; 0 after a clean stop. Raises `SettingsError` for what cannot work at all."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(settings))
    return 0


async def serve(settings: Settings) -> None:
    """Listen, load, answer, drain."""
    config = session_config(settings)
    _log.info("inference runs on %s", config.provider)
    public_socket = _bind("port", settings.host, settings.port)
    admin_socket = _bind("admin_port", settings.admin_host, _admin_port(settings))
    stop = _stop_event()

    registry = Registry(
        default=settings.default_model,
        retry_after_seconds=settings.retry_after_seconds,
        keep_versions=settings.keep_versions,
    )
    metrics = Metrics(budget_seconds=settings.budget_seconds)
    registry.on_publish(metrics.model_loaded)
    registry.on_retire(metrics.model_retired)
    with contextlib.closing(InferenceThread()) as thread:
        batcher = Batcher(thread, on_drop=metrics.dropped)
        warm = functools.partial(warm_up, batcher)
        loader = Loader(settings.bundles, config, registry, warm, on_reload=metrics.reloaded)
        app = create_app(
            settings=settings, registry=registry, metrics=metrics, batcher=batcher, observers=(log_refusals(),)
        )
        admin = create_admin_app(settings=settings, registry=registry, loader=loader)
        listeners = [Listener(app, settings, public_socket), Listener(admin, settings, admin_socket)]
        async with asyncio.TaskGroup() as group:
            for listener in listeners:
                group.create_task(listener.listen())
            _announce(public_socket, admin_socket)
            loading = group.create_task(_load(loader, registry))
            with _on_hangup(lambda: group.create_task(loader.reload_all())):
                await stop.wait()
            registry.drain()
            _log.info("stopping: not ready, draining")
            loading.cancel()
            await asyncio.sleep(settings.shutdown_delay_seconds)
            for listener in listeners:
                listener.should_exit = True
    _log.info("stopped")


async def _load(loader: Loader, registry: Registry) -> None:
    await loader.load_all()
    # What is alive now stays so; without this every full collection would walk all of it during a request.
    gc.collect()
    gc.freeze()
    reason = registry.why_not_ready()
    if reason is None:
        _log.info("ready")
    else:
        _log.error("not ready: %s", reason)


def _announce(public: socket.socket, admin: socket.socket) -> None:
    """One JSON line on stdout with the ports in use, for whoever started the process with port 0."""
    host, port = public.getsockname()[:2]
    admin_host, admin_port = admin.getsockname()[:2]
    line = {"event": "listening", "host": host, "port": port, "admin_host": admin_host, "admin_port": admin_port}
    print(json.dumps(line), flush=True)


def _admin_port(settings: Settings) -> int:
    if settings.admin_port is not None:
        return settings.admin_port
    return settings.port + 1 if settings.port else 0


def _bind(name: str, host: str, port: int) -> socket.socket:
    """A bound socket. Raises `SettingsError` naming the setting."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise SettingsError(f"LISTWRIGHT_{name.upper()}: cannot listen on {host}:{port}: {error}") from None


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


@contextlib.contextmanager
def _on_hangup(reload: Callable[[], object]) -> Iterator[None]:
    """SIGHUP means: look for new bundles."""
    if sys.platform == "win32":
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield
    finally:
        # Ignored from here on: its default would end the process in the middle of draining.
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return cast("Callable[[], Any]", uvloop.new_event_loop)
