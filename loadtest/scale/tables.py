"""Write the plan as Markdown tables, which docs/scale.md holds word for word."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from loadtest.scale import figures as f
from loadtest.scale import offline, online
from loadtest.scale.demand import HOUR, Demand
from loadtest.scale.markdown import number, size, table, time
from loadtest.scale.simulate import Bursts, Setup, simulate

GROWTH: Final = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"""Times the demand."""
LOADS: Final = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
"""Shares of a host's rate that are simulated."""
BURST_LOADS: Final = (0.4, 0.5, 0.6, 0.7, 0.8)
EXPONENTS: Final = (0.6, 0.8, 1.0, 1.2)
"""Of Zipf's law of items in requests."""
_BURST_SECONDS: Final = 8.0
_BALANCER_THREADS: Final = 64


def _hosts(found: online.Fleet, demand: Demand) -> str:
    busy = found.load(demand.requests_per_second, found.hosts)
    return f"{number(found.hosts)}: {number(found.each_zone)} a zone, {busy:.0%} busy with all zones"


def machines(demand: Demand) -> str:
    """Return the table of machines that answer."""
    gpu, cores = online.gpu_fleet(demand), demand.cores_per_gpu
    workers = gpu.hosts * (cores - 1)
    body, short = f.REQUEST_BYTES, f.SHORT_REQUEST_BYTES
    beside, even = online.gpu_fleet(demand, beside=True), online.break_even_us(demand)
    rows = [
        ("lists/s of an engine, batches of 64", number(online.engine_rate()), "line through the runs on an H200"),
        (
            "the same with its hand-over",
            number(online.engine_rate(demand.engine_hand_over_us)),
            f"{number(demand.engine_hand_over_us)} µs a list, nothing overlaps",
        ),
        (
            "the same, hand-over beside the runs",
            number(online.engine_rate_beside(demand)),
            "all overlaps; Python is one core's",
        ),
        (
            "requests/s of an HTTP worker",
            number(1 / online.worker_seconds(demand.worker_hand_over_us)),
            f"of one core, with {number(demand.worker_hand_over_us)} µs of hand-over",
        ),
        ("HTTP workers that keep an engine busy", number(online.workers_per_gpu(demand)), "with the hand-over"),
        (f"**hosts of a GPU and {cores} cores**", _hosts(gpu, demand), f"{number(gpu.host_rate)} requests/s each"),
        ("HTTP workers on them", number(workers), f"{cores - 1} a host, one core is the engine's"),
        (
            "the same hosts, hand-over beside the runs",
            _hosts(beside, demand),
            f"{number(beside.host_rate)} requests/s each",
        ),
        (f"or hosts of {cores} cores, no GPU", _hosts(online.cpu_fleet(demand), demand), "two cores a process"),
        (
            "hand-over in the engine process at which a GPU saves no host",
            f"{number(even)} µs" if even > 0 else "none",
            f"{number(even / f.HOST_SPEED.value)} µs where it was measured" if even > 0 else "hosts without are faster",
        ),
        (
            "or shared cores at half speed",
            _hosts(online.weak_core_fleet(demand), demand),
            "one worker each, of its goodput",
        ),
        ("network, objects", f"{number(online.gbit(demand, body))} Gbit/s", "requests and answers"),
        ("network, columns and a catalogue", f"{number(online.gbit(demand, short))} Gbit/s", "requests and answers"),
        ("load balancers, objects", _hosts(online.balancers(demand, body), demand), "cited; no TLS"),
        ("load balancers, columns", _hosts(online.balancers(demand, short), demand), "cited; no TLS"),
        ("requests in progress, most", number(demand.requests_per_second * f.BUDGET.value * 1e-3), "rate × budget"),
        (
            "connections to a worker, one from each thread of each balancer",
            number(online.balancers(demand, body).hosts * _BALANCER_THREADS),
            "4,096 idle ones take [36 MiB](operations.md#connections)",
        ),
    ]
    return table(("", "number", "how"), rows)


