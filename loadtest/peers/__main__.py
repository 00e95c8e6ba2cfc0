"""Compare Listwright with other servers: the same bundle, requests and Python behind each.

All servers run on one CPU and the compiled client on another; only one server runs at a time.
First every contender must give the same lists. Then come blocks of the closed loop, blocks of searches for the goodput,
each in random order, with a second Listwright as the control, and the memory. ``--tune`` searches a peer's best
setting.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from loadtest.peers import report
from loadtest.peers.comparison import CONCURRENCY, Results, SameError, check_same, compare_closed, compare_goodput
from loadtest.peers.contenders import TUNED, VARIANTS, PeerSetting, contender, missing, our_own, title
from loadtest.rig.contender import Contender, Place, arena
from loadtest.rig.server import UNHURRIED
from loadtest.rig.subject import FAILURES, Subject, command_parser, subject_from
from models.files import write_json

Compare = Callable[[Sequence[Place], Results, argparse.Namespace], Iterator[str]]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; exit with 1 if lists differ, 2 without a run."""
    parser = _parser()
    options = parser.parse_args(argv)
    # As an interrupt does: the servers that were started end with this process.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        results = run(options)
    except SameError as error:
        parser.exit(1, f"loadtest.peers: {error}\n")
    except FAILURES as error:
        parser.exit(2, f"loadtest.peers: {error}\n")
    text = report.tables(results)
    print(text)
    if options.out is not None:
        (options.out / "peers.md").write_text(text + "\n", "utf-8")
    return 0


def run(options: argparse.Namespace) -> Results:
    """Start everything, check it, measure it, stop it. Raises `ValueError`, `ServerError`, `SameError`."""
    subject = subject_from(options, bundles=options.bundle.parents[1])
    if subject.split.shared:
        _say("the client shares the servers' CPUs: every figure below is worse than it should be")
    results = Results([])
    rounds: list[tuple[Compare, Sequence[str]]] = [(compare_goodput, ())]
    if options.closed_blocks:
        # The peers have no deadline, so here Listwright has none either: a refusal would make any loop look quick.
        rounds.insert(0, (compare_closed, UNHURRIED))
    for i, (compare, ours) in enumerate(rounds):
        with arena(_chosen(options, subject, ours), subject.bodies, subject.split) as places:
            if i == 0:
                _say(check_same(places))
            for progress in compare(places, results, options):
                _say(progress)
                _save(results, options)
    _save(results, options)
    if options.tune and options.blocks:
        best = max(results.contenders, key=lambda name: statistics.median(report.goodputs(results, name)))
        _say(f"best: {best}")
    return results


def _save(results: Results, options: argparse.Namespace) -> None:
    if options.out is not None:
        write_json(options.out / "peers.json", results.to_json())


def _chosen(options: argparse.Namespace, subject: Subject, ours: Sequence[str]) -> list[Contender]:
    """Make the contenders, or the variants of one.

    Our service takes the options `ours` before the subject's.
    """
    bundle, serve = subject.bundle, (*ours, *subject.options)

    def peer_of(peer: str, setting: PeerSetting, name: str | None = None) -> Contender:
        return contender(peer, bundle, setting, name=name, catalogue=subject.catalogue)

    if options.tune:
        if why := missing(options.tune):
            raise ValueError(f"--tune: {why}")
        return [peer_of(options.tune, setting, title(options.tune, setting)) for setting in VARIANTS[options.tune]]
    found = [our_own(bundle, options=serve), our_own(bundle, name=report.CONTROL, options=serve)]
    for peer in options.peers:
        if why := missing(peer):
            _say(f"{peer} is left out: {why}")
        else:
            found.append(peer_of(peer, TUNED[peer]))
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("loadtest.peers", __doc__, without=("--bundles", "--json"))
    add = parser.add_argument
    add("--bundle", type=Path, default=Path("build/bench/bench/1"), help="bundle that all serve (%(default)s)")
    add("--peers", nargs="*", choices=TUNED, default=tuple(TUNED), help="servers to compare with (all)")
    add("--tune", choices=TUNED, metavar="PEER", help="compare the settings of one peer instead")
    add("--concurrency", type=int, nargs="+", default=CONCURRENCY, help="of the closed loop (%(default)s)")
    add("--closed-blocks", type=int, default=15, help="blocks of the closed loop (%(default)s)")
    add("--closed-seconds", type=float, default=1.5, help="length of one of its windows (%(default)s)")
    add("--blocks", type=int, default=15, help="blocks of goodput (%(default)s)")
    add("--seconds", type=float, default=3.0, help="length of one of its windows (%(default)s)")
    add("--guess", type=float, default=300.0, help="rate that a search begins with, requests/s (%(default)s)")
    add("--resolution", type=float, default=1.03, help="ratio that a search goes down to (%(default)s)")
    add("--budget-ms", type=float, default=19.0, help="the budget (%(default)s)")
    add("--out", type=Path, help="write peers.json and peers.md into this folder")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
