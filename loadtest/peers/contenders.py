"""Start each peer in the environment that has it, with the settings that are compared.

Every variant by which a peer is tuned is here too. `missing` says which peers are not installed.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, NamedTuple

from loadtest.peers import kserve
from loadtest.rig.contender import Contender, Endpoint, free_port, listwright, serving
from loadtest.rig.openloop.window import status_200
from loadtest.rig.server import HOST
from models.contract.serving import RERANK_PATH

_ROOT: Final = Path(__file__).parents[2]
# One thread for whatever brings its own pool, as ONNX Runtime has here too.
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_ENVIRONMENTS: Final = {"litserve": ".venv-peers", "bentoml": ".venv-peers", "pytriton": ".venv-pytriton"}
_READY: Final = {"bentoml": "/readyz", "pytriton": kserve.READY}

PeerSetting = Mapping[str, str | int | float | bool]
"""The options of one variant of a peer, by their names."""

TUNED: Final[Mapping[str, PeerSetting]] = {
    "fastapi": {"endpoint": "inline"},
    "fastapi-msgspec": {"endpoint": "raw"},
    "litserve": {"max-batch-size": 4, "batch-timeout": 0.001, "zmq": False},
    "bentoml": {"service": "Single"},
    "pytriton": {"max-batch-size": 1, "queue-delay-us": 0},
}
"""The best variant of each, as `python -m loadtest.peers --tune` found it (docs/performance.md).

*fastapi* is as its users write it, with pydantic models; *fastapi-msgspec* goes around them.
"""


class Served(NamedTuple):
    """Name what a peer serves: a bundle, and the folder of its catalogues or None."""

    bundle: Path
    catalogue: Path | None


def _grid(**values: Sequence[str | int | float | bool]) -> list[PeerSetting]:
    names = [name.replace("_", "-") for name in values]
    return [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*values.values())]


VARIANTS: Final[Mapping[str, Sequence[PeerSetting]]] = {
    "fastapi": _grid(endpoint=["inline", "sync", "executor"]),
    "fastapi-msgspec": _grid(endpoint=["raw"]),
    "litserve": [
        {"max-batch-size": 1, "batch-timeout": 0.0, "zmq": False},
        *_grid(max_batch_size=[4, 8, 16], batch_timeout=[0.0005, 0.001, 0.003], zmq=[False]),
        {"max-batch-size": 8, "batch-timeout": 0.001, "zmq": True},
    ],
    "bentoml": [
        {"service": "Single"},
        *_grid(service=["Batching"], max_batch_size=[4, 8, 16], max_latency_ms=[10, 100, 1000]),
    ],
    "pytriton": _grid(max_batch_size=[1, 4, 8, 16], queue_delay_us=[0, 500, 2000]),
}


def python_of(peer: str, root: Path = Path()) -> Path:
    """Return the interpreter of the environment that has a peer; this one has FastAPI."""
    if peer in _ENVIRONMENTS:
        return (root / _ENVIRONMENTS[peer]).absolute() / "bin" / "python"
    return Path(sys.executable)


def missing(peer: str, root: Path = Path()) -> str | None:
    """Return the reason why a peer cannot run here; None if its environment is there."""
    python = python_of(peer, root)
    return None if python.exists() else f"{python} is not there; `make peers-setup` makes it"


def title(peer: str, setting: PeerSetting) -> str:
    return " ".join([peer, *(f"{name}={value}" for name, value in setting.items())])


def our_own(bundle: Path, *, name: str = "listwright", options: Sequence[str] = ()) -> Contender:
    """Make a contender of Listwright, for the folder that `bundle` (``root/name/version``) lies in."""
    return listwright(bundle.parents[1], name=name, options=options, environment=_ONE_THREAD)


def contender(
    peer: str, bundle: Path, setting: PeerSetting, *, name: str | None = None, catalogue: Path | None = None
) -> Contender:
    """Make a contender of a peer, with a folder of catalogues or none.

    Raises `ValueError` for an unknown one.
    """
    if peer not in TUNED:
        raise ValueError(f"peer: {peer!r} is none of {', '.join(TUNED)}")
    path, headers = RERANK_PATH, dict[str, str]()
    wrap: Callable[[bytes], bytes] = bytes
    if peer == "pytriton":
        path, headers, wrap = kserve.PATH, kserve.HEADERS, kserve.wrap
    elif setting.get("service") == "Batching":
        wrap = _in_brackets

    def start(cpus: Sequence[int]) -> AbstractContextManager[Endpoint]:
        port, ready = free_port(), _READY.get(peer, "/health")
        served = Served(bundle.absolute(), None if catalogue is None else catalogue.absolute())
        command = [str(python_of(peer)), "-m", *_command(peer, served, setting, port)]
        environment = _environment(served, setting)
        return serving(command, cpus=cpus, port=port, path=path, ready=ready, environment=environment, headers=headers)

    return Contender(name or peer, start, status_200, wrap)


def _command(peer: str, served: Served, setting: PeerSetting, port: int) -> list[str]:
    """Return a module with its options: a flag for True, nothing for False."""
    if peer == "bentoml":
        service = f"loadtest.peers.bentoml_server:{setting['service']}"
        return ["bentoml", "serve", service, f"--host={HOST}", f"--port={port}"]
    given = {name: value for name, value in setting.items() if value is not False}
    options = [f"--{name}" if value is True else f"--{name}={value}" for name, value in given.items()]
    options += [] if served.catalogue is None else [f"--catalogue={served.catalogue}"]
    return [f"loadtest.peers.{peer.partition('-')[0]}_server", f"--bundle={served.bundle}", f"--port={port}", *options]


def _environment(served: Served, setting: PeerSetting) -> dict[str, str]:
    """Return the variables of a peer; BentoML reads its settings from them."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    settings = {f"PEERS_{name.replace('-', '_').upper()}": str(value) for name, value in setting.items()}
    settings |= {"PEERS_BUNDLE": str(served.bundle), "PEERS_CATALOGUE": str(served.catalogue or "")}
    return {**_ONE_THREAD, "PYTHONPATH": path, "BENTOML_DO_NOT_TRACK": "true", **settings}


def _in_brackets(body: bytes) -> bytes:
    """Wrap a request: a batchable endpoint of BentoML takes a list of inputs."""
    return b"[" + body + b"]"
