"""Serve at 70% of the goodput for a long time, and look for leaks.

One service with one process, then one with two workers, each for --minutes. Requests have mixed sizes, and there are
reloads and scrapes. Unless --rate names it, the goodput is searched first. Memory is the sum over the service's
processes; its growth is the slope of a straight line through it after a warm-up, without the seconds of reloads, in
which a bundle is tried in a process of its own. The exit status is 1 if a target is missed, and 2 without figures.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import psutil
import requests

from loadtest.requests.payloads import parse_mix
from loadtest.resilience.lifecycle import two_versions
from loadtest.resilience.soak_figures import Sample, Soaked, figures, judge
from loadtest.rig.contender import direct_session
from loadtest.rig.goodput import Rules
from loadtest.rig.openloop.client import running
from loadtest.rig.server import RELOAD_TIMEOUT, Server, ServerError, on_cpus, tree
from loadtest.rig.subject import (
    Measured,
    Subject,
    checks_table,
    command_parser,
    missed,
    run_command,
    search_goodput,
    subject_from,
)

SHARE: Final = 0.7
_SAMPLE_SECONDS: Final = 1.0
_AFTER_RELOAD: Final = 3.0
_MIB: Final = 2.0**20


class Companions:
    """Sample, scrape and reload beside the load, each on its own thread."""

    def __init__(self, server: Server, name: str, versions: Sequence[str], options: argparse.Namespace) -> None:
        self.samples: list[Sample] = []
        self.reloads: Counter[str] = Counter()
        self.scrapes: Counter[str] = Counter()
        self.slowest_scrape_ms = 0.0
        self._server = server
        self._orders = [{"model": name, "version": version} for version in versions]
        self._options = options
        self._begin = time.monotonic()
        self._reloading_until = 0.0
        self._stop = threading.Event()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Work while the context lasts."""
        every = (
            (self._sample, _SAMPLE_SECONDS),
            (self._scrape, self._options.scrape_seconds),
            (self._reload, self._options.reload_minutes * 60),
        )
        threads = [threading.Thread(target=self._repeat, args=pair, name=pair[0].__name__) for pair in every]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _repeat(self, act: Callable[[], None], seconds: float) -> None:
        while not self._stop.wait(seconds):
            act()

    def _sample(self) -> None:
        second = time.monotonic() - self._begin
        self.samples.append(sample(self._server.pid, second, steady=time.monotonic() > self._reloading_until))

    def _scrape(self) -> None:
        began = time.monotonic()
        with direct_session() as session:
            self.scrapes[_result(lambda: session.get(f"{self._server.url}/metrics", timeout=30))] += 1
        self.slowest_scrape_ms = max(self.slowest_scrape_ms, (time.monotonic() - began) * 1e3)

    def _reload(self) -> None:
        self._reloading_until = float("inf")
        order = self._orders[sum(self.reloads.values()) % 2]
        with direct_session() as session:
            url = self._server.reload_url
            self.reloads[_result(lambda: session.post(url, json=order, timeout=RELOAD_TIMEOUT))] += 1
        self._reloading_until = time.monotonic() + _AFTER_RELOAD


def _result(send: Callable[[], requests.Response]) -> str:
    try:
        return f"status {send().status_code}"
    except requests.RequestException as error:
        return type(error).__name__


