"""Compare two settings of the service, forms of requests or source trees, block by block.

``python -m loadtest.cost.paired --a "OPTIONS" --b "OPTIONS"``: options of ``listwright serve``, with environment
variables as NAME=VALUE before them, as in ``--b "PYTHONMALLOC=malloc --log-level warning"``. All run on the same CPU
and only one is awake at a time. A third service with a's options is the control: how far two services that do not
differ come out apart.

``--a-source`` and ``--b-source`` run a side from another checkout, such as an older version, and ``--a-form`` and
``--b-form`` send it the same candidates in another form: what a change has brought is then seen in one paired run. An
older version that cannot read today's bundles is given its own by ``--a "--bundles FOLDER"``.
"""

from __future__ import annotations

import argparse
import re
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from loadtest.peers.comparison import ClosedRow, Results, compare_closed, compare_goodput
from loadtest.requests.forms import FORMS, Form
from loadtest.requests.payloads import items_from
from loadtest.rig.contender import Contender, arena, listwright
from loadtest.rig.server import from_source, on_cpus
from loadtest.rig.statistics import BUDGET_MS, PairedRatio
from loadtest.rig.subject import Measured, Subject, command_parser, markdown, run_command, subject_from

SIDES: Final = ("a", "b", "a again")
FIGURES: Final = ("p50", "p99", "ms a request", "overhead p50")
GOODPUT: Final = "goodput, requests/s"
HEAD: Final = ("in flight", "figure", "a", "b", "b / a (95%)", "a again / a (95%)")
# In the environment, so that a side may set another. A late answer is a figure, one without the model would be none.
_UNHURRIED: Final = {"LISTWRIGHT_BUDGET_MS": "10000"}
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Variant:
    """One side: environment variables, options of ``listwright serve``, and the form of its requests.

    `source` is the source tree that it runs from; None: this one.
    """

    environment: Mapping[str, str]
    options: tuple[str, ...]
    form: Form = "objects"
    source: Path | None = None

    @classmethod
    def parse(cls, text: str, form: Form = "objects", source: Path | None = None) -> Variant:
        """Read NAME=VALUE words, then options. Raises `ValueError` for open quotes."""
        words = shlex.split(text)
        environment: dict[str, str] = {}
        while words and (found := _ASSIGNMENT.fullmatch(words[0])):
            environment[found[1]] = found[2]
            words.pop(0)
        return cls(environment, tuple(words), form, source)

    def contender(self, name: str, subject: Subject, defaults: Mapping[str, str]) -> Contender:
        """Return a service with these settings after the subject's own, and the environment's `defaults`.

        Raises `ValueError` for a source tree that is none.
        """
        options = (*subject.options, *self.options)
        environment = {**defaults, **self.environment, **(from_source(self.source) if self.source else {})}
        return listwright(subject.bundles, name=name, options=options, environment=environment, bodies=subject.bodies)


@dataclass(frozen=True, slots=True)
class SideBySide:
    """One figure: medians of a and b, b to a, a to itself.

    Times are in milliseconds. `concurrency` is None for the goodput.
    """

    concurrency: int | None
    figure: str
    a: float
    b: float
    ratio: PairedRatio
    control: PairedRatio

    @classmethod
    def of(cls, concurrency: int | None, figure: str, sides: Mapping[str, Sequence[float]]) -> SideBySide:
        """Take medians and ratios of one figure's values by side, block by block."""
        a, b, again = (sides[side] for side in SIDES)
        medians = statistics.median(a), statistics.median(b)
        return cls(concurrency, figure, *medians, PairedRatio.of(a, b), PairedRatio.of(a, again))


def compare(rows: Sequence[ClosedRow]) -> list[SideBySide]:
    """Compare the sides by figure and concurrency, block by block."""
    found = []
    for concurrency in dict.fromkeys(row.concurrency for row in rows):
        chosen = {side: [r for r in rows if (r.contender, r.concurrency) == (side, concurrency)] for side in SIDES}
        figures = {side: list(zip(*map(_figures, chosen[side]), strict=True)) for side in SIDES}
        for i, name in enumerate(FIGURES):
            found.append(SideBySide.of(concurrency, name, {side: figures[side][i] for side in SIDES}))
    return found


def compare_rates(results: Results) -> list[SideBySide]:
    """Compare the sides by goodput, if it was searched.

    Raises `ValueError` naming a side that kept no rate.
    """
    rates = {side: [row.rate for row in results.goodput if row.contender == side] for side in SIDES}
    if not any(rates.values()):
        return []
    for side, found in rates.items():
        if not min(found):
            raise ValueError(f"{side}: kept not even the lowest rate within the budget")
    return [SideBySide.of(None, GOODPUT, rates)]


