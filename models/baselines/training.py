"""Train generator baselines on the same slates, encoder, loop and budget.

`BASELINES` names them. A run folder holds ``baseline.pt`` (what `load_baseline` reads), ``last.pt`` and ``log.jsonl``
of each stage, and, for those that learn from an evaluator, its scored groups (`groups.py`). Stages and rounds share the
epochs, so every method gets as many.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor, nn

from models.baselines.goalrank import GoalRank, goalrank_loss
from models.baselines.gref import GReF, pretraining_loss, rerank_dpo_loss
from models.baselines.groups import GroupMaker, GroupOptions, RewardedSlates
from models.baselines.lists import Utility
from models.baselines.nar4rec import NAR4Rec, nar4rec_loss
from models.baselines.nlgr_generator import NLGRGenerator, nlgr_loss
from models.baselines.prm import PRM, prm_loss
from models.contract.spec import FeatureSpec, record
from models.data.batches import Batch, seen_by
from models.data.slates import SlateArrays
from models.nets.checkpoint import CheckpointError, load_payload, naming, save_payload
from models.nets.generator import GeneratorConfig
from models.nets.value import ListValueModel
from models.training.loop import STATE_FILE, Loss, TrainingData, TrainOptions, fit

KIND: Final = "generator baseline"
FORMAT: Final = 1
BASELINE_FILE: Final = "baseline.pt"

Generator = PRM | NAR4Rec | GReF | NLGRGenerator | GoalRank
"""A module with ``generate(batch, length) -> int64 [B, length]``."""


@dataclass(frozen=True)
class Lessons:
    """Hold the inputs of a loss: worth, training slates, and their groups if asked for."""

    worth: Utility
    slates: SlateArrays
    rewarded: RewardedSlates | None


@dataclass(frozen=True)
class TrainingStage:
    """Spend `share` of the epochs on ``slates``, ``groups`` scored once, or groups renewed in ``rounds``.

    `loss` is made when the stage begins, from the model as it then is.
    """

    loss: Callable[[Generator, Lessons], Loss]
    data: Literal["slates", "groups", "rounds"] = "slates"
    share: float = 1.0


@dataclass(frozen=True)
class Baseline:
    """Describe a method by the builder of its model and its training stages."""

    build: Callable[[FeatureSpec, GeneratorConfig, int], Generator]
    stages: Mapping[str, TrainingStage]


def _nar4rec(model: Generator, lessons: Lessons) -> Loss:
    del model
    utilities = lessons.worth(torch.from_numpy(lessons.slates.labels).sum(dim=1))
    return nar4rec_loss(lessons.worth, float(utilities.mean()))


def _rerank_dpo(model: Generator, lessons: Lessons) -> Loss:
    del lessons
    reference = copy.deepcopy(model)
    assert isinstance(reference, GReF)
    return rerank_dpo_loss(reference)


def _nlgr(model: Generator, lessons: Lessons) -> Loss:
    del model
    assert lessons.rewarded is not None
    rewards = lessons.rewarded.values - lessons.rewarded.values.gather(1, lessons.rewarded.bases)
    spread = rewards[lessons.rewarded.edited >= 0].std(correction=0)
    return nlgr_loss(float(spread) or 1.0)


BASELINES: Final[Mapping[str, Baseline]] = {
    "prm": Baseline(PRM, {"train": TrainingStage(lambda _, lessons: prm_loss(lessons.worth))}),
    "nar4rec": Baseline(lambda spec, config, _: NAR4Rec(spec, config), {"train": TrainingStage(_nar4rec)}),
    "gref": Baseline(
        GReF,
        {
            "pretrain": TrainingStage(lambda _, lessons: pretraining_loss(lessons.worth), share=0.5),
            "rerank-dpo": TrainingStage(_rerank_dpo, data="groups", share=0.5),
        },
    ),
    "nlgr": Baseline(
        lambda spec, config, _: NLGRGenerator(spec, config), {"train": TrainingStage(_nlgr, data="rounds")}
    ),
    "goalrank": Baseline(
        lambda spec, config, _: GoalRank(spec, config),
        {"train": TrainingStage(lambda _, __: goalrank_loss(), data="rounds")},
    ),
}
"""Every generator baseline by name."""


def train_baseline(
    name: str,
    slates_train: SlateArrays,
    slates_valid: SlateArrays,
    evaluator: ListValueModel,
    worth: Utility,
    config: GeneratorConfig,
    options: TrainOptions,
    folder: Path,
    device: torch.device,
    resume: bool = False,
    *,
    group_options: GroupOptions | None = None,
    groups_folder: Path | None = None,
) -> Generator:
    """Train the baseline called `name`, write it to `folder`, return it in evaluation mode.

    Features are encoded by `evaluator`'s spec; only the methods that need a reward ask it for values. Their first
    groups are kept in `groups_folder` (default: `folder`), so that several methods can share them. With `resume` a run
    goes on from where it was interrupted, if there is one. Raises `ValueError` for an unknown name, a conditioned
    config, lists of another length than the config's, and as `loop.fit` does.
    """
    baseline = _baseline(name)
    _check_sizes(config, slates_train, slates_valid)
    spec, candidates = evaluator.spec, slates_train.candidates
    model = _build(baseline, spec, config, candidates, options.seed).to(device)
    splits = {"train": slates_train, "valid": slates_valid}
    in_rounds = (group_options or GroupOptions()).within(options.epochs)
    at_once = in_rounds.at_once(config.list_length)
    identity = {
        "baseline": name,
        "slates": slates_train.digest,
        "valid slates": slates_valid.digest,
        "config": repr(config),
        "worth": repr(worth),
    }
    run = _BaselineRun(model, spec, options, device, identity, resume)
    for stage_name, stage in baseline.stages.items():
        epochs = max(1, round(stage.share * options.epochs))
        if stage.data == "slates":
            run.fit(stage.loss(model, Lessons(worth, slates_train, None)), splits, folder / stage_name, epochs)
        else:
            asked = in_rounds if stage.data == "rounds" else at_once
            maker = GroupMaker(splits, evaluator, worth, asked, options.seed, device)
            _train_on_groups(run, stage, maker, folder / stage_name, groups_folder or folder, epochs)
    _save(folder / BASELINE_FILE, name, model, spec, config, candidates)
    return model.eval()


def load_baseline(folder: Path, spec: FeatureSpec, device: torch.device | str = "cpu") -> Generator:
    """Load the baseline that `train_baseline` wrote to `folder`, in evaluation mode.

    Raises `CheckpointError` if it is missing, damaged, of another format, or trained under another feature spec.
    """
    path = folder / BASELINE_FILE
    payload = load_payload(path, KIND, device)
    with naming(path):
        for key, wanted in (("format", FORMAT), ("fingerprint", spec.fingerprint)):
            if payload[key] != wanted:
                raise CheckpointError(f"has {key} {payload[key]!r}, not {wanted!r}")
        config = record(GeneratorConfig, json.loads(payload["config"]), "config")
        model = _build(BASELINES[payload["name"]], spec, config, payload["candidates"], 0).to(device)
        model.load_state_dict(payload["state"])
    return model.eval()


def evaluator_calls(name: str, length: int, epochs: int, options: GroupOptions | None = None) -> int:
    """Count the lists per request that the evaluator scores for a method."""
    uses = any(stage.data != "slates" for stage in _baseline(name).stages.values())
    return (options or GroupOptions()).within(epochs).calls(length) if uses else 0


@dataclass(frozen=True)
class _BaselineRun:
    """Hold the parts of a training that its stages share."""

    model: Generator
    spec: FeatureSpec
    options: TrainOptions
    device: torch.device
    identity: Mapping[str, str]
    resume: bool

    def fit(self, loss: Loss, data: Mapping[str, TrainingData], folder: Path, epochs: int, **identity: str) -> None:
        """Call the training loop once on the ``train`` and ``valid`` data."""
        folder.mkdir(parents=True, exist_ok=True)
        fit(
            self.model,
            data["train"],
            data["valid"],
            _with_hidden_values(loss, self.spec),
            options=dataclasses.replace(self.options, epochs=epochs),
            folder=folder,
            device=self.device,
            identity={**self.identity, **identity},
            resume=self.resume and (folder / STATE_FILE).exists(),
        )


def _train_on_groups(
    run: _BaselineRun, stage: TrainingStage, maker: GroupMaker, folder: Path, shared: Path, epochs: int
) -> None:
    """Train on groups that are renewed from the model before every round but the first."""
    rounds = maker.options.rounds
    scored = maker.first(shared)
    loss = stage.loss(run.model, Lessons(maker.worth, maker.splits["train"], scored["train"]))
    for i in range(rounds):
        at = folder / f"round-{i + 1}"
        if i:
            assert isinstance(run.model, GReF | NLGRGenerator | GoalRank)
            run.model.eval()
            scored = maker.renewed(scored, run.model, at, i)
        share = epochs * (i + 1) // rounds - epochs * i // rounds
        run.fit(loss, scored, at, share, groups=scored["train"].digest)


def _baseline(name: str) -> Baseline:
    if name not in BASELINES:
        raise ValueError(f"baseline: must be one of {', '.join(BASELINES)}, not {name!r}")
    return BASELINES[name]


def _build(baseline: Baseline, spec: FeatureSpec, config: GeneratorConfig, candidates: int, seed: int) -> Generator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return baseline.build(spec, config, candidates)


def _with_hidden_values(loss: Loss, spec: FeatureSpec) -> Loss:
    """Hide some categorical values of batches while the model trains, as for the evaluator."""

    def hidden(model: nn.Module, batch: Batch) -> Tensor:
        return loss(model, seen_by(model, batch, spec))

    return hidden


def _check_sizes(config: GeneratorConfig, *splits: SlateArrays) -> None:
    if config.conditioned:
        raise ValueError("conditioned: the baselines are trained for one set of objective weights")
    for slates in splits:
        if slates.exposed.shape[1] != config.list_length:
            raise ValueError(
                f"list_length: the slates hold lists of {slates.exposed.shape[1]}, not {config.list_length}"
            )


def _save(path: Path, name: str, model: nn.Module, spec: FeatureSpec, config: GeneratorConfig, candidates: int) -> None:
    payload = {
        "format": FORMAT,
        "name": name,
        "config": json.dumps(dataclasses.asdict(config)),
        "fingerprint": spec.fingerprint,
        "candidates": candidates,
        "state": model.state_dict(),
    }
    save_payload(path, KIND, payload)