def state(demand: Demand) -> str:
    """Return the table of catalogue, live values and telemetry."""
    hosts = online.gpu_fleet(demand).hosts
    workers = hosts * (demand.cores_per_gpu - 1)
    items, values = online.catalogue(demand, hosts), online.live(demand, workers)
    told = online.telemetry(demand, hosts)
    memory = 2 * items.size + demand.cores_per_gpu * f.PROCESS_BYTES.value
    kept = f"{number(values.kept)} of at most {number(f.LIVE_KEPT.value)}"
    rows = [
        (
            "catalogue, on disk and mapped on each host",
            size(items.size),
            f"{number(f.CATALOGUE_BYTES.value)} B an item",
        ),
        ("memory of a host while versions change", size(memory), "two versions, and a process a core"),
        ("build", f"{time(items.build)}, {size(items.build_memory)} of memory", "one core, scaled from a million"),
        ("copy to a host", time(items.copy), f"{number(demand.host_gbit)} Gbit/s, nothing else on it"),
        ("checksums on a host", time(items.checks), "by `fetch` and by the service, one core"),
        ("read from the store in a rollout", size(items.rollout), "each host reads all"),
        ("live values asked for", f"{number(values.asked)}/s", f"{demand.live_fields} fields"),
        ("live values kept by a worker", kept, f"popularity by Zipf's law, {demand.popularity:g}"),
        ("live values asked of Redis", f"{number(values.missed)}/s", f"each is kept for {number(values.kept_for)} s"),
        (
            "copies of Redis, one core each",
            number(values.copies),
            f"{f.REDIS_VALUE.value:g} µs a value, at {demand.utilisation:.0%} without a zone",
        ),
        ("memory of each of them", size(values.memory), "one hash a field: no cluster divides it"),
        ("series of metrics, one bundle", number(told.series), "one scrape a host"),
        (
            "samples",
            f"{number(told.samples_per_second)}/s, {size(told.sample_bytes_per_day)} a day",
            f"every {number(f.SCRAPE_EVERY.value)} s",
        ),
        (
            "log",
            f"{number(told.log_lines_per_second)} lines/s, {size(told.log_bytes_per_day)} a day",
            f"{f.LOG_SHARE.value:.0%} of requests",
        ),
        (
            "spans",
            f"{number(told.spans_per_second)}/s, {number(told.trace_cores)} cores to export them",
            f"{f.TRACE_SHARE.value:.0%} of requests",
        ),
    ]
    return table(("", "number", "how"), rows)


def popularity(demand: Demand) -> str:
    """Return what live values take where items are more or less alike."""
    workers = online.gpu_fleet(demand).hosts * (demand.cores_per_gpu - 1)
    rows = []
    for exponent in EXPONENTS:
        found = online.live(replace(demand, popularity=exponent), workers)
        share = found.missed / found.asked if found.asked else 0.0
        row = (f"{share:.0%}", number(found.kept), f"{found.kept_for:.1f}", number(found.copies))
        rows.append((f"{exponent:g}", *row))
    head = ("exponent of Zipf's law", "asked of Redis", "kept by a worker", "each for s", "copies of Redis")
    return table(head, rows)


def learning(demand: Demand) -> str:
    """Return the table of lists, training and mining."""
    few, many = offline.lists(demand, f.LIST_BYTES), offline.lists(demand, f.LONG_LIST_BYTES)
    once, month = offline.training(demand), offline.training(replace(demand, retraining_lists=demand.lists_per_month))
    deep, quick = offline.mining(demand, f.MINE), offline.mining(demand, f.MINE_BEAM)
    kept = f"{number(demand.months_kept)} months kept: {size(many.bytes_kept)}"
    rows = [
        ("lists", f"{number(few.per_second)}/s", f"{number(100 * few.share)}% of the requests, if they came evenly"),
        ("on disk, 20 candidates", f"{size(few.bytes_a_month)} a month", f"{size(few.bytes_per_second)}/s"),
        ("on disk, 100 candidates", f"{size(many.bytes_a_month)} a month", kept),
        ("**a retraining**", f"{number(demand.trained)} lists", f"one epoch, within {number(demand.hours)} h"),
        (
            "CPU in one process",
            f"{number(once.cpu / HOUR)} core-hours",
            f"{number(1e6 / f.TRAIN.value)} lists/s of a core",
        ),
        (
            "each process reads and encodes",
            time(once.each_reads),
            f"all lists, at {number(1e6 / f.ENCODE.value)} lists/s",
        ),
        ("processes", _processes(once.processes), "so that the rest fits into the window"),
        (
            "CPU of all of them",
            _or_none(once.cpu_of_all, lambda v: f"{number(v / HOUR)} core-hours"),
            "with what each reads",
        ),
        (
            "arrays in the run folder",
            _or_none(once.arrays, size),
            f"{number(f.ARRAY_BYTES.value)} B a list and process",
        ),
        ("most lists in the window", number(once.most), "then reading alone fills it"),
        ("processes for all lists of a month", _processes(month.processes), f"each reads {time(month.each_reads)}"),
        (
            "**mining, beam of 8 and local search**",
            f"{number(deep.cpu / HOUR)} core-hours",
            f"{number(f.MINE.value)} requests/s of a process",
        ),
        ("actors of Ray, one core each", number(deep.actors), f"{number(demand.mined)} requests"),
        (
            "mining, beam of 8 alone",
            f"{number(quick.cpu / HOUR)} core-hours",
            f"{number(f.MINE_BEAM.value)} requests/s: {number(quick.actors)} actors",
        ),
        ("the command that lays out requests", time(deep.lays), "one process, before the last shard"),
    ]
    return table(("", "number", "how"), rows)


