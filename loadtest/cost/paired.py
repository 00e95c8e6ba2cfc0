"""Compare two settings of the service, measured in turn, block by block.

``python -m loadtest.cost.paired --a "OPTIONS" --b "OPTIONS"``: options of ``listwright serve``, with environment
variables as NAME=VALUE before them, as in ``--b "PYTHONMALLOC=malloc --log-level warning"``. All run on the same CPU
and only one is awake at a time. A third service with a's options is the control: how far two services that do not
differ come out apart.
"""

from __future__ import annotations

import argparse
import re
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from loadtest.peers.comparison import ClosedRow, Results, compare_closed
from loadtest.rig.contender import Contender, arena, listwright
from loadtest.rig.server import on_cpus
from loadtest.rig.statistics import PairedRatio
from loadtest.rig.subject import Measured, Subject, command_parser, markdown, run_command, subject_from

SIDES: Final = ("a", "b", "a again")
FIGURES: Final = ("p50", "p99", "ms a request")
HEAD: Final = ("in flight", "figure", "a ms", "b ms", "b / a (95%)", "a again / a (95%)")
# In the environment, so that a side may set another. A late answer is a figure, one without the model would be none.
_UNHURRIED: Final = {"LISTWRIGHT_BUDGET_MS": "10000"}
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Variant:
    """One side: environment variables, and options of ``listwright serve``."""

    environment: Mapping[str, str]
    options: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Read NAME=VALUE words, then options. Raises `ValueError` for open quotes."""
        words = shlex.split(text)
        environment: dict[str, str] = {}
        while words and (found := _ASSIGNMENT.fullmatch(words[0])):
            environment[found[1]] = found[2]
            words.pop(0)
        return cls(environment, tuple(words))

    def contender(self, name: str, subject: Subject) -> Contender:
        """Return a service with these settings after the subject's own."""
        options = (*subject.options, *self.options)
        environment = {**_UNHURRIED, **self.environment}
        return listwright(subject.bundles, name=name, options=options, environment=environment)


@dataclass(frozen=True, slots=True)
class SideBySide:
    """One figure: medians of a and b in milliseconds, b to a, a to itself."""

    concurrency: int
    figure: str
    a: float
    b: float
    ratio: PairedRatio
    control: PairedRatio


def compare(rows: Sequence[ClosedRow]) -> list[SideBySide]:
    """Compare the sides by figure and concurrency, block by block."""
    found = []
    for concurrency in dict.fromkeys(row.concurrency for row in rows):
        chosen = {side: [r for r in rows if (r.contender, r.concurrency) == (side, concurrency)] for side in SIDES}
        figures = {side: list(zip(*map(_figures, chosen[side]), strict=True)) for side in SIDES}
        for i, name in enumerate(FIGURES):
            a, b, again = (figures[side][i] for side in SIDES)
            medians = statistics.median(a), statistics.median(b)
            found.append(SideBySide(concurrency, name, *medians, PairedRatio.of(a, b), PairedRatio.of(a, again)))
    return found


def _figures(row: ClosedRow) -> tuple[float, ...]:
    return row.p50_ms, row.p99_ms, 1000 / row.rate


def table(rows: Sequence[SideBySide]) -> str:
    """Return a table; a ratio under 1 says that b is quicker."""
    return markdown(HEAD, [(r.concurrency, r.figure, f"{r.a:.3f}", f"{r.b:.3f}", r.ratio, r.control) for r in rows])


def measure(options: argparse.Namespace) -> Measured:
    """Serve all three, measure them in turn, stop. Raises `ValueError` or `ServerError`."""
    subject = subject_from(options, timeout_ms=1000, count=16)
    a, b = Variant.parse(options.a), Variant.parse(options.b)
    contenders = [side.contender(name, subject) for name, side in zip(SIDES, (a, b, a), strict=True)]
    results = Results([])
    with on_cpus(subject.split.client), arena(contenders, subject.bodies, subject.split) as places:
        for _ in compare_closed(places, results, options):
            if lost := [row for row in results.closed if row.full_share < 1]:
                raise ValueError(f"{lost[0].contender}: {1 - lost[0].full_share:.1%} of the answers had no full list")
    rows = compare(results.closed)
    return table(rows), {"a": options.a, "b": options.b, "rows": [asdict(row) for row in rows]}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is 0, or 2 without a run."""
    parser = command_parser("loadtest.cost.paired", __doc__)
    add = parser.add_argument
    add("--a", default="", metavar="OPTIONS", help="the first service's settings (none)")
    add("--b", required=True, metavar="OPTIONS", help="the second's")
    add("--concurrency", type=int, nargs="+", default=[1, 8], help="requests in flight (1 8)")
    add("--closed-blocks", "--blocks", type=int, default=30, help="turns of all services (30)")
    add("--closed-seconds", "--seconds", type=float, default=1.5, help="length of a window (1.5)")
    return run_command(parser, argv, measure)


if __name__ == "__main__":
    raise SystemExit(main())
