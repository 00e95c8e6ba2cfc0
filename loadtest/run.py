"""Serve, load with headless locust, stop, and judge percentiles, failures and degraded lists.

The default load is 4 users of 25 requests a second each. On two cores locust takes about one of them and the service
the other, so this asks for a part of what the service can do: the latency is the service's and not a queue's. To find
the throughput instead, use ``loadtest.goodput``. ``--judge reports/loadtest-…`` judges the folder of a run again.
"""

from __future__ import annotations

import argparse
import math
import shlex
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from loadtest.requests.payloads import PAYLOAD_OPTIONS, add_payload_options, items_from, only_bundle
from loadtest.rig.catalogue import catalogue_of, serving_options
from loadtest.rig.contender import direct_session
from loadtest.rig.server import ServerError, running_server
from loadtest.rig.statistics import BUDGET_MS, Latency
from models.contract.manifest import EMBEDDED_BUNDLES

RECORD_FILE: Final = "record.json"
CSV_PREFIX: Final = "locust"
METRICS_FILE: Final = "metrics.txt"
HTML_FILE: Final = "report.html"
MAX_DEGRADED: Final = 0.01
LEAST_SHARE: Final = 0.95
"""Share of the requests to send that a run must have sent: a user waits for an answer, however long."""

_LOCUSTFILE: Final = Path(__file__).with_name("locustfile.py")
_HISTOGRAM: Final = "rerank_request_duration_seconds"


class Record(msgspec.Struct):
    """The locust file's record: response times, also of failures, and failures by fault.

    `asked` is how many requests the users had sent if no answer had been late; 0 in records of before it was kept.
    """

    response_times_ms: list[float]
    failures: dict[str, int]
    seconds: float
    asked: float = 0.0


@dataclass(frozen=True, slots=True)
class ServerView:
    """The service's histogram: requests per outcome and the share within the budget."""

    outcomes: Mapping[str, int]
    share_within_budget: float | None

    @property
    def degraded_share(self) -> float:
        """Return the share of degraded lists among all lists; 0 when there were none."""
        lists = self.outcomes.get("ok", 0) + self.outcomes.get("degraded", 0)
        return self.outcomes.get("degraded", 0) / lists if lists else 0.0


@dataclass(frozen=True, slots=True)
class LoadRun:
    """The figures of a run, with failures by fault; `server` may be missing."""

    latency: Latency
    requests_per_second: float
    failures: Mapping[str, int]
    server: ServerView | None
    asked: float = 0.0

    def faults(self, budget_ms: float) -> list[str]:
        """Name the reasons why the run fails its budget; none when it passes."""
        faults = [] if self.latency.within(budget_ms) else [f"p99 is {self.latency.p99:.2f} ms, over {budget_ms:g} ms"]
        if self.failures:
            faults.append(f"{sum(self.failures.values())} of {self.latency.requests} requests failed")
        if self.latency.requests < LEAST_SHARE * self.asked:
            faults.append(f"{self.latency.requests} of {self.asked:.0f} requests were sent: users waited for answers")
        if self.server and self.server.degraded_share > MAX_DEGRADED:
            faults.append(f"{self.server.degraded_share:.1%} of the lists are degraded, over {MAX_DEGRADED:.0%}")
        return faults


def read_run(folder: Path, *, budget_ms: float = BUDGET_MS) -> LoadRun:
    """Read the files of a run. Raises `ValueError` naming a missing or empty one."""
    path = folder / RECORD_FILE
    if not path.is_file():
        raise ValueError(f"{path}: is missing; did locust run to its end?")
    record = msgspec.json.decode(path.read_bytes(), type=Record)
    if not record.response_times_ms:
        raise ValueError(f"{path}: holds no response time, so not one request was sent")
    metrics = folder / METRICS_FILE
    return LoadRun(
        latency=Latency.of(record.response_times_ms),
        requests_per_second=len(record.response_times_ms) / record.seconds,
        failures=record.failures,
        server=server_view(metrics.read_text("utf-8"), budget_ms=budget_ms) if metrics.is_file() else None,
        asked=record.asked,
    )


