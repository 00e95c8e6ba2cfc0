"""Inject faults into services that are started for it, and show what their clients saw.

``make chaos``, or ``python -m loadtest.resilience.chaos --only kill-worker upgrade``. Each scenario starts a service of
its own with the embedded bundle and sends it good requests at a constant rate meanwhile. The exit status is 0 if all
went right, 1 if a scenario failed, and 2 for wrong options.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from loadtest.resilience.chaos import bundles, http, pressure, processes, resources, starting
from loadtest.resilience.chaos.scenario import Outcome, Scenario, Skipped, Trial, details, table
from loadtest.rig.machine import made_with
from loadtest.rig.subject import finite
from models.files import write_json

GROUPS: Final = (processes, bundles, http, pressure, resources, starting)
SCENARIOS: Final[tuple[Scenario, ...]] = tuple(scenario for group in GROUPS for scenario in group.SCENARIOS)


def carry_out(scenario: Scenario, scratch: Path, cache: Path, seed: int) -> Outcome:
    """Carry out one scenario in a folder of its own; an error fails it."""
    folder = scratch / scenario.name
    folder.mkdir()
    trial = Trial(folder, cache, random.Random(f"{seed} {scenario.name}"))
    began = time.monotonic()
    skipped = error = None
    try:
        scenario.act(trial)
    except Skipped as reason:
        skipped = str(reason)
    except Exception as broken:  # One scenario that breaks must not end the others.
        error = f"{type(broken).__name__}: {broken}"
    return Outcome(scenario, trial, time.monotonic() - began, skipped, error)


def run(scenarios: Iterable[Scenario], seed: int) -> list[Outcome]:
    """Carry out scenarios one after the other, with a line for each on the way."""
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="listwright-chaos-", ignore_cleanup_errors=True) as scratch:
        cache = Path(scratch) / "cache"
        for scenario in scenarios:
            outcome = carry_out(scenario, Path(scratch), cache, seed)
            print(f"{scenario.name:<20} {outcome.verdict.strip('*'):<8} {outcome.seconds:5.1f} s", flush=True)
            outcomes.append(outcome)
    return outcomes


def render(outcomes: Sequence[Outcome]) -> str:
    """Return the table, then what failed or was skipped, the notes and the sums."""
    failed = sum(outcome.failed for outcome in outcomes)
    skipped = sum(outcome.skipped is not None for outcome in outcomes)
    lost = sum(outcome.trial.lost or 0 for outcome in outcomes)
    sums = f"{len(outcomes)} faults: {failed} failed, {skipped} skipped, {lost} accepted requests lost."
    return "\n".join([table(outcomes), "", *details(outcomes), "", sums])


def chosen(options: argparse.Namespace) -> list[Scenario]:
    """Return the scenarios that the options name. Raises `ValueError` for an unknown name."""
    known = {scenario.name: scenario for scenario in SCENARIOS}
    if unknown := sorted(set(options.only or ()) - known.keys()):
        raise ValueError(f"--only: no scenario is called {', '.join(unknown)}; see --list")
    if options.only:
        return [known[name] for name in options.only]
    return [scenario for scenario in SCENARIOS if scenario.quick or not options.quick]


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the scenarios and print; see the module for the exit status."""
    parser = argparse.ArgumentParser("python -m loadtest.resilience.chaos", description=__doc__)
    add = parser.add_argument
    add("--only", nargs="+", metavar="NAME", help="carry out these scenarios alone")
    add("--quick", action="store_true", help="carry out the short form that `make test` runs")
    add("--list", action="store_true", help="list the scenarios and end")
    add("--seed", type=int, default=0, help="seed of everything random (0)")
    add("--json", type=Path, metavar="FILE", help="write everything here too")
    options = parser.parse_args(argv)
    try:
        scenarios = chosen(options)
    except ValueError as error:
        parser.exit(2, f"loadtest.resilience.chaos: {error}\n")
    if options.list:
        print("\n".join(f"{s.name:<20} {f'row {s.row}' if s.row else '':<7} {s.fault}: {s.how}" for s in scenarios))
        return 0
    outcomes = run(scenarios, options.seed)
    print(render(outcomes))
    if options.json:
        report = {**made_with(options.seed), "scenarios": [o.to_json() for o in outcomes]}
        write_json(options.json, finite(report))
    return 1 if any(outcome.failed for outcome in outcomes) else 0


if __name__ == "__main__":
    raise SystemExit(main())
