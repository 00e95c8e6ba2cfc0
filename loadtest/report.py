"""Judge a load run by exact percentiles, failures and the server's own histogram.

``python -m loadtest.report reports/loadtest-…`` prints the verdict again for a folder of `loadtest.run`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from loadtest.rig.statistics import BUDGET_MS, Latency

RECORD_FILE: Final = "record.json"
CSV_PREFIX: Final = "locust"
METRICS_FILE: Final = "metrics.txt"
HTML_FILE: Final = "report.html"
MAX_DEGRADED: Final = 0.01

_HISTOGRAM: Final = "rerank_request_duration_seconds"


class Record(msgspec.Struct):
    """The locust file's record: response times, also of failures, and failures by fault."""

    response_times_ms: list[float]
    failures: dict[str, int]
    seconds: float


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

    def faults(self, budget_ms: float) -> list[str]:
        """Name the reasons why the run fails its budget; none when it passes."""
        faults = [] if self.latency.within(budget_ms) else [f"p99 is {self.latency.p99:.2f} ms, over {budget_ms:g} ms"]
        if self.failures:
            faults.append(f"{sum(self.failures.values())} of {self.latency.requests} requests failed")
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
        elif sample.name.endswith("_bucket") and _is_edge(sample.labels["le"], budget_ms):
            edge = True
            within += sample.value if outcome in ("ok", "degraded") else 0.0
    total = sum(outcomes.values())
    return ServerView(outcomes, within / total if edge and total else None)


def _is_edge(le: str, budget_ms: float) -> bool:
    return abs(float(le) * 1000 - budget_ms) < 1e-9


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
    """Print the verdict; exit with 1 for a fail, 2 without a run."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.report", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget-ms", type=float, default=BUDGET_MS, help="p99 to keep (19)")
    options = parser.parse_args(argv)
    try:
        run = read_run(options.folder, budget_ms=options.budget_ms)
    except (ValueError, OSError) as error:
        parser.exit(2, f"loadtest.report: {error}\n")
    print(render(run, budget_ms=options.budget_ms))
    return 1 if run.faults(options.budget_ms) else 0


if __name__ == "__main__":
    raise SystemExit(main())
