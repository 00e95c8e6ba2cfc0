"""Make requests late, degraded, refused or wrong, and connections too many."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.alerts.live.fault import ROOMY, Fault, Stage, Watched
from loadtest.resilience.chaos.harness import UNSHED, payloads
from loadtest.resilience.chaos.steady import SteadyClient
from loadtest.resilience.chaos.traps import copy_as, garbage
from loadtest.resilience.chaos.watch import LIVE
from loadtest.resilience.chaos.wire import Wire, ask, head
from loadtest.rig.client import post_message
from loadtest.rig.server import HOST, poll, started
from models.contract.serving import SCENES_FILE

_BURNS: Final = ("Fast", "Slow", "Ticket")

WRONG_SCENES: Final = "[scenes.home]\ncolour = 1\n"
"""A file of scenes with a key that no scene has."""

_BROKEN_ID: Final = "break-me"

# Python imports a module of this name at its start, in workers too.
_BREAK: Final = f'''"""Let lists of one request id fail with an error that nothing expects."""

from service.ranking.rerank import Reranker

_sound = Reranker.rerank


async def _rerank(self, request, *arguments, **options):
    if request.request_id == "{_BROKEN_ID}":
        raise RuntimeError("made to fail")
    return await _sound(self, request, *arguments, **options)


Reranker.rerank = _rerank
'''


def quiet(stage: Stage) -> None:
    """Serve good requests without a fault."""
    with stage.serve(*ROOMY, patience=40.0) as watched:
        watched.until_firing()


def late(stage: Stage) -> None:
    """Give each list later than a budget that no list can keep."""
    with stage.serve("--deadline-mode", "observe", "--budget-ms", "1") as watched:
        watched.until_firing()


def degraded(stage: Stage) -> None:
    """Leave the model no time."""
    with stage.serve("--budget-ms", "2.2") as watched:
        watched.until_firing()


def refusing(stage: Stage) -> None:
    """Send more requests at once than there are places."""
    with (
        stage.serve(*UNSHED, "--max-in-flight", "1") as watched,
        SteadyClient(watched.service.port, payloads(candidates=200), 200.0),
    ):
        watched.until_firing()


def connections(stage: Stage) -> None:
    """Open more connections than are allowed, again and again."""
    with stage.serve(*ROOMY, "--max-connections", "20") as watched:
        watched.until_firing(lambda: _open_and_close(watched.service.port, 60))


def descriptors(stage: Stage) -> None:
    """Hold connections until few descriptors are left."""
    # At 64 left, connections are refused: of few descriptors that would be before the alert's share.
    with stage.serve(*ROOMY, prefix=("prlimit", "--nofile=512:512")) as watched, contextlib.ExitStack() as held:
        for _ in range(430):
            with contextlib.suppress(OSError):
                wire = held.enter_context(Wire(watched.service.port, 3.0))
                wire.send(LIVE)  # One that has asked nothing is closed after some seconds.
                wire.reply()
        watched.until_firing()


def _open_and_close(port: int, n: int) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(n):
            with contextlib.suppress(OSError):
                held.enter_context(Wire(port, 3.0))


def heads(stage: Stage) -> None:
    """Send heads that HTTP does not allow."""
    wrong = (head("GET", "/v1/models", "A B: 1"), head("GET", "/v1/models", f"X: {'a' * 200_000}"))
    with stage.serve(*ROOMY) as watched:
        watched.until_firing(lambda: [ask(watched.service.port, message) for message in wrong * 5])


def _breaking(folder: Path) -> Mapping[str, str]:
    modules = folder / "modules"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(_BREAK, "utf-8")
    found = (str(modules), str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH"))
    return {"PYTHONPATH": os.pathsep.join(filter(None, found))}


def errors(stage: Stage) -> None:
    """Let lists and batches fail with an error that nothing expects."""
    with stage.serve(*ROOMY, environment=_breaking(stage.trial.scratch)) as watched:
        watched.until_firing(lambda: _fail(watched))


def _fail(watched: Watched) -> None:
    watched.service.rerank(request_id=_BROKEN_ID)
    _send_batch(watched, request_id=_BROKEN_ID)


def _send_batch(watched: Watched, size: int = 8, **changes: str) -> None:
    body = {"requests": [{**json.loads(payload.body), **changes} for payload in payloads(count=size)]}
    message = post_message(json.dumps(body).encode()).replace(b"/v1/rerank ", b"/v1/rerank/batch ", 1)
    with contextlib.suppress(OSError):
        ask(watched.service.port, message, timeout=20)


def batches(stage: Stage) -> None:
    """Send batches while single requests hold every place."""
    with (
        stage.serve(*UNSHED, "--max-in-flight", "2") as watched,
        SteadyClient(watched.service.port, payloads(candidates=200), 200.0),
    ):
        watched.until_firing(lambda: _send_batch(watched, 32))


def ended(stage: Stage) -> None:
    """End the only process."""
    with stage.serve() as watched:
        os.kill(watched.service.server.pid, signal.SIGTERM)
        watched.until_firing()


def without_model(stage: Stage) -> None:
    """Start with a bundle that is refused, and no other."""
    folder = stage.trial.scratch / "bundles"
    garbage(copy_as(folder, "demo", "1"))
    _start_not_ready(stage, folder)


def without_scenes(stage: Stage) -> None:
    """Start with a sound bundle, and a file of scenes that is refused."""
    folder = stage.trial.scratch / "bundles"
    copy_as(folder, "demo", "1")
    (folder / SCENES_FILE).write_text(WRONG_SCENES, "utf-8")
    _start_not_ready(stage, folder)


def _start_not_ready(stage: Stage, folder: Path) -> None:
    """Start a service that will not be ready, so no client asks it."""
    ports = ("--host", HOST, "--port", "0", "--admin-port", "0")
    command = (sys.executable, "-m", "models.cli", "serve", *ports, "--bundles", str(folder))
    out, log = stage.trial.scratch / "out", stage.trial.scratch / "log"
    with started(command, out, log, cpus=(), environment=None) as process:
        said = poll(process, log, lambda: out.read_text("utf-8").partition("\n")[0], "did not say where it listens")
        with stage.scraping(int(json.loads(said)["port"])) as prometheus:
            stage.watch(prometheus, lambda: None)


FAULTS: Final = (
    Fault(name="quiet", alerts=(), how="good requests and no fault, for 40 s: nothing may fire", act=quiet),
    Fault(
        name="late",
        alerts=(*(f"RerankLatencyBurn{burn}" for burn in _BURNS), "RerankP99OverBudget"),
        how="`--budget-ms 1 --deadline-mode observe`: every list is late",
        act=late,
    ),
    Fault(
        name="degraded",
        alerts=tuple(f"RerankDegradedBurn{burn}" for burn in _BURNS),
        how="`--budget-ms 2.2`: no time for the model",
        act=degraded,
    ),
    Fault(
        name="refusing",
        alerts=("RerankRefusing",),
        how="200 requests/s of 200 candidates with `--max-in-flight 1`",
        act=refusing,
    ),
    Fault(
        name="connections",
        alerts=("RerankConnectionsRefused",),
        how="60 connections again and again with `--max-connections 20`",
        act=connections,
    ),
    Fault(
        name="descriptors",
        alerts=("RerankDescriptorsShort",),
        how="430 connections held with a limit of 512 open files",
        act=descriptors,
    ),
    Fault(
        name="heads",
        alerts=("RerankHeadsRefused",),
        how="heads with a blank in a field's name, and of 200 kB",
        act=heads,
    ),
    Fault(
        name="errors",
        alerts=("RerankInternalErrors", "RerankBatchErrors"),
        how="the function that makes lists replaced by one that raises",
        act=errors,
    ),
    Fault(
        name="batches",
        alerts=("RerankBatchesRefused",),
        how="batches of 32 beside 200 requests/s with `--max-in-flight 2`",
        act=batches,
    ),
    Fault(name="ended", alerts=("RerankAllDown", "RerankDown"), how="SIGTERM to the only process", act=ended),
    Fault(
        name="without-model",
        alerts=("RerankNoneReady", "RerankNotReady", "RerankBundleRefused"),
        how="a start with one bundle, whose model is garbage",
        act=without_model,
    ),
    Fault(
        name="without-scenes",
        alerts=("RerankNoneReady", "RerankNotReady", "RerankScenesRefused"),
        how="a start with a sound bundle and `colour = 1` in `scenes.toml`",
        act=without_scenes,
    ),
)
