"""Compare policies of overload in a model of the service's two threads on one CPU.

The service's own code decides, and the model charges CPU time for what it does (`costs.py`). All policies get the same
seeds: the same arrivals, neighbours and costs. So a difference between two of them is not the noise of runs.
``--scale`` multiplies all costs, for a quicker or slower machine. A simulated minute takes a few seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from multiprocessing import get_context

from loadtest.resilience.overload_model.costs import Costs
from loadtest.resilience.overload_model.figures import Load, simulate, table
from loadtest.resilience.overload_model.policy import KEPT, OTHERS

_TIMES = ("body", "deliver", "formula", "gather", "head", "prepare", "respond", "run_each", "run_fixed", "turn")


def scaled(costs: Costs, factor: float) -> Costs:
    """Return the costs of a machine that is so many times slower."""
    times = {field.name: getattr(costs, field.name) * factor for field in fields(costs) if field.name in _TIMES}
    return replace(costs, **times)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table; the exit status is 0."""
    parser = argparse.ArgumentParser("python -m loadtest.resilience.overload_model", description=__doc__)
    add = parser.add_argument
    add("--goodput", type=float, default=147.0, help="requests/s (147, as published)")
    add("--factor", type=float, default=3.0, help="times the goodput to offer (3)")
    add("--seconds", type=float, default=60.0, help="length of the overload (60)")
    add("--poisson", action="store_true", help="let requests come at random, and not evenly as the client sends them")
    add("--scale", type=float, default=1.0, help="times the costs of the model's machine (1)")
    add("--seeds", type=int, default=4, help="runs of each policy (4)")
    add("--all", action="store_true", help="also what was tried and not kept")
    add("--processes", type=int, default=1, help="processes that run the model (1)")
    options = parser.parse_args(argv)
    load = Load(options.goodput, options.factor, options.seconds, poisson=options.poisson)
    policies = [
        replace(policy, refuse=policy.refuse * options.scale) for policy in (KEPT + OTHERS if options.all else KEPT)
    ]
    costs = scaled(Costs(), options.scale)
    tasks = [(policy, costs, load, seed) for policy in policies for seed in range(options.seeds)]
    # Not by fork: a process that has threads leaves its locks held in the copy.
    with get_context("spawn").Pool(options.processes) as pool:
        runs = pool.starmap(simulate, tasks, chunksize=1)
    found = [(policy, runs[i * options.seeds : (i + 1) * options.seeds]) for i, policy in enumerate(policies)]
    print(table(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
