"""Evaluate real logs fold by fold, from the raw file to tables of all folds.

Each step is the console command that a user would type, so the steps' logs are also a recipe. A step that is done is
skipped, and training goes on where it stopped, so an interrupted run is started again with the same line.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from models.evaluation.scoring import ComparedOrders, ListResult, summarise
from models.evaluation.steps import ExperimentStep, run_command, run_steps
from models.evaluation.tables import comparison_tables, value_table
from models.files import write_json
from models.options import parse_seed

_PACKAGES: Final = ("torch", "onnxruntime", "lightgbm", "numpy", "scipy")
_ENVIRONMENT: Final = {
    # LightGBM and PyTorch would otherwise take every core.
    "OMP_NUM_THREADS": "1",
    # The model is measured, not the machine.
    "LISTWRIGHT_BUDGET_MS": "60000",
}


@dataclass(frozen=True, slots=True)
class FoldRecipe:
    """Hold the options of each command for one source.

    They are written out, so that a new default does not change what the tables were made with. A model that is worse
    than the sort is exported all the same: the tables are there to say so.
    """

    train: str
    logs: str = ""
    export: str = "--head-width 2 --beam-width 1 --requests 40 --accept-worse"


_DEFAULTS: Final = (
    "--head hazard --context full --dim 64 --layers 2 --heads 4 --field-dim 16 --dropout 0.1 --batch-size 512 "
    "--learning-rate 4e-3 --weight-decay 0.05 --warmup 0.1 --epochs 12 --patience 5"
)
"""The options of `listwright train sort-gen`: one configuration for all logs."""

RECIPES: Final = {
    "expedia": FoldRecipe(train=f"--list-length 38 {_DEFAULTS}"),
    "trivago": FoldRecipe(
        train=f"--list-length 25 {_DEFAULTS}",
        logs="--objectives 1,0,0",  # no purchases are recorded, so their counts are never trained
    ),
}


@dataclass(frozen=True, slots=True)
class FoldCommand:
    """Describe one command of a fold and the file that it leaves."""

    name: str
    result: Path
    command: Sequence[str]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("source", choices=sorted(RECIPES), help="whose files and whose recipe")
    add("--path", type=Path, required=True, metavar="PATH", help="the source's file, as for `listwright data`")
    add("--out", type=Path, required=True, metavar="FOLDER", help="folder for everything, for example runs/expedia")
    add("--folds", type=int, default=5, help="number of folds (default: %(default)s)")
    add("--only", type=int, nargs="+", metavar="FOLD", help="run these folds only (default: all)")
    add("--seed", type=parse_seed, default=0, help="seed of splits, scores, training and bootstrap (default: 0)")
    for name, command in (("train", "train sort-gen"), ("export", "export"), ("logs", "evaluate logs")):
        add(f"--{name}", metavar="OPTIONS", help=f"options of `listwright {command}` instead of the recipe's")


def run(arguments: argparse.Namespace) -> int:
    """Run the steps that are not done, then write and print ``report.md`` and ``report.json``."""
    chosen = arguments.only or range(arguments.folds)
    out: Path = arguments.out
    run_steps(out, [step for fold in chosen for step in fold_steps(arguments, fold)], print)
    report = pooled_report([out / f"fold-{fold}" for fold in chosen], seed=arguments.seed)
    write_json(out / "report.json", report)
    text = report_text(report)
    (out / "report.md").write_text(text, "utf-8")
    print(text)
    return 0


def chosen_recipe(arguments: argparse.Namespace) -> FoldRecipe:
    """Return the source's recipe, with the command line's options in place of its own."""
    given = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(FoldRecipe)}
    return dataclasses.replace(RECIPES[arguments.source], **{k: v for k, v in given.items() if v is not None})


def fold_steps(arguments: argparse.Namespace, fold: int) -> list[ExperimentStep]:
    """Make the steps of one fold, one for each of its commands."""
    options = {key: getattr(arguments, key) for key in ("source", "folds", "seed")}
    options |= {"file": arguments.path.name, **dataclasses.asdict(chosen_recipe(arguments))}
    commands = fold_commands(arguments, fold)
    return [ExperimentStep(f"fold-{fold}/{c.name}", "folds", options, partial(_run, c)) for c in commands]


def fold_commands(arguments: argparse.Namespace, fold: int) -> Iterator[FoldCommand]:
    """Return the commands of one fold, in order."""
    recipe, folder, source = chosen_recipe(arguments), arguments.out / f"fold-{fold}", arguments.source
    lists, trained, bundles = folder / "lists.parquet", folder / "run", folder / "bundles"
    checkpoint, results, seed = trained / "checkpoint.pt", folder / "logs.json", f"--seed={arguments.seed}"
    data = f"data {source} --folds {arguments.folds} --fold {fold} --quiet"
    yield _command("data", lists, data, seed, f"--path={arguments.path}", f"--output={lists}")
    train = f"train sort-gen --threads 1 {recipe.train}"
    yield _command("train", checkpoint, train, seed, f"--data={lists}", f"--out={trained}", "--resume=auto")
    manifest = bundles / source / "1" / "bundle.json"
    export = f"export --name {source} --version 1 {recipe.export}"
    yield _command("export", manifest, export, seed, f"--checkpoint={checkpoint}", f"--out={bundles}")
    # The service is started by the load tools' command line: no package below the service imports it.
    serve = (sys.executable, "-m", "loadtest.rig.server", f"--bundles={bundles}", "--")
    ask = _command("logs", results, f"evaluate logs {recipe.logs}", seed, f"--data={lists}", f"--json={results}")
    yield dataclasses.replace(ask, command=[*serve, *ask.command, "--url={url}"])


def _command(name: str, result: Path, words: str, *options: str) -> FoldCommand:
    return FoldCommand(name, result, [sys.executable, "-m", "models.cli", *words.split(), *options])


def _run(command: FoldCommand, folder: Path) -> dict[str, str]:
    # A command may have been killed between its last line and the step's marker: a version is exported once only.
    if not command.result.exists():
        run_command(command.command, folder / "log.txt", _ENVIRONMENT)
    return {"result": command.result.name}


def pooled_report(folders: Sequence[Path], *, seed: int) -> dict[str, Any]:
    """Pool the folds' test lists, with the value model's figures per fold and software versions."""
    logs = [json.loads((folder / "logs.json").read_text("utf-8")) for folder in folders]
    lists = [ListResult(**row) for fold in logs for row in fold["lists"]]
    return {
        "folds": len(folders),
        "lists": len(lists),
        "requests": sum(fold["served_by"]["requests"] for fold in logs),
        "bypassed": sum(fold["served_by"]["bypassed"] for fold in logs),
        "by_model": _share(*(sum(fold["served_by"][key] for fold in logs) for key in ("by_model", "places"))),
        "versions": {name: version(name) for name in _PACKAGES} | {"python": sys.version.split()[0]},
        "data": [fold["data"] for fold in logs],
        "summary": summarise(lists, ComparedOrders(**logs[0]["comparison"]), seed=seed),
        "value": [json.loads((f / "run" / "metrics.json").read_text("utf-8"))["test"] for f in folders],
    }


def report_text(report: dict[str, Any]) -> str:
    """Write the report as Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    by_model = "" if report["by_model"] is None else f"; {report['by_model']:.1%} of the others' places by the model"
    return (
        f"{report['folds']} test folds, {report['lists']} lists, {report['requests']} requests over HTTP, of which "
        f"{report['bypassed']} were given the sort since nothing of what was learnt is kept{by_model}. {versions}.\n\n"
        f"{comparison_tables(report['summary'])}\n\n**Value model, test lists**\n\n{value_table(report['value'])}\n"
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
