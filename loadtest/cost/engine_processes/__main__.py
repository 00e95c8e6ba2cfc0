"""Compare one process with workers that share an engine process, without a GPU.

The engine sleeps for 2.5 ms in each run, whatever the size of its batch, as a GPU would that has room for more. So what
is compared is how fast processes on the CPU can feed it. Layouts take turns in a closed loop; client and service share
all cores, and the client takes its part of them. Every answer is compared with the list that the engine makes of its
request. A ratio is the median over rounds of neighbours.

``--kill`` kills the engine process or a worker of the largest layout every so often under the same load. Lists of the
formula are expected then, and connections that end with their worker; lost and foreign answers, and statuses of
500 or more, are faults.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from loadtest.cost.engine_processes.contents import Contents, Expected
from loadtest.cost.engine_processes.serving import Kill, Killer, Round, Subjects, copy_without_rules
from loadtest.cost.engine_processes.sleeping import SECONDS
from loadtest.cost.scaling import Layout
from loadtest.requests.payloads import PayloadOptions, from_bundle, make_payloads, only_bundle
from loadtest.rig.batches import NO_BATCHES, Batches
from loadtest.rig.statistics import PairedRatio
from loadtest.rig.subject import Measured, counts, markdown, run_command
from models.contract.manifest import EMBEDDED_BUNDLES

HEAD: Final = (
    *("processes", "requests", "requests/s", "p50 ms", "p99 ms", "mean batch"),
    *("rate / one process (95%)", "connections of the busiest worker", "requests by size of their run"),
)
_LEAST_ROUNDS: Final = 3
_NOTICED_SECONDS: Final = 10.0
"""A connection that ends so long after a worker was killed ended with it: a busy machine tells the client late."""

Rounds = Mapping[Layout, Sequence[Round]]


def measure(options: argparse.Namespace) -> Measured:
    """Compare the layouts, or kill in the largest. Raises `ValueError` or `ServerError`."""
    layouts = [Layout(0, options.max_batch), *(Layout(n, options.max_batch) for n in options.workers)]
    with tempfile.TemporaryDirectory() as folder:
        subjects = _subjects(options, Path(folder))
        return _under_kills(subjects, layouts[-1], options) if options.kill else _compared(subjects, layouts, options)


def _subjects(options: argparse.Namespace, folder: Path) -> Subjects:
    if min(options.requests, options.in_flight, *options.workers) < 1:
        raise ValueError("--requests, --in-flight and --workers: must be at least 1")
    bundle = copy_without_rules(only_bundle(options.bundles), folder)
    # More than are in flight, so that no two of one list are there together.
    settings = PayloadOptions(count=4 * options.in_flight, sizes={options.candidates: 1.0}, seed=options.seed)
    payloads = make_payloads(from_bundle(bundle, seed=options.seed), settings)
    expected = Expected(bundle, payloads)
    return Subjects(folder, payloads, expected, options.in_flight, options.sleep_ms / 1e3, options.spoil)


def _compared(subjects: Subjects, layouts: Sequence[Layout], options: argparse.Namespace) -> Measured:
    """Load all layouts in turn until each has had its requests."""
    rounds: dict[Layout, list[Round]] = {layout: [] for layout in layouts}
    with ExitStack() as stack:
        servers = {layout: stack.enter_context(subjects.serving(layout)) for layout in layouts}
        for server in servers.values():
            subjects.load(server, options.seconds)
        turn = 0
        while turn < _LEAST_ROUNDS or min(map(_requests, rounds.values())) < options.requests:
            first = turn % len(layouts)  # Who comes first changes from round to round.
            for layout in (*layouts[first:], *layouts[:first]):
                rounds[layout].append(subjects.load(servers[layout], options.seconds))
            turn += 1
            print(f"round {turn}: {', '.join(f'{rounds[one][-1].rate:.0f}/s' for one in layouts)}", flush=True)
    faults = [f"{layout.name}: {fault}" for layout in layouts for fault in faults_of(_contents(rounds[layout]))]
    rows = [_row(layout, rounds) for layout in layouts]
    figures = {"rows": [_figures(layout, rounds) for layout in layouts], "missed": faults}
    verdict = f"verdict: {'; '.join(faults) or 'every answer is the list of its own request'}"
    return f"{markdown(HEAD, rows)}\n\n{verdict}", figures


def _requests(rounds: Iterable[Round]) -> int:
    return sum(one.contents.requests for one in rounds)


def _contents(rounds: Iterable[Round]) -> Contents:
    whole = Contents()
    for one in rounds:
        whole.merge(one.contents)
    return whole


def faults_of(found: Contents) -> list[str]:
    """Name what may not be where nothing was killed."""
    bad = {"swapped": found.swapped, "ended connections": found.cut, "degraded": found.degraded.total()}
    named = [f"{n} {what}" for what, n in bad.items() if n]
    named += [f"{n} answers of status {status}" for status, n in found.statuses.items() if status != 200]
    return named + [f"{n} × {fault}" for fault, n in found.faults.items()]


def _batches(rounds: Iterable[Round]) -> Batches:
    return sum((one.batches for one in rounds), NO_BATCHES)


def _ratio(layout: Layout, rounds: Rounds) -> PairedRatio:
    """Return the ratio of a layout's rates to those of one process."""
    (alone,) = (found for one, found in rounds.items() if not one.workers)
    return PairedRatio.of([one.rate for one in alone], [one.rate for one in rounds[layout]])


