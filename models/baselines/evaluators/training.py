"""Train, store and load the evaluator baselines, and name the function that every evaluator is.

A folder of a finished run holds ``evaluator.pt`` beside the training loop's ``last.pt`` and ``log.jsonl``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from models.baselines.evaluators.deepfm import DeepFM
from models.baselines.evaluators.nlgr import NlgrEvaluator
from models.baselines.evaluators.pier import Pier
from models.baselines.evaluators.positions import position_loss
from models.contract.spec import FeatureSpec, record
from models.data.batches import Batch, ListArrays
from models.nets.checkpoint import load_payload, naming, save_payload
from models.nets.value import COUNTED, ValueConfig
from models.training.loop import TrainOptions, fit, texts

EVALUATOR_FILE: Final = "evaluator.pt"
KIND: Final = "evaluator baseline"

EvaluatorBaseline = DeepFM | Pier | NlgrEvaluator

EVALUATOR_BASELINES: Final[Mapping[str, Callable[[FeatureSpec, ValueConfig], EvaluatorBaseline]]] = {
    "deepfm": DeepFM,
    "pier": Pier,
    "nlgr-e": NlgrEvaluator,
}


OutcomeFunction = Callable[[Batch, Tensor], Tensor]
"""``outcomes(batch, lists)``: expected (clicks, conversions, GMV in currency) after every position, [R, K, T, 3].

`batch` holds the features of R requests with N candidates each, `lists` int64 [R, K, T] indices of candidates, −1 past
a list's end, where the last outcome is repeated. No gradient flows back. A list value model's is `list_outcomes`.
"""


def train_evaluator_baseline(
    name: str,
    spec: FeatureSpec,
    train: ListArrays,
    valid: ListArrays,
    config: ValueConfig,
    options: TrainOptions,
    folder: Path,
    device: torch.device,
    resume: bool = False,
) -> EvaluatorBaseline:
    """Fit a baseline to exposed lists with the budget of any list value model.

    Of `config`, `dim`, `layers`, `list_length`, `field_dim` and `dropout` are used; heads and input block are DeGRe's.
    Raises `ValueError` for an unknown name, and as `loop.fit` does.
    """
    if name not in EVALUATOR_BASELINES:
        raise ValueError(f"evaluator {name!r}: must be one of {', '.join(EVALUATOR_BASELINES)}")
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        model = EVALUATOR_BASELINES[name](spec, config)
    model.start_at(_base_rates(train))
    identity = {
        "evaluator": name,
        "feature spec": spec.fingerprint,
        "training lists": train.digest,
        "validation lists": valid.digest,
        **texts(config),
    }
    fit(
        model,
        train,
        valid,
        partial(position_loss, spec=spec),
        options=options,
        folder=folder,
        device=device,
        identity=identity,
        resume=resume,
    )
    payload = {
        "name": name,
        "config": dataclasses.asdict(config),
        "spec": json.dumps(spec.to_json()),
        "state": model.state_dict(),
    }
    save_payload(folder / EVALUATOR_FILE, KIND, payload)
    return model.eval()


def load_evaluator_baseline(folder: Path, device: torch.device | str = "cpu") -> EvaluatorBaseline:
    """Load the model that `train_evaluator_baseline` left in `folder`, in evaluation mode. Raises `CheckpointError`."""
    path = folder / EVALUATOR_FILE
    payload = load_payload(path, KIND, device)
    with naming(path):
        spec = FeatureSpec.from_json(json.loads(payload["spec"]))
        config = record(ValueConfig, payload["config"], "config")
        model = EVALUATOR_BASELINES[payload["name"]](spec, config).to(device)
        model.load_state_dict(payload["state"])
    return model.eval()


def _base_rates(train: ListArrays) -> Tensor:
    """Count the click and conversion rates of an exposed slot, [2], inside (0, 1)."""
    rates = []
    for o in range(len(COUNTED)):
        slots = train.filled & train.observed[:, o, None]
        rates.append((float(train.labels[slots, o].sum()) + 0.5) / (int(slots.sum()) + 1))
    return torch.tensor(rates)