def _processes(count: int | None) -> str:
    return "no number is enough" if count is None else number(count)


def _or_none(value: float | None, write: Callable[[float], str]) -> str:
    return "–" if value is None else write(value)


def growth(demand: Demand) -> str:
    """Return what grows with requests, items and lists together."""
    rows = []
    for factor in GROWTH:
        at = replace(
            demand,
            requests_per_second=max(1.0, demand.requests_per_second * factor),
            items=max(1.0, demand.items * factor),
            lists_per_month=max(1.0, demand.lists_per_month * factor),
        )
        hosts = online.gpu_fleet(at).hosts
        items = online.catalogue(at, hosts)
        values = online.live(at, hosts * (at.cores_per_gpu - 1))
        rows.append(
            (
                f"{number(at.requests_per_second)} · {number(at.items)} · {number(at.lists_per_month)}",
                number(hosts),
                number(online.balancers(at, f.REQUEST_BYTES).hosts),
                size(items.size),
                time(items.copy + items.checks),
                size(items.rollout),
                number(values.copies),
                size(values.memory),
                _processes(offline.training(at).processes),
            )
        )
    head = ("requests/s · items · lists a month", "GPU hosts", "balancers", "catalogue", "copy and checks of a host")
    return table((*head, "read in a rollout", "copies of Redis", "memory of each", "training processes"), rows)


def simulated(demand: Demand) -> str:
    """Return what the simulation of one host gives at each load, with and without bursts."""
    python, host = online.worker_seconds(demand.worker_hand_over_us), online.gpu_fleet(demand)
    setup = Setup(
        workers=demand.cores_per_gpu - 1,
        before=python * f.BEFORE_ENGINE.value,
        after=python * (1 - f.BEFORE_ENGINE.value),
        run=online.gpu_run(demand.engine_hand_over_us),
    )
    rows = []
    for bursts, seconds, loads in ((None, 2.0, LOADS), (Bursts(), _BURST_SECONDS, BURST_LOADS)):
        for load in loads:
            found = simulate(setup, load * host.host_rate, bursts=bursts, seconds=seconds)
            times = (found.p50, found.p99, found.wait_mean, found.wait_p99)
            rows.append(
                (
                    f"{load:.0%}" + ("" if bursts is None else ", bursts"),
                    number(load * host.host_rate),
                    *(f"{1e3 * value:.1f}" for value in times),
                    f"{found.late:.2%}",
                    f"{found.batch:.0f}",
                    f"{found.seen:.0f}",
                )
            )
    head = ("load of the host", "requests/s", "p50 ms", "p99 ms", "mean wait ms", "p99 wait ms", "over 19 ms")
    return table((*head, "mean batch of runs", "of requests"), rows)


def sources(_: Demand) -> str:
    """Return every figure with its kind and place."""
    rows = [
        (figure.name, f"{number(figure.value)} {figure.unit}".strip(), figure.kind, _place(figure.place))
        for figure in f.all_figures()
    ]
    return table(("figure", "value", "kind", "place"), rows)


def _place(place: str) -> str:
    """Write a place as a link, a file as code, a reason as text."""
    if place.startswith("https:"):
        return f"[{place.split('/')[2]}]({place})"
    if " " in place or "." not in place:
        return place
    path, mark, anchor = place.partition("#")
    if path == "docs/scale.md":
        return f"[below](#{anchor})"
    link = path.removeprefix("docs/")
    return f"[{link}]({link}{mark}{anchor})" if path.startswith("docs/") else f"`{path}`"


TABLES: Final[Mapping[str, Callable[[Demand], str]]] = {
    "machines": machines,
    "state": state,
    "popularity": popularity,
    "learning": learning,
    "growth": growth,
    "simulated": simulated,
    "sources": sources,
}
"""Name to table, as docs/scale.md marks them."""
