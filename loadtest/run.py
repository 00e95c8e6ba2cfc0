"""Serve, load with headless locust, stop, and judge the percentiles against the budget.

The default load is 4 users of 25 requests a second each. On two cores locust takes about one of them and the service
the other, so this asks for a part of what the service can do: the latency is the service's and not a queue's. To find
the throughput instead, use ``loadtest.goodput``.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import requests

from loadtest import report
from loadtest.requests.payloads import PAYLOAD_OPTIONS, add_payload_options, only_bundle
from loadtest.rig.server import ServerError, running_server
from loadtest.rig.statistics import BUDGET_MS
from models.contract.manifest import EMBEDDED_BUNDLES

_LOCUSTFILE: Final = Path(__file__).with_name("locustfile.py")


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print; exit with 1 for a fail, 2 without a run."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        folder = load(options)
        run = report.read_run(folder, budget_ms=options.budget_ms)
    except (ValueError, OSError, ServerError) as error:
        parser.exit(2, f"loadtest: {error}\n")
    print(report.render(run, budget_ms=options.budget_ms))
    print(f"report     {folder / report.HTML_FILE}")
    return 1 if run.faults(options.budget_ms) else 0


def load(options: Namespace) -> Path:
    """Serve, load, stop, and return the folder of all records. Raises `ValueError`, `ServerError`."""
    if not options.bundle and not options.lists:
        options.bundle = str(only_bundle(options.bundles))
    folder: Path = options.reports / time.strftime("loadtest-%Y%m%d-%H%M%S")
    folder.mkdir(parents=True)
    with running_server(
        options.bundles, options=shlex.split(options.serve_options), log=folder / "service.log"
    ) as server:
        rate = options.users * options.rate
        print(
            f"{options.users} users, {rate:g} requests/s in all, for {options.seconds} s against {server.url} …",
            flush=True,
        )
        _run_locust(_locust_command(options, server.url, folder), folder / "locust.log")
        metrics = requests.get(f"{server.url}/metrics", timeout=10)
        metrics.raise_for_status()
        (folder / report.METRICS_FILE).write_bytes(metrics.content)
    return folder


def _locust_command(options: Namespace, url: str, folder: Path) -> list[str]:
    payloads = [f"--{name}={getattr(options, name.replace('-', '_'))}" for name in PAYLOAD_OPTIONS]
    return [
        *(sys.executable, "-m", "locust", "--locustfile", str(_LOCUSTFILE), "--headless", "--only-summary"),
        *("--host", url, "--users", str(options.users), "--spawn-rate", str(options.spawn_rate)),
        *("--run-time", f"{options.seconds}s", "--stop-timeout", "5", "--exit-code-on-error", "0"),
        *("--html", str(folder / report.HTML_FILE), "--csv", str(folder / report.CSV_PREFIX)),
        *("--rate", str(options.rate), "--record", str(folder / report.RECORD_FILE), *payloads),
    ]


def _run_locust(command: Sequence[str], log: Path) -> None:
    with log.open("wb") as output:
        status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    if status:
        tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])
        raise ValueError(f"locust ended with status {status}:\n{tail}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.run", description=__doc__)
    parser.add_argument("--bundles", type=Path, default=EMBEDDED_BUNDLES, help="folder of bundles (the embedded one)")
    parser.add_argument("--users", type=int, default=4, help="users, each with one request at a time (4)")
    parser.add_argument("--rate", type=float, default=25.0, help="requests a second of each user, at most (25)")
    parser.add_argument("--spawn-rate", type=float, default=4.0, help="users to start each second (4)")
    parser.add_argument("--seconds", type=int, default=60, help="length of the run (60)")
    parser.add_argument("--budget-ms", type=float, default=BUDGET_MS, help="p99 to keep (19)")
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="folder of the reports (reports)")
    parser.add_argument("--serve-options", default="", help="more options of `listwright serve`, as one argument")
    add_payload_options(parser)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
