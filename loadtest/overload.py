"""What a service does when far more comes than it can answer: ``python -m loadtest.overload --bundle FOLDER``.

Its goodput is searched first (or given with ``--rate``). Then come a phase below it, ``--factor`` times as much for
``--seconds``, and at once the phase below it again; every answer of the overload is read and checked. What a refusal
costs is measured on a second service that refuses everything: it may have one request in progress, and has it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtest.arena import Place, arena
from loadtest.goodput import Rules, Search, find_goodput
from loadtest.openloop.build import ClientUnavailable
from loadtest.openloop.client import ClientError, Load, open_loop
from loadtest.openloop.contender import Contender, listwright
from loadtest.openloop.window import Window
from loadtest.overload_report import Overload, draw, markdown, to_json
from loadtest.payloads import PayloadOptions, from_bundle, make_payloads
from loadtest.processes import end_on_sigterm
from loadtest.server import ServerError
from loadtest.service_cost import Split
from models.files import write_json

_SHARE: Final = 0.7
_CONNECTIONS: Final = 512
_REFUSING: Final = ("--max-in-flight", "1", "--read-timeout-seconds", "120")
_REFUSAL_SECONDS: Final = 5.0
_REFUSAL_RATE: Final = 1000.0


@dataclass(frozen=True, slots=True)
class Phases:
    """Seconds below the goodput, over it, and below it again."""

    before: float = 20.0
    over: float = 60.0
    after: float = 10.0


def measure(place: Place, bodies: Sequence[bytes], *, rate: float, factor: float, phases: Phases) -> Overload:
    """The three phases on a place that is awake; `bodies` are those of its messages. The refusal is not measured."""
    before = place.open(_SHARE * rate, phases.before, 1.0)
    over = _offer(place, factor * rate, phases.over, keep_bodies=True)
    after = _offer(place, _SHARE * rate, phases.after, keep_bodies=False)
    return Overload.of(bodies=bodies, rate=rate, factor=factor, before=before, over=over, after=after)


def _offer(place: Place, rate: float, seconds: float, *, keep_bodies: bool) -> Window:
    load = Load(rate=rate, seconds=seconds, cpu=place.client_cpu, connections=_CONNECTIONS, keep_bodies=keep_bodies)
    return open_loop(place.endpoint.port, place.messages, load)


def refusal_cpu_ms(place: Place) -> float:
    """CPU milliseconds of the whole service for one refusal. Raises `ValueError` if anything else was answered."""
    with socket.create_connection((place.endpoint.host, place.endpoint.port)) as held:
        held.sendall(place.messages[0][:-1])  # All but the last byte: it stays in progress.
        time.sleep(0.2)
        before = place.endpoint.cpu_seconds()
        load = Load(rate=_REFUSAL_RATE, seconds=_REFUSAL_SECONDS, cpu=place.client_cpu)
        window = open_loop(place.endpoint.port, place.messages, load)
        used = place.endpoint.cpu_seconds() - before
    if window.statuses().keys() != {503} or window.errors:
        raise ValueError(f"only refusals were expected: {window.statuses()}, {window.faults()}")
    return used / len(window) * 1e3


def run(options: argparse.Namespace) -> Overload:
    """Start both services, measure, stop. Raises `ValueError`, `ServerError` or `ClientError`."""
    settings = PayloadOptions(count=64, sizes={options.candidates: 1.0})
    bodies = [payload.body for payload in make_payloads(from_bundle(options.bundle, seed=options.seed), settings)]
    split = Split.of(os.sched_getaffinity(0), options.cpus)
    serve = shlex.split(options.serve_options)
    root = options.bundle.parents[1]
    contenders: list[Contender] = [listwright(root, options=serve)]
    with arena(contenders, bodies, split) as (place,), place.awake():
        rate = options.rate or _goodput(place, options)
        _say(f"goodput {rate:.0f} requests/s; {options.factor:g} times as much for {options.seconds:g} s")
        phases = Phases(before=options.below_seconds, over=options.seconds)
        measured = measure(place, bodies, rate=rate, factor=options.factor, phases=phases)
    refusing = listwright(root, name="refusing", options=(*serve, *_REFUSING))
    with refusing.start(split.server) as endpoint:
        measured.refusal_cpu_ms = refusal_cpu_ms(
            Place(refusing, endpoint, refusing.messages(endpoint, bodies), split.client[0])
        )
    return measured


def _goodput(place: Place, options: argparse.Namespace) -> float:
    rules = Rules()
    found = find_goodput(lambda rate: place.trial(rate, 3.0, 0.5, rules), Search(guess=options.guess, step=1.3), rules)
    if not found.rate:
        raise ValueError("no rate keeps the budget on this machine; see the windows of `python -m loadtest.peers`")
    return found.rate


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is 0 whatever was reached, or 2 without a run."""
    parser = _parser()
    options = parser.parse_args(argv)
    end_on_sigterm()
    try:
        measured = run(options)
    except (ValueError, OSError, ServerError, ClientError, ClientUnavailable) as error:
        parser.exit(2, f"loadtest.overload: {error}\n")
    print(markdown(measured))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        write_json(options.out / "overload.json", to_json(measured))
        draw(options.out / "overload.svg", measured)
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.overload", description=__doc__)
    add = parser.add_argument
    add("--bundle", type=Path, default=Path("build/bench/bench/1"), help="bundle to serve (%(default)s)")
    add("--rate", type=float, help="the goodput, requests/s; searched if it is not given")
    add("--guess", type=float, default=400.0, help="where that search begins (%(default)s)")
    add("--factor", type=float, default=3.0, help="times the goodput (%(default)s)")
    add("--seconds", type=float, default=60.0, help="of overload (%(default)s)")
    add("--below-seconds", type=float, default=20.0, help="of 70%% of the goodput before it (%(default)s)")
    add("--candidates", type=int, default=100, help="candidates of a request (%(default)s)")
    add("--cpus", type=int, default=1, help="CPUs of the service (%(default)s)")
    add("--serve-options", default="", help="further options of `listwright serve`")
    add("--seed", type=int, default=0, help="of the requests (%(default)s)")
    add("--out", type=Path, help="write overload.json and overload.svg into this folder")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
