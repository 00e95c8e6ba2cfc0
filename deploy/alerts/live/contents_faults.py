"""Break files, models, fields, catalogues, live values and the export of traces."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from deploy.alerts.live.fault import PATIENCE, ROOMY, Fault, Stage, Watched, scratch
from deploy.alerts.live.requests_faults import WRONG_SCENES
from loadtest.requests.fake import FakeItems
from loadtest.requests.items import all_items, build_for
from loadtest.resilience.chaos.harness import demo_folder
from loadtest.resilience.chaos.scenario import Skipped
from loadtest.resilience.chaos.traps import TRIGGERS, copy_as, garbage, nonsense
from loadtest.rig.server import HOST, started
from models.contract.catalogue.manifest import CATALOGUE_FILE
from models.contract.manifest import DEMO_BUNDLE, MANIFEST_FILE, Manifest
from models.contract.serving import SCENES_FILE
from models.files import write_json

_ITEMS: Final = 200
_BASELINE: Final = 65.0
"""Seconds with what is normal: the shortened windows compare with 30 s that ended 30 s ago."""


def _hangup(watched: Watched) -> None:
    os.kill(watched.service.server.pid, signal.SIGHUP)


def bundle(stage: Stage) -> None:
    """Put a version whose model is garbage beside a sound one."""
    with stage.serve(*ROOMY) as watched:
        garbage(copy_as(watched.service.bundles, "demo", "2"))
        watched.service.reload("2")
        _hangup(watched)
        watched.until_firing()


def scenes(stage: Stage) -> None:
    """Write a file of scenes with a key that no scene has."""
    with stage.serve(*ROOMY) as watched:
        (watched.service.bundles / SCENES_FILE).write_text(WRONG_SCENES, "utf-8")
        _hangup(watched)
        watched.until_firing()


def _key_file(stage: Stage, *names: str) -> Path:
    """Write a file with a key of each name."""
    file = stage.trial.scratch / "keys.toml"
    file.touch(0o600)
    file.write_text("".join(f'[[keys]]\nname = "{name}"\nkey = "{_key(name)}"\n' for name in names), "utf-8")
    return file


def _key(name: str) -> str:
    return f"a-long-key-of-the-{name}"


def locked_out(stage: Stage) -> None:
    """Remove a client's key, with which it goes on; the steady client has none."""
    file = _key_file(stage, "shop", "other")
    with stage.serve(*ROOMY, "--api-keys-file", str(file)) as watched:
        service = watched.service
        service.session.headers["Authorization"] = f"Bearer {_key('shop')}"
        _repeat(service.rerank, _BASELINE)
        _key_file(stage, "other")
        _hangup(watched)
        watched.until_firing(lambda: [service.rerank() for _ in range(10)])


def refused_keys(stage: Stage) -> None:
    """Empty the file of keys."""
    file = _key_file(stage, "shop")
    with stage.serve(*ROOMY, "--api-keys-file", str(file)) as watched:
        file.write_text("", "utf-8")
        _hangup(watched)
        watched.until_firing()


def _catalogue(root: Path) -> Path:
    spec = Manifest.read(DEMO_BUNDLE).spec
    return build_for(all_items(FakeItems(spec, _ITEMS, seed=1)), spec, root)


def catalogue(stage: Stage) -> None:
    """Publish a version of the catalogue that is not whole."""
    root = stage.trial.scratch / "catalogue"
    sound = _catalogue(root)
    with stage.serve(*ROOMY, "--catalogue", str(root)) as watched:
        broken = sound.with_name("99999999")
        shutil.copytree(sound, broken)
        next(broken.rglob("rows.npy")).write_bytes(b"garbage")
        (broken / CATALOGUE_FILE).write_text("{}", "utf-8")
        _hangup(watched)
        watched.until_firing()


def old_catalogue(stage: Stage) -> None:
    """Serve a catalogue whose description says that it is of last year."""
    root = stage.trial.scratch / "catalogue"
    file = _catalogue(root) / CATALOGUE_FILE
    table = json.loads(file.read_text("utf-8"))
    table["provenance"]["at"] = "2025-01-01T00:00:00+00:00"
    write_json(file, table)
    with stage.serve(*ROOMY, "--catalogue", str(root)) as watched:
        watched.until_firing()


def model_errors(stage: Stage) -> None:
    """Send requests at which the model answers NaN."""
    folder = stage.trial.scratch / "bundles"
    nonsense(copy_as(folder, "demo", "1"))
    with stage.serve(*ROOMY, bundles=folder) as watched:
        watched.until_firing(lambda: watched.service.rerank(diversity={"lambda": TRIGGERS["value"]}))


def shadow(stage: Stage) -> None:
    """Compare with a bundle whose defaults ask for variety alone."""
    folder = demo_folder(stage.trial.scratch / "bundles")
    manifest = copy_as(folder, "other", "1") / MANIFEST_FILE
    table = json.loads(manifest.read_text("utf-8"))
    table["diversity"] = {"trade_off": 0.0, "window": 10}
    write_json(manifest, table)
    options = ("--default-model", "demo", "--shadow", "other", "--shadow-share", "1")
    with stage.serve(*ROOMY, *options, bundles=folder) as watched:
        watched.until_firing()


