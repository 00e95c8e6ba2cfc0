"""Run DeGRe's experiments on a list file, from training to the tables.

Steps run in the order in which their tables matter; each is done once, and an interrupted run goes on where it was.
The report can be written at any time and says what has not been run. For MovieLens: 12 candidates, 6 positions, clicks.
For a simulated list file the truth is one more judge, and mixes of objectives are evaluated too.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from models.data.reading.stores import absolute_source
from models.evaluation.degre import planners_table
from models.evaluation.degre.judges import EVALUATOR, PRIMARY, TRUTH
from models.evaluation.degre.planner_steps import generator_step, mining_steps
from models.evaluation.degre.profile import Profile, add_options, load_profile
from models.evaluation.degre.report import REPORT_FILE, write_report
from models.evaluation.degre.searches import search_step
from models.evaluation.degre.value_accuracy import accuracy_steps
from models.evaluation.degre.value_steps import comparison_values_step, data_step, exhaustive_values_step, train_step
from models.evaluation.degre.workspace import DATA, Workspace
from models.evaluation.parallel_steps import Workers, run_in_parallel
from models.evaluation.schedule import Schedule
from models.evaluation.step_actors import RayWorkers
from models.evaluation.step_options import add_step_options, read_ray_options, step_workers
from models.evaluation.steps import ExperimentStep, check_options, is_done, parse_groups, run_step
from models.options import add_device_options, use_threads
from models.training.value import choose_device

GROUPS: Final = (
    *("data", "evaluator", "search", "mining", "degre", "baselines", "judges"),
    *("exhaustive", "accuracy", "ablations", "grid", "mixes", "sweeps", "report"),
)
"""Groups of steps for ``--steps``."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE", help="list file (Parquet)")
    add("--out", type=Path, required=True, metavar="FOLDER", help="the experiment's folder, new or begun")
    add("--steps", type=parse_groups(GROUPS), metavar="GROUP,…", help=f"only these: {', '.join(GROUPS)} (default: all)")
    add_step_options(parser, "processes; several compute on one thread each (default: this one, on --threads)")
    add_device_options(parser)
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the steps that are not done, then write and print the report.

    Return 1 if a step that was asked for is not done.
    """
    use_threads(arguments)
    ray, jobs = read_ray_options(arguments), arguments.jobs or 1
    profile = load_profile(arguments.profile, dict(arguments.set))
    if ray is None and jobs == 1:
        return _run(arguments, profile, choose_device(arguments.device), None)
    # A cluster that is not there is told before a large file is read.
    with step_workers(ray, jobs) as workers:
        if isinstance(workers, RayWorkers):  # whose machines may have GPUs where this one has none
            device = torch.device(workers.cluster.device)
        else:
            device = choose_device(arguments.device)
        return _run(arguments, profile, device, workers)


def _run(arguments: argparse.Namespace, profile: Profile, device: torch.device, workers: Workers[Any] | None) -> int:
    space, groups = Workspace(arguments.out, arguments.data, profile, device), arguments.steps or GROUPS
    # Later steps depend on the content of the data, so it is encoded first.
    data = data_step(space)
    check_options(space.root, [data])
    if data.group in groups:
        run_step(space.root, data)
    if not is_done(space.root, DATA):
        raise ValueError(f"{space.root}: the data is not encoded yet; run the step 'data' first")
    steps = all_steps(space)
    # Steps build on one another and the report states one set of sizes, so those not asked for count too.
    check_options(space.root, steps)
    wanted = [step.name for step in steps if step.group in groups]
    if workers is None:
        failures = _run_here(space.root, steps, wanted)
    else:
        source = Path(absolute_source(arguments.data))
        make_steps = partial(_steps_of, arguments.out.resolve(), source, profile, device)
        failures = run_in_parallel(space.root, make_steps, wanted, workers)
    if "report" in groups:
        print(write_report(space, steps, shlex.join(["listwright", *sys.argv[1:]])))
        print(f"\n{space.root / REPORT_FILE}")
    for name, reason in failures.items():
        print(f"{name}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def _steps_of(root: Path, source: Path, profile: Profile, device: torch.device) -> list[ExperimentStep]:
    """Make the steps in another process, whose workspace reads the data itself."""
    return all_steps(Workspace(root, source, profile, device))


def _run_here(root: Path, steps: Sequence[ExperimentStep], wanted: Collection[str]) -> dict[str, str]:
    """Run the `wanted` steps in this process.

    Return by name why some are not done. A failure leaves those that do not need the step their rows.
    """
    schedule, named = Schedule(root, steps, wanted), {step.name: step for step in steps}
    schedule.skip_what_cannot_run()
    i, count = 0, len(schedule.waiting)
    while (name := schedule.start_next()) is not None:
        i += 1
        print(f"[{i}/{count}] {name}")
        try:
            run_step(root, named[name])
        except (ValueError, OSError, RuntimeError) as error:
            print(f"{name} failed: {error}", file=sys.stderr)
            schedule.fail(name, str(error))
        else:
            schedule.finish(name)
    return schedule.failures


def all_steps(space: Workspace) -> list[ExperimentStep]:
    """List every step of the experiment, the most important tables first.

    Mining that several tables need belongs to the first of them.
    """
    profile = space.profile
    main = [*planners_table.distilled(profile), *planners_table.BASELINES]
    members = list(dict.fromkeys(m for judge in space.judges for m in judge.members))
    # The evaluator and the primary judge come first, and where the truth is known, the truth: it needs no training.
    early = [m for m in members if m in (EVALUATOR, *PRIMARY.members, TRUTH)]
    others = [m for m in members if m not in early]
    steps = [
        data_step(space),
        train_step(space, EVALUATOR, "evaluator"),
        train_step(space, PRIMARY.name, "evaluator"),
        *(comparison_values_step(space, name, "evaluator") for name in early),
        *(search_step(space, planner, 0) for planner in planners_table.searches(profile)),
        *_learnt(space, [*planners_table.larger(profile), *main], 0, range(1), "mining"),
        *(train_step(space, name, "judges") for name in others),
        *(comparison_values_step(space, name, "judges") for name in others),
        *(exhaustive_values_step(space, name, "exhaustive") for name in _single(space)),
        search_step(space, planners_table.EXHAUSTIVE, 0),
        *accuracy_steps(space),
        *_learnt(space, planners_table.ablations(profile), 0, range(profile.sweep_seeds), "ablations"),
        *_grid(space),
        *_mixes(space),
        *_learnt(space, planners_table.sweep_planners(profile), 0, range(profile.sweep_seeds), "sweeps"),
        *_learnt(space, main, 0, range(1, profile.seeds), "mining"),
    ]
    first: dict[str, ExperimentStep] = {}
    for step in steps:
        first.setdefault(step.name, step)
    return list(first.values())


def _learnt(
    space: Workspace, planners: Sequence[planners_table.PlannerRow], mix: int, seeds: range, group: str
) -> list[ExperimentStep]:
    """List the mining of `planners`, in `group`, and their generators."""
    steps = mining_steps(space, planners, mix, group)
    return steps + [generator_step(space, planner, mix, seed) for seed in seeds for planner in planners]


def _grid(space: Workspace) -> list[ExperimentStep]:
    rows = [entry.row for entry in planners_table.grid(space.profile)]
    searches = [search_step(space, row, 0) for row in rows if row.search is not None]
    return searches + _learnt(space, [row for row in rows if row.recipe is not None], 0, range(1), "grid")


def _mixes(space: Workspace) -> list[ExperimentStep]:
    steps: list[ExperimentStep] = []
    for mix in range(1, len(space.mixes)):
        rows = [p for p in planners_table.mixed(space.profile) if p.recipe or p.baseline]
        steps += [search_step(space, planner, mix) for planner in planners_table.searches(space.profile)]
        steps += _learnt(space, rows, mix, range(1), "mixes")
    return steps


def _single(space: Workspace) -> list[str]:
    """Return the valuers of all lists: evaluator, primary judge, and the truth where known."""
    return [EVALUATOR, *PRIMARY.members, *([TRUTH] if space.simulated else [])]
