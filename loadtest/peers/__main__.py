"""Listwright beside what its user would pick instead: the same bundle, requests and Python behind each server.

All servers run on one CPU and the compiled client on another; only one server runs at a time (`loadtest.rig.turns`).
First every contender must give the same lists. Then come blocks of the closed loop, blocks of searches for the goodput,
each in random order, with a second Listwright as the control, and the memory. ``--tune`` searches a peer's best
setting.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from loadtest.cost.service_cost import Split
from loadtest.peers import report
from loadtest.peers.comparison import CONCURRENCY, Effort, Results, compare_closed, compare_goodput
from loadtest.peers.contenders import TUNED, VARIANTS, Environments, contender, our_own, title
from loadtest.peers.same import SameError, check_same
from loadtest.requests.payloads import PayloadOptions, from_bundle, make_payloads
from loadtest.rig.goodput import Rules
from loadtest.rig.openloop.build import ClientUnavailable
from loadtest.rig.openloop.client import ClientError
from loadtest.rig.openloop.contender import Contender
from loadtest.rig.processes import end_on_sigterm
from loadtest.rig.server import UNHURRIED, ServerError
from loadtest.rig.turns import arena

_ALL: Final = tuple(TUNED)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; the exit status is 0, 1 if lists differ, or 2 without a run."""
    parser = _parser()
    options = parser.parse_args(argv)
    end_on_sigterm()
    try:
        results = run(options)
    except SameError as error:
        parser.exit(1, f"loadtest.peers: {error}\n")
    except (ValueError, OSError, ServerError, ClientError, ClientUnavailable) as error:
        parser.exit(2, f"loadtest.peers: {error}\n")
    text = report.markdown(results)
    print(text)
    if options.out is not None:
        (options.out / "peers.md").write_text(text + "\n", "utf-8")
        report.draw(options.out / "peers.svg", results)
    return 0


def run(options: argparse.Namespace) -> Results:
    """Start everything, check it, measure it, stop it. Raises `ValueError`, `ServerError`, `SameError`."""
    settings = PayloadOptions(count=64, sizes={options.candidates: 1.0})
    bodies = [payload.body for payload in make_payloads(from_bundle(options.bundle, seed=options.seed), settings)]
    split = Split.of(os.sched_getaffinity(0), options.cpus)
    if split.shared:
        _say("the client shares the servers' CPUs: every figure below is worse than it should be")
    effort = Effort(
        closed_blocks=options.closed_blocks,
        closed_seconds=options.closed_seconds,
        goodput_blocks=options.blocks,
        goodput_seconds=options.seconds,
        guess=options.guess,
        resolution=options.resolution,
        concurrency=tuple(options.concurrency),
        seed=options.seed,
    )
    out = options.out and options.out / "peers.json"
    results = Results([])
    if effort.closed_blocks:
        # The peers have no deadline, so here Listwright has none either: a refusal would make any loop look quick.
        with arena(_chosen(options, UNHURRIED), bodies, split) as places:
            _say(check_same(places))
            compare_closed(places, effort, results, out=out, say=_say)
    with arena(_chosen(options, ()), bodies, split) as places:
        if not effort.closed_blocks:
            _say(check_same(places))
        compare_goodput(places, effort, results, Rules(budget_ms=options.budget_ms), out=out, say=_say)
    if options.tune and effort.goodput_blocks:
        best = max(results.contenders, key=lambda name: statistics.median(report.goodputs(results, name)))
        _say(f"best: {best}")
    return results


def _chosen(options: argparse.Namespace, ours: Sequence[str]) -> list[Contender]:
    return _variants(options) if options.tune else _contenders(options, ours)


def _contenders(options: argparse.Namespace, ours: Sequence[str]) -> list[Contender]:
    environments = Environments()
    serve = (*ours, *options.serve_options.split())
    found = [our_own(options.bundle, options=serve), our_own(options.bundle, name=report.CONTROL, options=serve)]
    for peer in options.peers:
        if why := environments.missing(peer):
            _say(f"{peer} is left out: {why}")
        else:
            found.append(contender(peer, options.bundle, TUNED[peer], environments))
    return found


def _variants(options: argparse.Namespace) -> list[Contender]:
    environments = Environments()
    if why := environments.missing(options.tune):
        raise ValueError(f"--tune: {why}")
    chosen = VARIANTS[options.tune]
    return [contender(options.tune, options.bundle, s, environments, name=title(options.tune, s)) for s in chosen]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.peers", description=__doc__)
    add = parser.add_argument
    add("--bundle", type=Path, default=Path("build/bench/bench/1"), help="bundle that all serve (%(default)s)")
    add("--peers", nargs="*", choices=_ALL, default=_ALL, help="who is compared (all)")
    add("--tune", choices=_ALL, metavar="PEER", help="compare the settings of one peer instead")
    add("--serve-options", default="", help="further options of `listwright serve`")
    add("--candidates", type=int, default=100, help="candidates of a request (%(default)s)")
    add("--cpus", type=int, default=1, help="CPUs that a server gets (%(default)s)")
    add("--concurrency", type=int, nargs="+", default=CONCURRENCY, help="of the closed loop (%(default)s)")
    add("--closed-blocks", type=int, default=15, help="blocks of the closed loop (%(default)s)")
    add("--closed-seconds", type=float, default=1.5, help="length of one of its windows (%(default)s)")
    add("--blocks", type=int, default=15, help="blocks of goodput (%(default)s)")
    add("--seconds", type=float, default=3.0, help="length of one of its windows (%(default)s)")
    add("--guess", type=float, default=300.0, help="rate that a search begins with, requests/s (%(default)s)")
    add("--resolution", type=float, default=1.03, help="ratio that a search goes down to (%(default)s)")
    add("--budget-ms", type=float, default=19.0, help="the budget (%(default)s)")
    add("--seed", type=int, default=0, help="of the requests and of the order (%(default)s)")
    add("--out", type=_folder, help="write peers.json, peers.md and peers.svg into this folder")
    return parser


def _folder(text: str) -> Path:
    path = Path(text)
    path.mkdir(parents=True, exist_ok=True)
    return path


if __name__ == "__main__":
    raise SystemExit(main())
