"""Reloads and stops of a service under load: ``python -m loadtest.lifecycle --bundle FOLDER``.

Reloads: versions of one bundle take turns, each copied next to the last and asked for through the admin port, while
requests come in at a constant rate. Stops: a fresh service each time gets SIGTERM in the middle of the load.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from loadtest import processes
from loadtest.lifecycle_report import Lifecycle, Reloads, Stop, Stops, markdown, to_json
from loadtest.openloop.build import ClientUnavailable
from loadtest.openloop.client import ClientError, Load, closed_loop, running
from loadtest.openloop.contender import PATH, Endpoint
from loadtest.payloads import PayloadOptions, from_bundle, make_payloads
from loadtest.server import HOST, Server, ServerError, running_server
from loadtest.service_cost import Split
from models.files import write_json
from models.manifest import MANIFEST_FILE, Manifest

_STOP_AFTER: Final = 1.5
_STOP_WITHIN: Final = 30.0


def measure_reloads(options: argparse.Namespace, bodies: Sequence[bytes], split: Split) -> Reloads:
    """Reload `options.reloads` times, every `options.period` seconds, after `options.before` seconds without."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        shutil.copytree(options.bundle, source)
        root = Path(scratch) / "bundles"
        name = Manifest.read(options.bundle).name
        add_version(source, root / name, "1")
        with running_server(root, options=shlex.split(options.serve_options), cpus=split.server) as server:
            messages = _messages(server, bodies)
            closed_loop(server.port, messages, Load(seconds=2, connections=8, cpu=split.client[0]))
            seconds = options.before + options.reloads * options.period + 1.0
            load = Load(rate=options.rate, seconds=seconds, cpu=split.client[0], keep_bodies=True)
            spans = []
            with running(server.port, messages, load) as run:
                for i in range(options.reloads):
                    _sleep_until(run.start_ns / 1e9 + options.before + i * options.period)
                    version = str(i + 2)
                    add_version(source, root / name, version)
                    spans.append((time.monotonic(), _reload(server, name, version), time.monotonic()))
                window = run.window()
    return Reloads.of(window, spans, before=options.before)


def add_version(source: Path, folder: Path, version: str) -> None:
    """Put a copy of the bundle `source` at ``folder/version``, whole from the first moment that it is there."""
    partial = folder / f".{version}"
    shutil.copytree(source, partial)
    path = partial / MANIFEST_FILE
    table = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**table, "version": version}), "utf-8")
    partial.rename(folder / version)


def _reload(server: Server, name: str, version: str) -> str:
    """Ask for a version and return the one that is live then. Raises `OSError` if it is refused."""
    url = f"http://{HOST}:{server.announcement['admin_port']}/admin/v1/reload"
    body = json.dumps({"model": name, "version": version}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return str(json.load(response)["version"])


def measure_stops(options: argparse.Namespace, bodies: Sequence[bytes], split: Split, *, workers: int) -> Stops:
    """Stop `options.stops` services."""
    root = options.bundle.parents[1]
    serve = (*shlex.split(options.serve_options), "--workers", str(workers))
    return Stops(workers, [_stop(options, bodies, split, root, serve) for _ in range(options.stops)])


def _stop(options: argparse.Namespace, bodies: Sequence[bytes], split: Split, root: Path, serve: Sequence[str]) -> Stop:
    with running_server(root, options=serve, cpus=split.server) as server:
        messages = _messages(server, bodies)
        load = Load(rate=options.rate, seconds=2 * _STOP_AFTER, cpu=split.client[0])
        with running(server.port, messages, load) as run:
            _sleep_until(run.start_ns / 1e9 + _STOP_AFTER)
            told = time.monotonic()
            server.process.terminate()
            status = server.process.wait(_STOP_WITHIN)
            took = time.monotonic() - told
            left = len(processes.tree(server.pid))
            window = run.window()
    return Stop.of(window, told=told, seconds=took, status=status, left=left)


def _messages(server: Server, bodies: Sequence[bytes]) -> list[bytes]:
    endpoint = Endpoint(HOST, server.port, PATH, server.pid)
    return [endpoint.message(body) for body in bodies]


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def run(options: argparse.Namespace) -> Lifecycle:
    """Everything that was asked for. Raises `ValueError`, `OSError`, `ServerError` or `ClientError`."""
    settings = PayloadOptions(count=64, sizes={options.candidates: 1.0})
    bodies = [payload.body for payload in make_payloads(from_bundle(options.bundle, seed=options.seed), settings)]
    split = Split.of(os.sched_getaffinity(0), options.cpus)
    reloads = measure_reloads(options, bodies, split) if options.reloads else None
    stops = [measure_stops(options, bodies, split, workers=n) for n in options.workers] if options.stops else []
    return Lifecycle(options.rate, reloads, stops)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; the exit status is 0 whatever was reached, or 2 without a run."""
    parser = _parser()
    options = parser.parse_args(argv)
    processes.end_on_sigterm()
    try:
        measured = run(options)
    except (ValueError, OSError, ServerError, ClientError, ClientUnavailable) as error:
        parser.exit(2, f"loadtest.lifecycle: {error}\n")
    print(markdown(measured))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        write_json(options.out / "lifecycle.json", to_json(measured))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.lifecycle", description=__doc__)
    add = parser.add_argument
    add("--bundle", type=Path, default=Path("build/bench/bench/1"), help="bundle to serve (%(default)s)")
    add("--rate", type=float, default=300.0, help="requests/s; 70%% of the goodput is meant (%(default)s)")
    add("--reloads", type=int, default=20, help="how many (%(default)s)")
    add("--period", type=float, default=3.0, help="seconds from one reload to the next (%(default)s)")
    add("--before", type=float, default=10.0, help="seconds before the first (%(default)s)")
    add("--stops", type=int, default=20, help="how many, for each number of workers (%(default)s)")
    add("--workers", type=int, nargs="+", default=[1, 2], help="of the services that are stopped (%(default)s)")
    add("--candidates", type=int, default=100, help="candidates of a request (%(default)s)")
    add("--cpus", type=int, default=1, help="CPUs of the service (%(default)s)")
    add("--serve-options", default="", help="further options of `listwright serve`")
    add("--seed", type=int, default=0, help="of the requests (%(default)s)")
    add("--out", type=Path, help="write lifecycle.json into this folder")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
