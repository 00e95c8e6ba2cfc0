"""Steps for the evaluators' table (Table 3): train the baselines on the evaluator's half, measure all on test lists."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from models.baselines.evaluators import (
    EVALUATOR_BASELINES,
    EvaluatorLike,
    ValueModelEvaluator,
    load_evaluator_baseline,
    train_evaluator_baseline,
)
from models.evaluation.degre.data import exposed_lists
from models.evaluation.degre.judges import EVALUATOR
from models.evaluation.degre.steps import Step
from models.evaluation.degre.value_accuracy import evaluator_accuracy
from models.evaluation.degre.value_steps import train_step
from models.evaluation.degre.workspace import Workspace
from models.files import write_json
from models.training.loop import STATE_FILE

GROUP: Final = "accuracy"
ACCURACY_STEP: Final = "accuracy"
ACCURACY_FILE: Final = "accuracy.json"
VALUE_ROWS: Final = {
    "evaluator-concat-papers": "SORT, as in the papers",
    "evaluator-papers": "DeGRe-E, as in the papers",
    "evaluator-concat": "SORT, hazards",
    EVALUATOR: "DeGRe-E, hazards",
}
"""List value models of the table, all trained on the evaluator's half."""


def accuracy_steps(space: Workspace) -> list[Step]:
    """All of them, in order."""
    own = [train_step(space, name, GROUP) for name in VALUE_ROWS if name != EVALUATOR]
    return [*own, *(_baseline_step(space, name) for name in EVALUATOR_BASELINES), _measure_step(space)]


def _baseline_step(space: Workspace, name: str) -> Step:
    config, options = space.profile.value_config(), space.profile.value_options(0)

    def run(folder: Path) -> Mapping[str, Any]:
        train, valid = (exposed_lists(space.data.half(split, 0)) for split in ("train", "valid"))
        train_evaluator_baseline(
            name,
            space.data.spec,
            train,
            valid,
            config,
            options,
            folder,
            space.device,
            resume=(folder / STATE_FILE).exists(),
        )
        return {"lists": len(train)}

    return Step(_folder(name), GROUP, {**dataclasses.asdict(config), **dataclasses.asdict(options)}, run)


def _measure_step(space: Workspace) -> Step:
    def run(folder: Path) -> Mapping[str, Any]:
        evaluators: dict[str, EvaluatorLike] = {
            name: load_evaluator_baseline(space.root / _folder(name), space.device) for name in EVALUATOR_BASELINES
        }
        evaluators |= {title: ValueModelEvaluator(space.checkpoint(name).model) for name, title in VALUE_ROWS.items()}
        test = space.data.slates["test"]
        write_json(folder / ACCURACY_FILE, evaluator_accuracy(evaluators, test, seed=0, device=space.device))
        return {"lists": len(test)}

    return Step(ACCURACY_STEP, GROUP, {}, run)


def _folder(name: str) -> str:
    return f"evaluators/{name}"
