"""Serve bundles on CPUs of their own, make requests, search the goodput, and show verdicts.

Commands that put one service under load share this, their options, their tables and their errors. They run the client,
and themselves, on the other CPUs.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import resource
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tabulate import tabulate

from loadtest.requests.forms import FORMS, NUMBERS
from loadtest.requests.payloads import Payload, PayloadOptions, from_bundle, items_from, make_payloads, only_bundle
from loadtest.rig.catalogue import catalogue_of, serving_options
from loadtest.rig.contender import Endpoint, arena, listwright
from loadtest.rig.goodput import Goodput, Rules, Search, find_goodput
from loadtest.rig.machine import made_with
from loadtest.rig.openloop.build import ClientUnavailable
from loadtest.rig.openloop.client import DEFAULT_CONNECTIONS, ClientError, Load, run_load
from loadtest.rig.openloop.window import Window
from loadtest.rig.server import START_TIMEOUT, CpuSplit, Server, ServerError, on_cpus, running_server
from models.contract.manifest import EMBEDDED_BUNDLES
from models.files import write_json
from models.reranking.client import environment_key, key_headers

FAILURES: Final = (ValueError, OSError, ServerError, ClientError, ClientUnavailable)
"""Errors that leave a command without figures: it prints them and ends with exit status 2."""

Measured = tuple[str, dict[str, Any]]
"""Figures as text for people and as plain JSON types."""

Measure = Callable[[argparse.Namespace], Measured]
MeasureAtGoodput = Callable[[argparse.Namespace, "Subject", float], Measured]

_CONNECTED_SECONDS: Final = 0.5
_LEAST_GUESS, _MOST_GUESS = 20.0, 10_000.0


@dataclass(frozen=True, slots=True)
class Subject:
    """Bundles to serve with `options` of ``listwright serve``, and requests to one `bundle`.

    `catalogue` is the folder of catalogues that the requests need; `options` name it too. `environment` is
    added to this process's.
    """

    bundles: Path
    bundle: Path
    payloads: tuple[Payload, ...]
    options: tuple[str, ...]
    split: CpuSplit
    catalogue: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def client_cpu(self) -> int:
        return self.split.client[0]

    @property
    def bodies(self) -> list[bytes]:
        return [payload.body for payload in self.payloads]

    @contextlib.contextmanager
    def running(
        self,
        bundles: Path | None = None,
        *,
        defaults: Sequence[str] = (),
        options: Sequence[str] = (),
        start_seconds: float = START_TIMEOUT,
    ) -> Iterator[tuple[Server, Endpoint]]:
        """Serve while the context lasts. Raises `ServerError`, also after `start_seconds`.

        Its own options win over `defaults`, and `options` win over its own.
        """
        served = (*defaults, *self.options, *options)
        with running_server(
            bundles or self.bundles,
            options=served,
            cpus=self.split.server,
            environment=self.environment,
            start_seconds=start_seconds,
        ) as server:
            yield server, Endpoint(server.port, server.pid, headers=key_headers(environment_key()))

    def messages(self, endpoint: Endpoint) -> list[bytes]:
        """Return the requests as they go over the wire."""
        return [endpoint.message(body) for body in self.bodies]

    def load(self, rate: float, seconds: float, *, keep_bodies: bool = False) -> Load:
        """Return an open load with connections enough for `rate`."""
        connections, cpu = connections_for(rate), self.client_cpu
        return Load(rate=rate, seconds=seconds, connections=connections, cpu=cpu, keep_bodies=keep_bodies)

    def closed(self, endpoint: Endpoint, seconds: float, *, concurrency: int = 8, warm_up: float = 0.0) -> Window:
        """Measure a closed loop. Without a use of the window it warms the service up."""
        load = Load(seconds=seconds, connections=concurrency, cpu=self.client_cpu)
        return run_load(endpoint.port, self.messages(endpoint), load, warm_up=warm_up)


def connections_for(rate: float) -> int:
    """Return connections enough to offer `rate` through half a second without answers."""
    return max(DEFAULT_CONNECTIONS, math.ceil(rate * _CONNECTED_SECONDS))


def search_goodput(subject: Subject, seconds: float, rules: Rules, *, searches: int = 1) -> list[Goodput]:
    """Search the goodput a few times, in windows of `seconds`. Raises `ServerError` for none."""
    contender = listwright(subject.bundles, options=subject.options)
    with arena([contender], subject.bodies, subject.split) as (place,), place.awake():
        guess = place.closed(4, seconds, 0.5).full() / seconds
        search = Search(guess=min(max(guess, _LEAST_GUESS), _MOST_GUESS))
        found = [
            find_goodput(lambda rate: place.trial(rate, seconds, 1.0, rules), search, rules) for _ in range(searches)
        ]
    if not all(goodput.rate for goodput in found):
        raise ServerError(f"the service keeps not even {search.lowest:g} requests/s within {rules.budget_ms:g} ms")
    return found


def command_parser(module: str, description: str | None, *, without: Collection[str] = ()) -> argparse.ArgumentParser:
    """Make a parser with a subject's options, but for those `without`.

    One that is added again replaces it.
    """
    parser = argparse.ArgumentParser(f"python -m {module}", description=description, conflict_handler="resolve")

    def add(name: str, **settings: Any) -> None:
        if name not in without:
            parser.add_argument(name, **settings)

    add("--bundles", type=Path, default=EMBEDDED_BUNDLES, help="folder of bundles (the embedded one)")
    add("--bundle", type=Path, help="bundle that requests are made for, if there are several")
    add("--candidates", type=int, default=100, help="candidates of a request (100)")
    add("--form", choices=FORMS, default="objects", help="form of candidates; the last has their items in a catalogue")
    add("--numbers", choices=NUMBERS, default="base64", help="numbers of columns (base64)")
    add("--items", type=int, default=0, help="draw candidates from so many items (0: made up; 10000 for a catalogue)")
    add("--embedding-width", type=int, default=0, help="give candidates embeddings of this width (0: none)")
    add("--serve-options", default="", metavar="OPTIONS", help="further options of listwright serve, in one word")
    add("--cpus", type=int, default=1, help="CPUs of the service; the client has the others (1)")
    add("--seed", type=int, default=0, help="seed of the requests (0)")
    add("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser


def run_command(parser: argparse.ArgumentParser, argv: Sequence[str] | None, measure: Measure) -> int:
    """Parse options, measure, print the text, and write the figures to ``--json``.

    The exit status is 0, 1 if the figures name targets that were ``missed``, or 2 with a reason instead of figures.
    """
    options = parser.parse_args(argv)
    try:
        text, figures = measure(options)
    except FAILURES as error:
        parser.exit(2, f"{parser.prog.split()[-1]}: {error}\n")
    print(text)
    if options.json:
        write_json(options.json, finite({**made_with(options.seed), **figures}))
    return 1 if figures.get("missed") else 0


def run_at_goodput(parser: argparse.ArgumentParser, argv: Sequence[str] | None, measure: MeasureAtGoodput) -> int:
    """Run a command, with the subject of its options and the goodput that they name."""
    parser.add_argument("--rate", type=float, help="the goodput in requests/s, where it is known; else it is searched")
    parser.add_argument("--search-seconds", type=float, default=5.0, help="length of a window of that search (5)")

    def measure_at_goodput(options: argparse.Namespace) -> Measured:
        if options.rate is not None and not options.rate > 0:
            raise ValueError(f"--rate: must be positive, not {options.rate:g}")
        # Many systems begin with 1,024 open files.
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        subject = subject_from(options)
        with on_cpus(subject.split.client):
            rate = options.rate or search_goodput(subject, options.search_seconds, Rules())[0].rate
            return measure(options, subject, rate)

    return run_command(parser, argv, measure_at_goodput)


def subject_from(
    options: argparse.Namespace,
    *,
    timeout_ms: int | None = None,
    count: int = 64,
    sizes: Mapping[int, float] | None = None,
    **instead: object,
) -> Subject:
    """Make the subject that the options describe, but for those `instead`, with `count` requests.

    `sizes` maps candidates to shares, where requests are of several. Raises `ValueError`, or `CatalogueError`.
    """
    options = argparse.Namespace(**{**vars(options), **instead})
    extra = {} if timeout_ms is None else {"timeout_ms": timeout_ms}
    bundle = options.bundle or only_bundle(options.bundles)
    settings = PayloadOptions(
        count=count,
        sizes=sizes or {options.candidates: 1.0},
        seed=options.seed,
        extra=extra,
        form=options.form,
        numbers=options.numbers,
    )
    width, items = options.embedding_width, items_from(options)
    source = from_bundle(bundle, seed=options.seed, embedding_width=width, items=items)
    catalogue = None
    if options.form == "catalogue":
        catalogue = catalogue_of(bundle, items, seed=options.seed, embedding_width=width)
    return Subject(
        bundles=options.bundles,
        bundle=bundle,
        payloads=tuple(make_payloads(source, settings)),
        options=(*serving_options(catalogue), *shlex.split(options.serve_options)),
        split=CpuSplit.of(os.sched_getaffinity(0), options.cpus),
        catalogue=catalogue,
    )


@dataclass(frozen=True, slots=True)
class Check:
    """One target in words, the measured figure in words, and whether the target was reached."""

    name: str
    target: str
    measured: str
    passed: bool


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table: the first column to the left, others to the right."""
    align = ["left", *["right"] * (len(head) - 1)]
    return tabulate(list(rows), head, "pipe", disable_numparse=True, colalign=align)


def checks_table(checks: Sequence[Check]) -> str:
    """Return the checks as Markdown; a missed target stands out."""
    rows = [(c.name, c.target, c.measured, "pass" if c.passed else "**missed**") for c in checks]
    return markdown(("", "target", "measured", ""), rows)


def missed(checks: Iterable[Check]) -> list[str]:
    """Return the names of the targets that were not reached."""
    return [check.name for check in checks if not check.passed]


def counts(found: Mapping[str, int]) -> str:
    """Return ``3 shed, 1 overloaded``, the most frequent first, or ``none``."""
    return ", ".join(f"{n} {what}" for what, n in sorted(found.items(), key=lambda pair: -pair[1])) or "none"


def finite(value: Any) -> Any:
    """Return plain JSON types, with None for numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
