"""Report an experiment from the steps that are done: JSON, Markdown, plots, a page.

It can be written at any time; figures of steps that are not done say "not run".
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import torch

from models.evaluation.degre import figures, layout, planners_table
from models.evaluation.degre.contents import contents_of
from models.evaluation.degre.scores import PlannerRun, finished, score
from models.evaluation.degre.value_accuracy import ACCURACY_FILE, ACCURACY_STEP, accuracy_table
from models.evaluation.degre.workspace import DATA, Workspace
from models.evaluation.hardware import sum_up_hardware
from models.evaluation.steps import OPTIONS_FILE, ExperimentStep, is_done, read_marker, read_markers
from models.files import whole_file, write_json

REPORT_FILE: Final = "report.md"
FIGURES_FILE: Final = "figures.json"
_NOT_RUN: Final[dict[str, Any]] = {"seconds": None, "resumed": False, "notes": {}}


def write_report(space: Workspace, steps: Sequence[ExperimentStep], command: str) -> str:
    """Value all lists that are not valued yet, write all files, return the Markdown.

    `steps` are all there could be.
    """
    profile, main = space.profile, planners_table.main_planners(space.profile)
    grid = [entry.row for entry in planners_table.grid(profile)]
    everyone = [*main, *planners_table.ablations(profile), *grid, *planners_table.sweep_planners(profile)]
    everyone = list(dict.fromkeys(everyone))
    runs = [PlannerRun(p, mix, s) for p in everyone for mix in range(len(space.mixes)) for s in range(profile.seeds)]
    runs += [PlannerRun(p, 0, s) for p in everyone for s in range(profile.seeds, profile.sweep_seeds)]
    score(space, finished(space.root, runs))
    score(space, finished(space.root, [PlannerRun(planner, 0, 0) for planner in main]), "sets")
    report = all_figures(space, steps, command)
    write_json(space.root / FIGURES_FILE, report)
    contents_of(report, _titles(space), planners_table.PRIOR.title, planners_table.beamed(profile).title).write(
        space.root
    )
    layout.draw_sweeps(space.root / layout.SWEEPS_FILE, report["sweeps"])
    layout.draw_bars(space.root / layout.BARS_FILE, report["hit_rates"])
    text = markdown(space, report)
    with whole_file(space.root / REPORT_FILE) as file:
        file.write_text(text, "utf-8")
    return text


def all_figures(space: Workspace, steps: Sequence[ExperimentStep], command: str) -> dict[str, Any]:
    """Compute everything that is known, as plain JSON."""
    profile, rows, prior = space.profile, planners_table.main_planners(space.profile), planners_table.PRIOR
    best = [*planners_table.larger(profile), *planners_table.distilled(profile)[:2]]
    ablations, mixed = planners_table.ablations(profile), planners_table.mixed(profile)
    rivals = [p for p in rows if p.family in ("baseline", "degre", "search")] + [prior]
    return {
        "setting": _setting(space, command),
        "hit_rates": figures.hit_table(space, rows, 0, profile.seeds),
        "differences": figures.per_judge(space, 0, lambda view: view.differences(best, rivals, profile.seeds)),
        "gains": figures.gain_table(space, rows, 0, profile.seeds),
        "sets_and_orders": figures.per_judge(space, 0, lambda view: view.sets_and_orders(rows, prior)),
        "exhaustive": figures.exhaustive_table(space, rows, profile.seeds),
        "accuracy": _accuracy(space),
        "ablations": figures.hit_table(space, ablations, 0, profile.sweep_seeds),
        "distances": figures.per_judge(space, 0, lambda view: view.distances(ablations, profile.sweep_seeds)),
        "grid": figures.grid_table(space),
        "sweeps": _sweeps(space),
        "mixes": [
            {
                "weights": list(mix),
                "hit_rates": figures.hit_table(space, mixed, m, 1),
                "gains": figures.gain_table(space, mixed, m, 1),
            }
            for m, mix in enumerate(space.mixes[1:], 1)
        ],
        "steps": [{"step": step.name, **(read_marker(space.root, step.name) or _NOT_RUN)} for step in steps],
    }


def markdown(space: Workspace, report: dict[str, Any]) -> str:
    """Write the report for reading."""
    titles = _titles(space)
    setting, accuracy, prior = report["setting"], report["accuracy"], planners_table.PRIOR.title
    beam = planners_table.beamed(space.profile).title
    show_gains = partial(layout.gain_tables, titles=titles, base=prior, ceiling=beam)
    parts = [
        f"# DeGRe on {setting['data']['file']}, profile {setting['profile']['name']}",
        _preamble(setting),
        f"## Generators (Table 2's form)\n\n{layout.CEILING}: searches the judge itself, and is a ceiling under it.",
        layout.hit_tables(report["hit_rates"], titles),
        *_picture(space, layout.BARS_FILE),
        "## Paired differences",
        layout.difference_tables(report["differences"], titles),
        f"## Gains over the {prior}",
        show_gains(report["gains"]),
        f"## Sets and orders: gain over the {prior}\n\n"
        "A list's set is worth the mean over random permutations of it; its order brings the rest. "
        f"In clicks, on {min(space.profile.order_requests, len(space.test))} requests, seed 0.",
        layout.set_and_order_tables(report["sets_and_orders"], titles),
        "## Against all lists",
        layout.exhaustive_tables(report["exhaustive"], titles),
        "## Evaluators (Table 3's form)",
        f"{accuracy_table(accuracy['rows'])}\n\n{accuracy['lists']} test lists." if accuracy else layout.MISSING,
        "## Ablations (Table 4's form)",
        layout.hit_tables(report["ablations"], titles),
        "Values on all requests that ablations are valued on, each less the first row's:",
        layout.distance_tables(report["distances"], titles),
        f"## Value models and planners\n\n{layout.CEILING}: searches the judge itself.",
        layout.grid_table(report["grid"], titles),
        "## Sweeps (Figure 4's form)",
        layout.sweep_tables(report["sweeps"], titles),
        *_picture(space, layout.SWEEPS_FILE),
    ]
    for mix in report["mixes"]:
        weights = ", ".join(f"{w:g}" for w in mix["weights"])
        hit_rates, gains = layout.hit_tables(mix["hit_rates"], titles), show_gains(mix["gains"])
        parts += [f"## Objectives α, β, γ = {weights}", hit_rates, gains]
    parts += ["## What each step took", layout.cost_table(report["steps"])]
    return "\n\n".join(parts) + "\n"


def _titles(space: Workspace) -> dict[str, str]:
    return {judge.name: judge.title for judge in space.judges}


def _picture(space: Workspace, name: str) -> list[str]:
    return [f"![{name}]({name})"] if (space.root / name).exists() else []


def _setting(space: Workspace, command: str) -> dict[str, Any]:
    data = json.loads((space.root / DATA / OPTIONS_FILE).read_text("utf-8"))
    lists = read_marker(space.root, DATA)
    assert lists is not None
    return {
        "command": command,
        "data": {"file": data["data"], "sha256": data["sha256"], "lists": lists["notes"]["lists"]},
        "simulated": space.simulated,
        "profile": dataclasses.asdict(space.profile),
        "requests": len(space.test),
        "mining_slates": len(space.slates(space.profile.mining_slates)),
        "objectives": [list(mix) for mix in space.mixes],
        "units": list(space.data.units),
        "hardware": sum_up_hardware(read_markers(space.root)),
        "torch": torch.__version__,
    }


def _preamble(setting: dict[str, Any]) -> str:
    profile = setting["profile"]
    simulated = "simulated lists, whose true value is known" if setting["simulated"] else "logged lists"
    lists = ", ".join(f"{count} {name}" for name, count in setting["data"]["lists"].items())
    return (
        f"Command: `{setting['command']}`\n\n"
        f"Data: {simulated}; {lists}; SHA-256 `{setting['data']['sha256']}`. "
        f"The evaluator learns from one half of each user's training lists, all judges from the other. "
        f"{setting['requests']} test requests, {profile['random_lists']:,} random lists each; "
        f"sequences mined for {setting['mining_slates']:,} training requests.\n\n"
        f"Models: d = {profile['dim']}, {profile['evaluator_layers']} layers in the evaluator and "
        f"{profile['generator_layers']} in each half of a generator. One evaluator and one of each judge; "
        f"up to {profile['seeds']} seeds of each learnt generator ({profile['sweep_seeds']} in ablations and sweeps), "
        f"as many as the tables say. Hardware: {setting['hardware']}; torch {setting['torch']}.\n\n"
        "Intervals are 95% percentile bootstraps over requests; a request counts with the mean over seeds. "
        "Values are in clicks."
    )


def _accuracy(space: Workspace) -> dict[str, Any] | None:
    if not is_done(space.root, ACCURACY_STEP):
        return None
    report: dict[str, Any] = json.loads((space.root / ACCURACY_STEP / ACCURACY_FILE).read_text("utf-8"))
    return report


def _sweeps(space: Workspace) -> list[dict[str, Any]]:
    profile = space.profile
    table = figures.hit_table(space, planners_table.sweep_planners(profile), 0, profile.sweep_seeds)
    rows = {judge: {row["planner"]: row for row in part["rows"]} if part else {} for judge, part in table.items()}

    def point(x: float, planner: str) -> dict[str, Any]:
        return {"x": x, "judges": {judge: found.get(planner) for judge, found in rows.items()}}

    return [
        {"symbol": symbol, "points": [point(x, planner.name) for x, planner in points.items()]}
        for symbol, points in planners_table.sweeps(profile).items()
    ]
