"""Connect to a Ray cluster, or start one on this machine.

Whoever can reach the ports of a Ray cluster without its token runs code there (docs/training.md). A cluster of this
machine therefore listens on the loopback address only, under a token made for the run.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from models.files import ended_by_sigterm
from models.options import check_at_least

LOCAL: Final = "local"
_AUTO: Final = "auto"
_OBJECTS: Final = 256 << 20
"""Bytes of a local cluster's object store.

Results of tasks pass through it. Of those that are not taken yet Ray writes to disk, under /tmp/ray, what has no room.
"""
_CONNECTING: Final = 3.0
_ANSWERING: Final = 25.0
"""Seconds that a port has to accept, and a cluster behind it to answer."""
_JOINING: Final = 600.0
"""Seconds that a cluster has for a first machine: KubeRay may start a command before it is there."""
_LOOK_SECONDS: Final = 1.0

_Node = dict[str, float]
"""The resources of a machine."""


class RayError(ValueError):
    """Report a cluster that cannot be used, or a run that failed there."""


@dataclass(frozen=True)
class RayOptions:
    """Choose a cluster: ``local``, ``auto`` (the one that this machine is part of) or ``HOST:PORT``.

    `workers` processes work there, None for one per GPU or core. Each has `threads` CPU threads and, by `device`, a
    GPU: ``cuda``, ``cpu``, or ``auto``, a GPU if the cluster has any.
    """

    address: str
    workers: int | None = None
    threads: int = 1
    device: str = "auto"

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> RayOptions | None:
        """Read the options of the command line; None without ``--ray``.

        Whether to use GPUs is asked of the machines where the work is done, unless ``--device`` says; a command without
        that option uses none. Raises `ValueError`.
        """
        check_at_least(arguments, workers=1)
        if arguments.ray is None:
            if arguments.workers is not None:
                raise ValueError("--workers: needs --ray")
            return None
        threads, device = getattr(arguments, "threads", None), getattr(arguments, "device", "cpu")
        return cls(arguments.ray, arguments.workers, threads or 1, device)


@dataclass(frozen=True)
class RayCluster:
    """Hold what a run uses of the connected cluster, decided once.

    `workers` processes work there, each on `threads` CPU threads and, with `gpu`, on a GPU. The machines that have
    joined by now can run `room` of them at once.
    """

    address: str
    threads: int
    gpu: bool
    room: int
    workers: int

    @classmethod
    def at_hand(cls, options: RayOptions) -> RayCluster:
        """Count the workers, once a machine has room for one. Raises `RayError` without any."""
        nodes = _nodes()
        if options.address != LOCAL and not _room(options, nodes):
            nodes = _wait_for_room(options, _needs_text(options, nodes))
        room = _room(options, nodes)
        if not room:
            raise RayError(f"--ray: {options.address}: no machine of the cluster has {_needs_text(options, nodes)}")
        workers = room if options.workers is None else options.workers
        return cls(options.address, options.threads, _uses_gpus(options, nodes), room, workers)

    @property
    def device(self) -> str:
        """Name the device of a worker: ``cuda`` or ``cpu``."""
        return "cuda" if self.gpu else "cpu"


def _wait_for_room(options: RayOptions, wanted: str) -> list[_Node]:
    """Wait for a machine that has what is `wanted`, and say so.

    Return the machines that there are then, or after `_JOINING` seconds without one.
    """
    print(
        f"--ray: {options.address}: no machine of the cluster has {wanted} yet; waiting for up to {_JOINING:g} s",
        file=sys.stderr,
        flush=True,
    )
    deadline = time.monotonic() + _JOINING
    while not _room(options, nodes := _nodes()) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    return nodes


def _uses_gpus(options: RayOptions, nodes: list[_Node]) -> bool:
    return options.device == "cuda" or (options.device == "auto" and any(node.get("GPU", 0) >= 1 for node in nodes))


def _room(options: RayOptions, nodes: list[_Node]) -> int:
    """Count the workers that machines can run at once."""
    needs = {"CPU": options.threads, **({"GPU": 1} if _uses_gpus(options, nodes) else {})}
    return sum(min(int(node.get(kind, 0) // count) for kind, count in needs.items()) for node in nodes)


def _needs_text(options: RayOptions, nodes: list[_Node]) -> str:
    cpus = "a CPU" if options.threads == 1 else f"{options.threads} CPUs"
    return f"a GPU and {cpus}" if _uses_gpus(options, nodes) else cpus


def _nodes() -> list[_Node]:
    """Return the resources of each machine that is alive."""
    return [node["Resources"] for node in load_ray("ray").nodes() if node["Alive"]]


def add_ray_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--ray`` and ``--workers``."""
    add = parser.add_argument
    text = "run on a Ray cluster: local (this machine), auto (the one this machine is part of) or HOST:PORT"
    add("--ray", metavar="ADDRESS", help=text)
    add("--workers", type=int, metavar="N", help="processes on the cluster (default: one per GPU or core)")