def server_view(metrics: str, *, budget_ms: float) -> ServerView:
    """Read Prometheus text; without an edge at the budget, the share is None."""
    outcomes: dict[str, int] = {}
    within, edge = 0.0, False
    families = [f for f in text_string_to_metric_families(metrics) if f.name == _HISTOGRAM]
    for sample in (s for f in families for s in f.samples):
        outcome = sample.labels.get("outcome", "")
        if sample.name.endswith("_count") and sample.value:
            outcomes[outcome] = outcomes.get(outcome, 0) + int(sample.value)
        elif sample.name.endswith("_bucket") and math.isclose(float(sample.labels["le"]) * 1000, budget_ms):
            edge = True
            within += sample.value if outcome in ("ok", "degraded") else 0.0
    total = sum(outcomes.values())
    return ServerView(outcomes, within / total if edge and total else None)


def render(run: LoadRun, *, budget_ms: float) -> str:
    """Show the run as a few lines of text, the verdict last."""
    latency, failed = run.latency, sum(run.failures.values())
    lines = [
        f"requests   {latency.requests} at {run.requests_per_second:.1f}/s, {failed} failed",
        f"latency    p50 {latency.p50:.2f} ms   p95 {latency.p95:.2f} ms   p99 {latency.p99:.2f} ms"
        f"   worst {latency.worst:.2f} ms   (at the client)",
    ]
    if run.server:
        lines.append(f"server     {_outcomes(run.server)}")
    lines += [f"failure    {count} × {fault}" for fault, count in run.failures.items()]
    faults = run.faults(budget_ms)
    verdict = f"PASS: p99 is within {budget_ms:g} ms" if not faults else "FAIL: " + "; ".join(faults)
    return "\n".join([*lines, f"verdict    {verdict}"])


def _outcomes(server: ServerView) -> str:
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(server.outcomes.items()))
    share = server.share_within_budget
    return counts + ("" if share is None else f"; {share:.2%} answered with a list within the budget (at the server)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print; exit with 1 for a fail, 2 without a run."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        folder = options.judge or load(options)
        found = read_run(folder, budget_ms=options.budget_ms)
    except (ValueError, OSError, ServerError) as error:
        parser.exit(2, f"loadtest: {error}\n")
    print(render(found, budget_ms=options.budget_ms))
    print(f"report     {folder / HTML_FILE}")
    return 1 if found.faults(options.budget_ms) else 0


def load(options: Namespace) -> Path:
    """Serve, load, stop, and return the folder of all records. Raises `ValueError`, `ServerError`."""
    if not options.bundle and not options.lists:
        options.bundle = str(only_bundle(options.bundles))
    folder: Path = options.reports / time.strftime("loadtest-%Y%m%d-%H%M%S")
    folder.mkdir(parents=True)
    serve = [*serving_options(_catalogue(options)), *shlex.split(options.serve_options)]
    with running_server(options.bundles, options=serve, log=folder / "service.log") as server:
        rate = f"{options.users} users, {options.users * options.rate:g} requests/s in all"
        print(f"{rate}, for {options.seconds} s against {server.url} …", flush=True)
        _run_locust(_locust_command(options, server.url, folder), folder / "locust.log")
        with direct_session() as session:
            metrics = session.get(f"{server.url}/metrics", timeout=10)
        metrics.raise_for_status()
        (folder / METRICS_FILE).write_bytes(metrics.content)
    return folder


def _catalogue(options: Namespace) -> Path | None:
    """Build the catalogue that the requests need, if any. Raises `ValueError`."""
    if options.form != "catalogue":
        return None
    return catalogue_of(
        Path(options.bundle), items_from(options), seed=options.seed, embedding_width=options.embedding_width
    )


def _locust_command(options: Namespace, url: str, folder: Path) -> list[str]:
    payloads = [f"--{name}={getattr(options, name.replace('-', '_'))}" for name in PAYLOAD_OPTIONS]
    return [
        *(sys.executable, "-m", "locust", "--locustfile", str(_LOCUSTFILE), "--headless", "--only-summary"),
        *("--host", url, "--users", str(options.users), "--spawn-rate", str(options.spawn_rate)),
        *("--run-time", f"{options.seconds}s", "--stop-timeout", "5", "--exit-code-on-error", "0"),
        *("--html", str(folder / HTML_FILE), "--csv", str(folder / CSV_PREFIX)),
        *("--rate", str(options.rate), "--record", str(folder / RECORD_FILE), *payloads),
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
    parser.add_argument("--judge", type=Path, metavar="FOLDER", help="judge this run again instead")
    add_payload_options(parser)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
