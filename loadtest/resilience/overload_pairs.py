"""Overload two states of the service in turn, pair by pair, and compare their figures.

``python -m loadtest.resilience.overload_pairs --before TREE``: a checkout of the older state. It may have options of
its own, so that one tree can be compared with itself (``--before . --before-options "--queue-interval-ms 100"``). The
side that goes first changes from pair to pair. A shared machine drifts, so ratios are taken within a pair; they are
medians with a 95% bootstrap interval over the pairs. The CPU of a refusal is compared by `loadtest.cost.refusal`.
"""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Final

from loadtest.resilience.overload import Figures, Parts, overload
from loadtest.rig.statistics import PairedRatio
from loadtest.rig.subject import Measured, Subject, command_parser, counts, markdown, run_at_goodput

SIDES: Final = ("before", "after")
HEAD: Final = ("figure", *SIDES, "after / before, by pairs (95%)")


def sides(subject: Subject, before: Path, options: str) -> dict[str, Subject]:
    """Return both sides. Raises `ValueError` if `before` is no checkout.

    Python finds the older one's modules in its tree.
    """
    if not (before / "service").is_dir():
        raise ValueError(f"--before: {before} is no checkout")
    # PYTHONSAFEPATH keeps the working folder, which is a tree as well, out of the module path.
    older = {"PYTHONPATH": str(before.resolve()), "PYTHONSAFEPATH": "1"}
    return {
        "before": replace(subject, environment=older, options=(*subject.options, *shlex.split(options))),
        "after": subject,
    }


def figures_of(found: Figures) -> dict[str, float]:
    """Return what is compared."""
    return {
        "p50 ms": found.p50_ms,
        "p99 ms": found.p99_ms,
        "full lists/s": found.full_rate,
        "refused/s": found.refused / found.parts.seconds,
        "degraded/s": sum(found.degraded.values()) / found.parts.seconds,
        "p99 from 2 s after ms": found.recovery.later_p99_ms,
    }


def compare(runs: Sequence[tuple[Figures, Figures]]) -> str:
    """Return a table of medians and ratios.

    A ratio is left out where a side of a pair does not have the figure.
    """
    pairs = [(figures_of(before), figures_of(after)) for before, after in runs]
    rows = []
    for name in pairs[0][0]:
        before, after = [pair[0][name] for pair in pairs], [pair[1][name] for pair in pairs]
        ratio = str(PairedRatio.of(before, after)) if min(before) > 0 and max(*before, *after) < math.inf else "-"
        rows.append((name, f"{median(before):.3f}", f"{median(after):.3f}", ratio))
    return markdown(HEAD, rows)


def measure(options: argparse.Namespace, subject: Subject, goodput: float) -> Measured:
    """Overload both sides so many times."""
    both = sides(subject, options.before, options.before_options)
    parts = Parts(goodput, options.factor, options.seconds, around=options.around_seconds)
    runs: list[tuple[Figures, Figures]] = []
    for pair in range(options.pairs):
        order = SIDES if pair % 2 == 0 else SIDES[::-1]
        found = {name: overload(both[name], parts, refusal_seconds=0.0)[0] for name in order}
        runs.append((found["before"], found["after"]))
        p99 = ", ".join(f"{name} {found[name].p99_ms:.2f} ms and {found[name].full_rate:.0f}/s" for name in SIDES)
        print(f"pair {pair + 1}: p99 and full lists {p99}; faults {counts(dict(found['after'].faults))}", flush=True)
    text = (
        f"\nGoodput {goodput:.0f}/s, {options.factor:g} times it for {options.seconds:g} s, {options.pairs} pairs:\n\n"
    )
    return text + compare(runs), {"runs": [[asdict(before), asdict(after)] for before, after in runs]}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is 0, or 2 without figures."""
    parser = command_parser("loadtest.resilience.overload_pairs", __doc__)
    add = parser.add_argument
    add("--before", type=Path, required=True, metavar="TREE", help="a checkout of the state to compare with")
    add(
        "--before-options",
        default="",
        metavar="OPTIONS",
        help="options of listwright serve for that state, in one word",
    )
    add("--pairs", type=int, default=6, help="pairs of runs (6)")
    add("--factor", type=float, default=3.0, help="times the goodput to offer (3)")
    add("--seconds", type=float, default=30.0, help="length of an overload (30)")
    add("--around-seconds", type=float, default=4.0, help="length of the load before, and of that after (4)")
    return run_at_goodput(parser, argv, measure)


if __name__ == "__main__":
    raise SystemExit(main())
