"""The peers as contenders: how each is started, and every way in which it is tuned before it is compared.

Each peer runs in the environment that has it; `Environments.missing` says what is not installed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtest.peers import kserve
from loadtest.rig.openloop.contender import PATH, Contender, Endpoint, free_port, listwright, serving
from loadtest.rig.openloop.records import status_200

_ROOT: Final = Path(__file__).parents[2]
# One thread for whatever brings its own pool, as ONNX Runtime has here too.
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
BENTOML_SERVICE: Final = "loadtest.peers.bentoml_server"

Setting = Mapping[str, str | int | float | bool]
"""What one variant of a peer is tuned to, by the names of its own options."""


@dataclass(frozen=True, slots=True)
class Environments:
    """Interpreters that have the peers; this one has FastAPI."""

    peers: Path = Path(".venv-peers")
    pytriton: Path = Path(".venv-pytriton")

    def python(self, peer: str) -> Path:
        """The interpreter for a peer."""
        if peer in ("litserve", "bentoml"):
            return self.peers.absolute() / "bin" / "python"
        if peer == "pytriton":
            return self.pytriton.absolute() / "bin" / "python"
        return Path(sys.executable)

    def missing(self, peer: str) -> str | None:
        """Why a peer cannot run here; None if its environment is there."""
        python = self.python(peer)
        return None if python.exists() else f"{python} is not there; `make peers-setup` makes it"


TUNED: Final[Mapping[str, Setting]] = {
    "fastapi": {"endpoint": "inline"},
    "fastapi-msgspec": {"endpoint": "raw"},
    "litserve": {"max-batch-size": 4, "batch-timeout": 0.001, "zmq": False},
    "bentoml": {"service": "Single"},
    "pytriton": {"max-batch-size": 1, "queue-delay-us": 0},
}
"""The best variant of each, as `python -m loadtest.peers --tune` found it (docs/performance.md).

*fastapi* is as its users write it, with pydantic models; *fastapi-msgspec* goes around them.
"""


def _grid(**values: Sequence[str | int | float | bool]) -> list[Setting]:
    names = [name.replace("_", "-") for name in values]
    return [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*values.values())]


VARIANTS: Final[Mapping[str, Sequence[Setting]]] = {
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


def title(peer: str, setting: Setting) -> str:
    """A name for one variant."""
    return " ".join([peer, *(f"{name}={value}" for name, value in setting.items())])


def contender(
    peer: str, bundle: Path, setting: Setting, environments: Environments, *, name: str | None = None
) -> Contender:
    """A peer that serves `bundle`, tuned as `setting` says. Raises `ValueError` for a peer that is not known."""
    makers = {
        "fastapi": _fastapi,
        "fastapi-msgspec": _fastapi,
        "litserve": _litserve,
        "bentoml": _bentoml,
        "pytriton": _pytriton,
    }
    if peer not in makers:
        raise ValueError(f"peer: {peer!r} is none of {', '.join(makers)}")
    return makers[peer](name or peer, bundle.absolute(), setting, str(environments.python(peer)))


def our_own(bundle: Path, *, name: str = "listwright", options: Sequence[str] = ()) -> Contender:
    """Listwright, for the folder that `bundle` (``root/name/version``) lies in."""
    return listwright(bundle.parents[1], name=name, options=options, environment=_ONE_THREAD)


def _fastapi(name: str, bundle: Path, setting: Setting, python: str) -> Contender:
    return _module(name, "loadtest.peers.fastapi_server", bundle, setting, python, ready="/health")


def _litserve(name: str, bundle: Path, setting: Setting, python: str) -> Contender:
    return _module(name, "loadtest.peers.litserve_server", bundle, setting, python, ready="/health")


def _pytriton(name: str, bundle: Path, setting: Setting, python: str) -> Contender:
    made = _module(
        name, "loadtest.peers.pytriton_server", bundle, setting, python,
        ready=kserve.READY, path=kserve.PATH, headers=kserve.HEADERS,
    )  # fmt: skip
    return Contender(name, made.start, made.is_full, kserve.wrap)


def _module(
    name: str, module: str, bundle: Path, setting: Setting, python: str, *,
    ready: str, path: str = PATH, headers: Mapping[str, str] | None = None,
) -> Contender:  # fmt: skip
    @contextlib.contextmanager
    def start(cpus: Sequence[int]) -> Iterator[Endpoint]:
        port = free_port()
        command = [python, "-m", module, "--bundle", str(bundle), "--port", str(port), *_options(setting)]
        running = serving(
            command, cpus=cpus, port=port, path=path, ready=ready, environment=_environment(), headers=headers
        )
        with running as endpoint:
            yield endpoint

    return Contender(name, start, is_full=status_200)


def _bentoml(name: str, bundle: Path, setting: Setting, python: str) -> Contender:
    batching = setting["service"] == "Batching"
    tuned = {"PEERS_BUNDLE": str(bundle)}
    if batching:
        tuned["PEERS_MAX_BATCH_SIZE"] = str(setting["max-batch-size"])
        tuned["PEERS_MAX_LATENCY_MS"] = str(setting["max-latency-ms"])

    @contextlib.contextmanager
    def start(cpus: Sequence[int]) -> Iterator[Endpoint]:
        port = free_port()
        service = f"{BENTOML_SERVICE}:{setting['service']}"
        command = [python, "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]
        running = serving(
            command, cpus=cpus, port=port, path=PATH, ready="/readyz", environment={**_environment(), **tuned}
        )
        with running as endpoint:
            yield endpoint

    return Contender(name, start, is_full=status_200, body=_in_brackets if batching else _as_it_is)


def _options(setting: Setting) -> Iterator[str]:
    for name, value in setting.items():
        if value is True:
            yield f"--{name}"
        elif value is not False:
            yield f"--{name}={value}"


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return {**_ONE_THREAD, "PYTHONPATH": path, "BENTOML_DO_NOT_TRACK": "true"}


def _as_it_is(body: bytes) -> bytes:
    return body


def _in_brackets(body: bytes) -> bytes:
    """A batchable endpoint of BentoML takes a list of inputs."""
    return b"[" + body + b"]"