def _figures(row: ClosedRow) -> tuple[float, ...]:
    return row.p50_ms, row.p99_ms, 1000 / row.rate, row.overhead_p50_ms


def table(rows: Sequence[SideBySide]) -> str:
    """Return a table.

    A ratio under 1 says that b is quicker; one of goodputs says so over 1.
    """
    return markdown(
        HEAD, [(r.concurrency or "–", r.figure, f"{r.a:.3f}", f"{r.b:.3f}", r.ratio, r.control) for r in rows]
    )


def measure(options: argparse.Namespace) -> Measured:
    """Serve all three, measure them in turn, stop. Raises `ValueError` or `ServerError`."""
    a = Variant.parse(options.a, options.a_form, options.a_source)
    b = Variant.parse(options.b, options.b_form, options.b_source)
    results = Results([])
    if options.closed_blocks:
        _closed(options, (a, b, a), results)
    if options.goodput_blocks:
        _goodput(options, (a, b, a), results)
    rows = [*compare(results.closed), *compare_rates(results)]
    sides = {f"{name}_{key}": str(getattr(options, f"{name}_{key}")) for name in "ab" for key in ("form", "source")}
    return table(rows), {"a": options.a, "b": options.b, **sides, "rows": [asdict(row) for row in rows]}


def _closed(options: argparse.Namespace, sides: Sequence[Variant], results: Results) -> None:
    """Measure the closed loop. Raises `ValueError` if an answer had no full list."""
    contenders, subject = _contenders(options, sides, _UNHURRIED)
    with on_cpus(subject.split.client), arena(contenders, (), subject.split) as places:
        for _ in compare_closed(places, results, options):
            if lost := [row for row in results.closed if row.full_share < 1]:
                raise ValueError(f"{lost[0].contender}: {1 - lost[0].full_share:.1%} of the answers had no full list")


def _goodput(options: argparse.Namespace, sides: Sequence[Variant], results: Results) -> None:
    """Search the goodput of all sides, in blocks."""
    contenders, subject = _contenders(options, sides, {})
    settings = argparse.Namespace(
        blocks=options.goodput_blocks,
        seconds=options.goodput_seconds,
        guess=options.guess,
        resolution=options.resolution,
        budget_ms=options.budget_ms,
        seed=options.seed,
    )
    with on_cpus(subject.split.client), arena(contenders, (), subject.split) as places:
        for progress in compare_goodput(places, results, settings):
            print(progress, flush=True)


def _contenders(
    options: argparse.Namespace, sides: Sequence[Variant], defaults: Mapping[str, str]
) -> tuple[list[Contender], Subject]:
    """Make the services with their requests, and a subject whose CPUs are theirs.

    The requests of all are of the same items.
    """
    forms = {side.form for side in sides}
    items = items_from(argparse.Namespace(items=options.items, form="catalogue" if "catalogue" in forms else "objects"))
    subjects = {form: subject_from(options, timeout_ms=1000, count=16, form=form, items=items) for form in forms}
    found = [side.contender(name, subjects[side.form], defaults) for name, side in zip(SIDES, sides, strict=True)]
    return found, subjects[sides[0].form]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is 0, or 2 without a run."""
    parser = command_parser("loadtest.cost.paired", __doc__, without=("--form",))
    add = parser.add_argument
    add("--a", default="", metavar="OPTIONS", help="the first service's settings (none)")
    add("--b", default="", metavar="OPTIONS", help="the second's (none)")
    for side in ("a", "b"):
        add(f"--{side}-form", choices=FORMS, default="objects", help=f"form of {side}'s requests (objects)")
        add(f"--{side}-source", type=Path, metavar="FOLDER", help=f"source tree that {side} runs from (this one)")
    add("--concurrency", type=int, nargs="+", default=[1, 8], help="requests in flight (1 8)")
    add("--closed-blocks", "--blocks", type=int, default=30, help="turns of all services; 0: none (30)")
    add("--closed-seconds", "--seconds", type=float, default=1.5, help="length of a window (1.5)")
    add("--goodput-blocks", type=int, default=0, help="turns in which the goodput of all is searched (0)")
    add("--goodput-seconds", type=float, default=3.0, help="length of a window of a search (3)")
    add("--guess", type=float, default=300.0, help="rate that a search begins with, requests/s (300)")
    add("--resolution", type=float, default=1.03, help="ratio that a search goes down to (1.03)")
    add("--budget-ms", type=float, default=BUDGET_MS, help="p99 that the goodput keeps (19)")
    return run_command(parser, argv, measure)


if __name__ == "__main__":
    raise SystemExit(main())
