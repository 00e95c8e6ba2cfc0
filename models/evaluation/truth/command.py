"""Compare all methods of both papers in a declared world, from logs to tables.

Each step is done once, and an interrupted run goes on where it was. A step that fails is reported, and all that does
not need it goes on.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from functools import partial
from pathlib import Path

from models.evaluation.parallel_steps import run_in_parallel
from models.evaluation.step_options import add_step_options, read_ray_options, step_workers
from models.evaluation.steps import check_options, parse_groups
from models.evaluation.truth.profile import add_options, load_profile
from models.evaluation.truth.report import REPORT_FILE, write_report
from models.evaluation.truth.steps import GROUPS, all_steps
from models.evaluation.truth.wanted_steps import wanted_steps


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="FOLDER", help="the experiment's folder, new or begun")
    add_step_options(parser, "processes, of one thread each (default: one for each CPU core)")
    parser.set_defaults(device="cpu", threads=1)
    add("--steps", type=parse_groups(GROUPS), metavar="GROUP,…", help=f"only these: {', '.join(GROUPS)} (default: all)")
    add(
        "--only",
        type=_names,
        metavar="METHOD,…",
        help="only these methods, or groups of them, and what they need (default: all)",
    )
    add("--points", type=_names, metavar="NAME,…", help="only these worlds, such as main or kappa-0 (default: all)")
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the steps that are not done, then write and print the report.

    Return 1 if a step that was asked for is not done.
    """
    ray = read_ray_options(arguments)
    root, profile, groups = arguments.out, load_profile(arguments.profile, arguments.set), arguments.steps or GROUPS
    steps = all_steps(root, profile)
    wanted = wanted_steps(steps, groups, arguments.only, arguments.points)
    check_options(root, steps)  # The report states one set of sizes, so those of steps not asked for count too.
    with step_workers(ray, arguments.jobs or os.cpu_count() or 1) as workers:
        failures = run_in_parallel(root, partial(all_steps, root.resolve(), profile), wanted, workers)
    if "report" in groups:
        print(write_report(root, profile, shlex.join(["listwright", *sys.argv[1:]])))
        print(f"\n{root / REPORT_FILE}")
    for step, reason in failures.items():
        print(f"{step}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.split(",")))
