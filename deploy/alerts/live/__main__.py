"""Make each alert fire against a live service, and show the seconds it took.

``make alerts-test``, or ``python -m deploy.alerts.live --only scenes hang``. Needs prometheus, and redis-server for one
fault. The exit status is 0 if every alert fired, and nothing without a fault; 1 if not; 2 for wrong options.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tabulate import tabulate

from deploy.alerts.files import ALERTS
from deploy.alerts.live import contents_faults, process_faults, requests_faults
from deploy.alerts.live.fault import Fault, Outcome, Stage
from loadtest.resilience.chaos.scenario import Skipped, Trial
from loadtest.rig.machine import made_with
from loadtest.rig.subject import finite
from models.files import write_json

FAULTS: Final[tuple[Fault, ...]] = (*requests_faults.FAULTS, *process_faults.FAULTS, *contents_faults.FAULTS)
HEAD: Final = ("alert", "made to fire by", "fired after")


def carry_out(fault: Fault, folder: Path, cache: Path) -> Outcome:
    """Cause one fault in a folder of its own; an error fails it."""
    own = folder / fault.name
    own.mkdir()
    stage = Stage(Trial(own, cache, random.Random(fault.name)), fault.alerts)
    try:
        fault.act(stage)
    except Skipped as reason:
        return Outcome(fault, stage, skipped=str(reason))
    except Exception as broken:  # One fault that breaks off must not end the others.
        return Outcome(fault, stage, error=f"{type(broken).__name__}: {broken}")
    return Outcome(fault, stage)


def run(faults: Sequence[Fault]) -> list[Outcome]:
    """Cause faults one after the other, with a line for each on the way."""
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="listwright-alerts-", ignore_cleanup_errors=True) as scratch:
        for fault in faults:
            outcome = carry_out(fault, Path(scratch), Path(scratch) / "cache")
            verdict = (
                "skipped" if outcome.skipped else "FAILED" if outcome.failed else "fired" if fault.alerts else "pass"
            )
            print(f"{fault.name:<16} {verdict}", *(f"\n  {line}" for line in outcome.why()), flush=True)
            outcomes.append(outcome)
    return outcomes


def render(outcomes: Sequence[Outcome]) -> str:
    """Return the alerts that fired as Markdown, in the rules' order; then the sums."""
    first: dict[str, tuple[str, float]] = {}
    for outcome in outcomes:
        for name in outcome.fault.alerts:
            if name in outcome.stage.fired:
                first.setdefault(name, (outcome.fault.how, outcome.stage.fired[name]))
    fired = [(f"`{a.name}`", first[a.name][0], f"{first[a.name][1]:.0f} s") for a in ALERTS if a.name in first]
    sums = f"{len(fired)} of {len(ALERTS)} alerts fired; {sum(o.failed for o in outcomes)} faults failed."
    return f"{tabulate(fired, HEAD, 'pipe', disable_numparse=True)}\n\n{sums}"


def main(argv: Sequence[str] | None = None) -> int:
    """Cause the faults and print; see the module for the exit status."""
    parser = argparse.ArgumentParser("python -m deploy.alerts.live", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="cause these faults alone")
    parser.add_argument("--list", action="store_true", help="list the faults and end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything here too")
    options = parser.parse_args(argv)
    known = {fault.name: fault for fault in FAULTS}
    if unknown := sorted(set(options.only or ()) - known.keys()):
        parser.exit(2, f"deploy.alerts.live: --only: no fault is called {', '.join(unknown)}; see --list\n")
    if options.list:
        print("\n".join(f"{fault.name:<16} {fault.how}: {', '.join(fault.alerts) or 'nothing'}" for fault in FAULTS))
        return 0
    outcomes = run([known[name] for name in options.only or known])
    print(render(outcomes))
    if options.json:
        found = [{"fault": o.fault.name, "how": o.fault.how, "fired": o.stage.fired, "why": o.why()} for o in outcomes]
        options.json.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.json, finite({**made_with(0), "faults": found}))
    return 1 if any(outcome.failed for outcome in outcomes) else 0


if __name__ == "__main__":
    raise SystemExit(main())