def sample(root: int, second: float, *, steady: bool) -> Sample:
    """Look at a service's processes now; one that ends meanwhile does not count."""
    found = [0.0, 0, 0, 0, 0]
    for pid in tree(root):
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            sockets = [_is_socket(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
            one = (
                process.memory_info().rss / _MIB,
                sockets.count(False),
                sockets.count(True),
                process.num_threads(),
                1,
            )
            found = [a + b for a, b in zip(found, one, strict=True)]
    rss, *numbers = found
    files, sockets_open, threads, processes = map(int, numbers)
    return Sample(second, float(rss), files, sockets_open, threads, processes, steady)


def _is_socket(link: Path) -> bool | None:
    """Tell whether an open file is a socket; None if it has been closed meanwhile."""
    try:
        return str(link.readlink()).startswith("socket:")
    except OSError:
        return None


def soak(subject: Subject, rate: float, workers: int, options: argparse.Namespace) -> tuple[Soaked, list[Sample]]:
    """Run one service under load to the end. Raises `ServerError` or `ClientError`."""
    with tempfile.TemporaryDirectory() as scratch:
        name, versions = two_versions(subject.bundle, Path(scratch))
        served = ("--keep-versions", "1", "--workers", str(workers))
        with subject.running(Path(scratch), options=served) as (server, endpoint):
            subject.closed(endpoint, 1.0)
            load = subject.load(rate, options.minutes * 60)
            beside = Companions(server, name, versions, options)
            with beside.running(), running(endpoint.port, subject.messages(endpoint), load) as run:
                window = run.window()
            if server.process.poll() is not None:
                raise ServerError(f"the service ended with status {server.process.returncode}")
    found = figures(
        window,
        beside.samples,
        workers=workers,
        rate=rate,
        warm_up=options.warm_up_minutes * 60,
        reloads=dict(beside.reloads),
        scrapes=dict(beside.scrapes),
        slowest_scrape_ms=beside.slowest_scrape_ms,
    )
    return found, beside.samples


def render(runs: Sequence[Soaked]) -> str:
    """Show the verdicts and further figures as Markdown."""
    lines = [checks_table([check for run in runs for check in judge(run)]), ""]
    lines += [
        f"- {f.workers} worker(s), {f.seconds / 60:.1f} min at {f.rate:.0f}/s ({f.requests} requests): "
        f"p50 {f.p50_ms:.2f} ms, p99 {f.p99_ms:.2f} ms; {f.degraded:.2%} degraded, {f.refused:.2%} refused; memory "
        f"{f.growth.start_mb:.0f} MiB after the warm-up; {sum(f.reloads.values())} reloads; "
        f"{sum(f.scrapes.values())} scrapes, the slowest {f.slowest_scrape_ms:.0f} ms."
        for f in runs
    ]
    return "\n".join(lines)


def measure(options: argparse.Namespace) -> Measured:
    """Soak as the options say. Raises `ValueError` naming a wrong option."""
    if options.warm_up_minutes >= options.minutes:
        raise ValueError(f"--warm-up-minutes: must be below --minutes, {options.minutes:g}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    subject = subject_from(options, count=200, sizes=parse_mix(options.mix))
    runs, samples = [], []
    with on_cpus(subject.split.client):
        for workers in options.workers:
            several = replace(subject, options=(*subject.options, "--workers", str(workers)))
            goodput = options.rate or search_goodput(several, options.search_seconds, Rules())[0].rate
            found, looks = soak(subject, goodput * SHARE, workers, options)
            runs.append(found)
            samples.append([asdict(look) for look in looks])
    checks = [check for run in runs for check in judge(run)]
    found_all = [{**asdict(run), "growth_share": run.growth.share} for run in runs]
    report = {"runs": found_all, "samples": samples, "checks": [asdict(c) for c in checks], "missed": missed(checks)}
    return render(runs), report


def main(argv: Sequence[str] | None = None) -> int:
    """Soak and print; see the module for the exit status."""
    parser = command_parser("loadtest.resilience.soak", __doc__, without=("--candidates",))
    parser.set_defaults(candidates=100)
    add = parser.add_argument
    add("--minutes", type=float, default=20.0, help="length of the load on each service (20)")
    add("--warm-up-minutes", type=float, default=2.5, help="time before memory counts (2.5)")
    add("--workers", type=int, nargs="+", default=[1, 2], metavar="N", help="services, by their workers (1 2)")
    add("--mix", default="default", help="candidates and weights, as in 20=1,100=3 (default: 20 to 1000)")
    add("--reload-minutes", type=float, default=2.0, help="from one reload to the next (2)")
    add("--scrape-seconds", type=float, default=15.0, help="from one scrape to the next (15)")
    add("--rate", type=float, help="the goodput in requests/s, where it is known; else it is searched")
    add("--search-seconds", type=float, default=3.0, help="length of a window of that search (3)")
    return run_command(parser, argv, measure)


if __name__ == "__main__":
    raise SystemExit(main())