def load_ray(module: str) -> Any:
    """Import a module of Ray. Raises `RayError` naming the extra that has it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise RayError(f"--ray: needs {error.name!r}; pip install '.[train,ray]' in a checkout") from error


@contextmanager
def connected(options: RayOptions) -> Iterator[RayCluster]:
    """Connect to a cluster while the block runs; end one of this machine.

    SIGTERM leaves the block as `ended_by_sigterm` says. Raises `RayError` within half a minute if there is no cluster
    at the address, and after ten minutes if none of its machines can run a worker.
    """
    # Told before Ray is loaded, which reads its environment then. No figures of use are sent to Ray's makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")
    if options.address == LOCAL:
        _secure()
    ray = load_ray("ray")
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if options.address == LOCAL:
            _start(ray, options, quiet)
        else:
            _join(ray, options.address, quiet)
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray sets one of its own, which ends with another status.
    try:
        with ended_by_sigterm():
            yield RayCluster.at_hand(options)
    finally:
        ray.shutdown()


def _secure() -> None:
    """Let the local cluster ask for a token, and its processes talk over loopback."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if not any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    if sys.platform == "linux":  # where the loopback interface has this name
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def _start(ray: Any, options: RayOptions, quiet: dict[str, Any]) -> None:
    cpus = None if options.workers is None else options.workers * options.threads
    try:
        ray.init(
            address=LOCAL,
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=_OBJECTS,
            _node_ip_address="127.0.0.1",
            **quiet,
        )
    except Exception as error:  # Ray has errors of its own, which differ from version to version.
        raise RayError(f"--ray: local: no cluster could be started: {first_line(error)}") from error


def _join(ray: Any, address: str, quiet: dict[str, Any]) -> None:
    place = os.environ.get("RAY_ADDRESS", _AUTO) if address == _AUTO else address
    if place != _AUTO:
        _require_cluster(place)
    try:
        ray.init(address=place, **quiet)
    except Exception as error:
        raise RayError(f"--ray: there is no Ray cluster at {place}: {first_line(error)}") from error


def _require_cluster(place: str) -> None:
    """Ask whether a cluster answers, since connecting to none takes Ray minutes."""
    host, colon, port = place.rpartition(":")
    if "://" in place or not colon or not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise RayError(f"--ray: must be local, auto or HOST:PORT of a cluster's head, not {place!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECTING).close()
    except OSError as error:
        raise RayError(f"--ray: there is no Ray cluster at {place}: {error.strerror or error}") from error
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", place]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWERING, check=False)
    except subprocess.TimeoutExpired:
        raise RayError(f"--ray: {place} accepts connections, but does not answer as a Ray cluster") from None
    if asked.returncode:
        lines = asked.stderr.strip().splitlines() or ["no reason given"]
        raise RayError(f"--ray: there is no Ray cluster at {place} for us: {lines[-1]}")


def raised_there(error: BaseException, *kinds: type[Exception]) -> Exception | None:
    """Find the error of some kinds that our own code raised on the cluster.

    Ray's errors hold it, or come from those that do. None without one.
    """
    behind: BaseException | None = error
    while behind is not None:
        for found in (getattr(behind, "cause", None), behind.__cause__):
            if isinstance(found, kinds):
                return found
        behind = behind.__cause__
    return None


def first_line(error: BaseException) -> str:
    """Say an error in one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else repr(error)