def _medians(rounds: Sequence[Round]) -> tuple[float, float, float]:
    """Return the medians over rounds of the rate, of p50 and of p99."""
    figures = [(one.rate, one.latency.p50, one.latency.p99) for one in rounds]
    rate, p50, p99 = (statistics.median(column) for column in zip(*figures, strict=True))
    return rate, p50, p99


def _row(layout: Layout, rounds: Rounds) -> tuple[object, ...]:
    found = rounds[layout]
    rate, p50, p99 = _medians(found)
    batches = _batches(found)
    ratio = str(_ratio(layout, rounds)) if layout.workers else "–"
    busiest = f"{statistics.median(one.busiest for one in found):.0%}"
    times = (f"{rate:.0f}", f"{p50:.1f}", f"{p99:.1f}", f"{batches.mean:.1f}")
    return (layout.name, _requests(found), *times, ratio, busiest, batches)


def _figures(layout: Layout, rounds: Rounds) -> dict[str, Any]:
    found = rounds[layout]
    rate, p50, p99 = _medians(found)
    return {
        "layout": layout.name,
        "options": layout.options,
        "rate": rate,
        "p50_ms": p50,
        "p99_ms": p99,
        "rates": [one.rate for one in found],
        "busiest_shares": [one.busiest for one in found],
        "ratio": asdict(_ratio(layout, rounds)),
        "batches": _batches(found).to_json(),
        "contents": _contents(found).to_json(),
    }


def _under_kills(subjects: Subjects, layout: Layout, options: argparse.Namespace) -> Measured:
    """Load one layout while processes are killed.

    It ends once that has had its requests, and both kinds of process have been killed.
    """
    whole, broken = Contents(), list[float]()
    with subjects.serving(layout) as server:
        killer = Killer(server, options.every, options.seed)
        with killer.at_work():
            while whole.requests < options.requests or not killer.has_killed_both:
                found, ended = subjects.load_under_kills(server, options.seconds)
                whole.merge(found)
                broken += ended
                print(f"{whole.requests} requests, {whole.full} full, {len(killer.kills)} kills", flush=True)
    faults = kill_faults(whole, killer.kills, broken, subjects.in_flight)
    killed = Counter(str(kill.kind) for kill in killer.kills)
    lines = [
        f"{layout.name}: {whole.requests} requests, {whole.full} with the engine's own list",
        f"killed with SIGKILL: {counts(killed)}",
        f"statuses: {counts({str(status): n for status, n in whole.statuses.items()})}",
        f"lists without the engine: {counts(whole.degraded)}",
        f"connections that ended with their worker: {whole.cut}",
        f"verdict: {'; '.join(faults) or 'none was lost or swapped'}",
    ]
    return "\n".join(lines), {"contents": whole.to_json(), "kills": [asdict(k) for k in killer.kills], "missed": faults}


def kill_faults(found: Contents, kills: Sequence[Kill], broken: Sequence[float], in_flight: int) -> list[str]:
    """Name what may not be under kills.

    A connection may end with the worker that held it, within a moment of its kill: at most all that there are. Every
    request ends so, or with a list.
    """
    named = [f"{n} × {fault}" for fault, n in found.faults.items()]
    named += [f"{n} answers of status {status}" for status, n in found.statuses.items() if status >= 500]
    if found.swapped:
        named.append(f"{found.swapped} swapped")
    if other := found.requests - found.full - found.swapped - found.cut - found.degraded.total():
        named.append(f"{other} of {found.requests} requests ended otherwise")
    workers = [kill.at for kill in kills if kill.kind == "worker"]
    alone = sum(1 for at in broken if not any(0 <= at - kill <= _NOTICED_SECONDS for kill in workers))
    if alone:
        named.append(f"{alone} connections ended though their worker was not killed")
    if found.cut > in_flight * len(workers):
        named.append(f"{found.cut} connections ended, more than {len(workers)} workers held")
    return named


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; exit with 1 for answers that may not be, 2 without figures."""
    parser = argparse.ArgumentParser("python -m loadtest.cost.engine_processes", description=__doc__)
    add = parser.add_argument
    add("--workers", type=_numbers, default=[1, 2, 4], help="numbers of workers beside one engine process (1,2,4)")
    add("--requests", type=int, default=10_000, help="least requests of each layout (10000)")
    add("--seconds", type=float, default=2.0, help="length of a window (2)")
    add("--in-flight", type=int, default=64, help="requests in flight, each on a connection of its own (64)")
    add("--max-batch", type=int, default=64, help="most requests of a run (64)")
    add("--sleep-ms", type=float, default=SECONDS * 1e3, help="time of a run (2.5)")
    add("--kill", action="store_true", help="kill processes of the last layout instead of comparing")
    add("--every", type=float, default=6.0, metavar="SECONDS", help="mean time between kills (6)")
    add("--bundles", type=Path, default=EMBEDDED_BUNDLES, help="folder of one bundle (the embedded one)")
    add("--candidates", type=int, default=100, help="candidates of a request (100)")
    add("--spoil", type=int, default=0, metavar="N", help="swap answers in N runs, to see that it is found (0: none)")
    add("--seed", type=int, default=0, help="seed of the requests and of the kills (0)")
    add("--json", "--out", type=Path, metavar="FILE", help="write the figures here too")
    return run_command(parser, argv, measure)


if __name__ == "__main__":
    raise SystemExit(main())