def _repeat(act: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        act()


def field_lost(stage: Stage) -> None:
    """Send a field of users as before, and then under another name."""
    # The steady client goes on sending the field, so it must be slow beside these.
    with stage.serve(*ROOMY, rate=0.1) as watched:
        service = watched.service
        _repeat(lambda: service.rerank(user={"favourite": "c1", "thrift": 0.4}), _BASELINE)
        watched.until_firing(lambda: [service.rerank(user={"favorite": "c1", "thrift": 0.4}) for _ in range(10)])


def items_unknown(stage: Stage) -> None:
    """Send candidates that the catalogue knows, and then those of another shop."""
    root = stage.trial.scratch / "catalogue"
    _catalogue(root)
    known = [str(item["id"]) for item in all_items(FakeItems(Manifest.read(DEMO_BUNDLE).spec, _ITEMS, seed=1))]

    def ask(watched: Watched, ids: list[str]) -> None:
        scores = {"ctr": 0.1, "cvr": 0.2}
        watched.service.rerank(candidates=[{"id": name, "scores": scores} for name in ids])

    # The steady client knows nothing of the catalogue.
    with stage.serve(*ROOMY, "--catalogue", str(root), rate=0.1) as watched:
        _repeat(lambda: ask(watched, known[:20]), _BASELINE)
        watched.until_firing(lambda: _repeat(lambda: ask(watched, [f"other-{n}" for n in range(20)]), 0.5))


@contextlib.contextmanager
def _redis(stage: Stage) -> Iterator[int]:
    program = shutil.which("redis-server")
    if program is None:
        raise Skipped("needs redis-server (apt-get install redis-server)")
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    folder = scratch(stage.trial.scratch, "redis")
    command = (program, "--port", str(port), "--bind", HOST, "--save", "", "--dir", str(folder))
    with started(command, folder / "log", None, cpus=(), environment=None) as process:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
                break
        yield port


def _say(port: int, *words: str) -> None:
    """Send one command to Redis in its own protocol."""
    parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
    with socket.create_connection((HOST, port), 5) as link:
        link.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
        link.recv(1024)


def _live(port: int) -> tuple[str, ...]:
    return (
        *ROOMY,
        "--catalogue-live",
        f"redis://{HOST}:{port}/0",
        "--catalogue-live-ttl-seconds",
        "0.1",
        "--catalogue-live-ms",
        "500",
    )


def _bare(watched: Watched, *ids: str) -> Any:
    return watched.service.rerank(candidates=[{"id": name, "scores": {"ctr": 0.1, "cvr": 0.2}} for name in ids])


def live_missing(stage: Stage) -> None:
    """Point the service at a Redis that nobody answers for."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))  # It does not listen, so a connection is refused.
        with stage.serve(*_live(int(taken.getsockname()[1]))) as watched:
            watched.until_firing(lambda: [_bare(watched, "a", "b", "c") for _ in range(5)])


def live_refused(stage: Stage) -> None:
    """Write prices that are no numbers."""
    with _redis(stage) as port:
        ids = [f"item-{n}" for n in range(20)]
        _say(port, "HSET", "listwright:price", *(word for name in ids for word in (name, "cheap")))
        with stage.serve(*_live(port)) as watched:
            watched.until_firing(lambda: [_bare(watched, *ids) for _ in range(5)])


def spans(stage: Stage) -> None:
    """Export traces to a port on which no collector listens."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        url = f"http://{HOST}:{taken.getsockname()[1]}"
        with stage.serve(*ROOMY, "--otlp-endpoint", url, "--trace-share", "1") as watched:
            watched.until_firing()


def _fault(act: Callable[[Stage], None], name: str, how: str, *alerts: str) -> Fault:
    return Fault(name=name, alerts=alerts, how=how, act=act)


FAULTS: Final = (
    _fault(
        bundle,
        "bundle",
        "a version whose model is garbage; a reload of it, then SIGHUP",
        "RerankReloadRefused",
        "RerankBundleRefused",
    ),
    _fault(scenes, "scenes", "`colour = 1` in `scenes.toml`, then SIGHUP", "RerankScenesRefused"),
    _fault(
        locked_out,
        "locked-out",
        "a client's key removed from the file of keys, then SIGHUP; another client without a key",
        "RerankAuthFailures",
        "RerankClientsLockedOut",
    ),
    _fault(refused_keys, "refused-keys", "the file of keys emptied, then SIGHUP", "RerankKeysRefused"),
    _fault(catalogue, "catalogue", "a newer catalogue with garbage in it, then SIGHUP", "RerankCatalogueRefused"),
    _fault(old_catalogue, "old-catalogue", "a catalogue whose `catalogue.json` is of last year", "RerankCatalogueOld"),
    _fault(model_errors, "model-errors", "a graph that answers NaN at one λ", "RerankModelErrors"),
    _fault(shadow, "shadow", "a shadow whose defaults ask for variety alone (λ = 0)", "RerankShadowDisagrees"),
    _fault(field_lost, "field-lost", "`favourite` of users becomes `favorite`", "RerankFieldLost"),
    _fault(items_unknown, "items-unknown", "candidates of another shop", "RerankItemsUnknown"),
    _fault(live_missing, "live-missing", "no Redis at the address", "RerankLiveValuesMissing"),
    _fault(live_refused, "live-refused", "prices that are no numbers in a real Redis", "RerankLiveValuesRefused"),
    _fault(spans, "spans", "no collector at the address, `--trace-share 1`", "RerankSpansLost"),
)
