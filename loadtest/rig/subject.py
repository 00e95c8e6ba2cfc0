"""The service that is put under load, on a CPU of its own, with its requests and its goodput.

What the commands about overload and about the service's life have in common. They run the client, and themselves, on
the other CPUs.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import resource
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtest.cost.service_cost import Split
from loadtest.requests.payloads import Payload, PayloadOptions, from_bundle, make_payloads
from loadtest.rig.goodput import Rules, Search, find_goodput
from loadtest.rig.openloop.client import DEFAULT_CONNECTIONS, Load, closed_loop
from loadtest.rig.openloop.contender import PATH, Endpoint, listwright
from loadtest.rig.server import HOST, Server, ServerError, running_server
from loadtest.rig.turns import arena
from loadtest.run import only_bundle

_CONNECTED_SECONDS: Final = 0.5
_CLOSED: Final = 8


@dataclass(frozen=True, slots=True)
class Subject:
    """A folder of bundles to serve with `options` of ``listwright serve``, and requests to the one at `bundle`."""

    bundles: Path
    bundle: Path
    payloads: tuple[Payload, ...]
    options: tuple[str, ...]
    split: Split

    @property
    def client_cpu(self) -> int:
        """Where the client runs."""
        return self.split.client[0]

    @contextlib.contextmanager
    def running(self, bundles: Path | None = None, options: Sequence[str] = ()) -> Iterator[tuple[Server, Endpoint]]:
        """A ready service; `options` come after its own. Raises `ServerError`."""
        served = (*self.options, *options)
        with running_server(bundles or self.bundles, options=served, cpus=self.split.server) as server:
            yield server, Endpoint(HOST, server.port, PATH, server.pid)

    def messages(self, endpoint: Endpoint) -> list[bytes]:
        """The requests as they go over the wire."""
        return [endpoint.message(payload.body) for payload in self.payloads]

    def warm(self, endpoint: Endpoint, seconds: float) -> None:
        """Ask for a while, so that nothing that is measured is a first time."""
        load = Load(seconds=seconds, connections=_CLOSED, cpu=self.client_cpu)
        closed_loop(endpoint.port, self.messages(endpoint), load)


def connections_for(rate: float) -> int:
    """Connections with which the client can offer `rate` even while nothing is answered for half a second."""
    return max(DEFAULT_CONNECTIONS, math.ceil(rate * _CONNECTED_SECONDS))


def allow_connections() -> None:
    """Let this process and all that it starts open as many files as it may; many systems begin with 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def goodput_of(subject: Subject, seconds: float) -> float:
    """Search the goodput of the subject, requests/s, in windows of `seconds`. Raises `ServerError` if there is none."""
    rules = Rules()
    contender = listwright(subject.bundles, options=subject.options)
    bodies = [payload.body for payload in subject.payloads]
    with arena([contender], bodies, subject.split) as (place,), place.awake():
        guess = place.closed(_CLOSED // 2, seconds, 0.5).full() / seconds
        search = Search(guess=min(max(guess, 20.0), 10_000.0))
        found = find_goodput(lambda rate: place.trial(rate, seconds, 1.0, rules), search, rules)
    if not found.rate:
        raise ServerError(f"the service keeps not even {search.lowest:g} requests/s within {rules.budget_ms:g} ms")
    return found.rate


def add_subject_options(parser: argparse.ArgumentParser) -> None:
    """What to serve, what to ask it, and its goodput."""
    add = parser.add_argument
    add("--bundles", type=Path, default=Path("bundles"), help="folder of bundles to serve (bundles)")
    add("--bundle", type=Path, help="whose requests to make, if there are several bundles")
    add("--candidates", type=int, default=100, help="candidates of a request (100)")
    add("--serve-options", default="", metavar="OPTIONS", help="further options of listwright serve, in one word")
    add("--rate", type=float, help="the goodput in requests/s, where it is known; else it is searched first")
    add("--search-seconds", type=float, default=5.0, help="length of a window of that search (5)")
    add("--cpus", type=int, default=1, help="CPUs of the service; the client has the others (1)")
    add("--seed", type=int, default=0, help="seed of the requests (0)")
    add("--json", type=Path, help="write the figures here too")


def subject_from(options: argparse.Namespace) -> Subject:
    """The subject that the options describe. Raises `ValueError` naming the option that is wrong."""
    if options.rate is not None and not options.rate > 0:
        raise ValueError(f"--rate: must be positive, not {options.rate:g}")
    bundle = options.bundle or only_bundle(options.bundles)
    settings = PayloadOptions(sizes={options.candidates: 1.0}, seed=options.seed)
    return Subject(
        bundles=options.bundles,
        bundle=bundle,
        payloads=tuple(make_payloads(from_bundle(bundle, seed=options.seed), settings)),
        options=tuple(shlex.split(options.serve_options)),
        split=Split.of(os.sched_getaffinity(0), options.cpus),
    )
