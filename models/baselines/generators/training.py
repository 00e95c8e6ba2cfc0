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
from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import nn

from models.baselines.generators.goalrank import GoalRank, goalrank_loss
from models.baselines.generators.gref import GReF, pretraining_loss, rerank_dpo_loss
from models.baselines.generators.groups import GroupMaker, GroupOptions, RewardedSlates, Sampler
from models.baselines.generators.lists import Utility
from models.baselines.generators.nar4rec import NAR4Rec, nar4rec_loss
from models.baselines.generators.nlgr import NLGRGenerator, nlgr_loss
from models.baselines.generators.prm import PRM, prm_loss
from models.contract.spec import FeatureSpec, record
from models.data.batches import seen_by
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
class BaselineRun:
    """Train one method, on `splits` or on groups of lists that the `evaluator` scored.

    `groups` are the options of groups made in rounds. First groups are drawn with `groups_seed` and kept in `shared`,
    stages in `folder`.
    """

    model: Generator
    evaluator: ListValueModel
    worth: Utility
    splits: Mapping[str, SlateArrays]
    options: TrainOptions
    groups: GroupOptions
    groups_seed: int
    folder: Path
    shared: Path
    device: torch.device
    identity: Mapping[str, str]
    resume: bool

    def on_slates(self, loss: Loss, stage: str = "train", share: float = 1.0) -> None:
        """Spend `share` of the epochs on the splits themselves."""
        self._fit(loss, self.splits, self.folder / stage, self._epochs(share))

    def on_groups(
        self, make_loss: Callable[[RewardedSlates], Loss], stage: str = "train", share: float = 1.0, *, once: bool
    ) -> None:
        """Spend `share` of the epochs on groups, made `once` or anew before every round."""
        options = self.groups.at_once(self.splits["train"].exposed.shape[1]) if once else self.groups
        maker = GroupMaker(self.splits, self.evaluator, self.worth, options, self.options.seed, self.device)
        epochs, rounds = self._epochs(share), options.rounds
        scored = dataclasses.replace(maker, seed=self.groups_seed).first(self.shared)
        loss = make_loss(scored["train"])
        for i in range(rounds):
            at = self.folder / stage / f"round-{i + 1}"
            if i:
                assert isinstance(self.model, Sampler)
                self.model.eval()
                scored = maker.renewed(scored, self.model, at, i)
            part = epochs * (i + 1) // rounds - epochs * i // rounds
            self._fit(loss, scored, at, part, groups=scored["train"].digest)

    def _epochs(self, share: float) -> int:
        return max(1, round(share * self.options.epochs))

    def _fit(self, loss: Loss, data: Mapping[str, TrainingData], folder: Path, epochs: int, **identity: str) -> None:
        """Call the training loop once; it hides some categorical values, as for the evaluator."""
        folder.mkdir(parents=True, exist_ok=True)
        fit(
            self.model,
            data["train"],
            data["valid"],
            lambda model, batch: loss(model, seen_by(model, batch, self.evaluator.spec)),
            options=dataclasses.replace(self.options, epochs=epochs),
            folder=folder,
            device=self.device,
            identity={**self.identity, **identity},
            resume=self.resume and (folder / STATE_FILE).exists(),
        )


@dataclass(frozen=True)
class Baseline:
    """Describe a method: its model's builder, its training, its use of the evaluator's reward."""

    build: Callable[[FeatureSpec, GeneratorConfig, int], Generator]
    train: Callable[[BaselineRun], None]
    rewarded: bool


def _prm(run: BaselineRun) -> None:
    run.on_slates(partial(prm_loss, utility=run.worth))


def _nar4rec(run: BaselineRun) -> None:
    utilities = run.worth(torch.from_numpy(run.splits["train"].labels).sum(dim=1))
    run.on_slates(partial(nar4rec_loss, utility=run.worth, threshold=float(utilities.mean())))


def _gref(run: BaselineRun) -> None:
    run.on_slates(partial(pretraining_loss, utility=run.worth), "pretrain", share=0.5)
    reference = copy.deepcopy(run.model).eval().requires_grad_(False)
    assert isinstance(reference, GReF)
    loss = partial(rerank_dpo_loss, reference=reference)
    run.on_groups(lambda _: loss, "rerank-dpo", share=0.5, once=True)


def _nlgr(run: BaselineRun) -> None:
    def loss(rewarded: RewardedSlates) -> Loss:
        rewards = rewarded.values - rewarded.values.gather(1, rewarded.bases)
        spread = rewards[rewarded.edited >= 0].std(correction=0)
        return partial(nlgr_loss, scale=float(spread) or 1.0)

    run.on_groups(loss, once=False)


def _goalrank(run: BaselineRun) -> None:
    run.on_groups(lambda _: goalrank_loss, once=False)


BASELINES: Final[Mapping[str, Baseline]] = {
    "prm": Baseline(PRM, _prm, rewarded=False),
    "nar4rec": Baseline(lambda spec, config, _: NAR4Rec(spec, config), _nar4rec, rewarded=False),
    "gref": Baseline(GReF, _gref, rewarded=True),
    "nlgr": Baseline(lambda spec, config, _: NLGRGenerator(spec, config), _nlgr, rewarded=True),
    "goalrank": Baseline(lambda spec, config, _: GoalRank(spec, config), _goalrank, rewarded=True),
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
    groups_seed: int | None = None,
) -> Generator:
    """Train the baseline called `name`, write it to `folder`, return it in evaluation mode.

    Features are encoded by `evaluator`'s spec; only the methods that need a reward ask it for values. Their first
    groups are kept in `groups_folder` (default: `folder`), so that several methods can share them, and with
    `groups_seed` (default: that of `options`) several seeds of a method too. With `resume` a run
    goes on from where it was interrupted, if there is one. Raises `ValueError` for an unknown name, a conditioned
    config, lists of another length than the config's, and as `loop.fit` does.
    """
    baseline = _baseline(name)
    _check_sizes(config, slates_train, slates_valid)
    candidates = slates_train.candidates
    model = _build(baseline, evaluator.spec, config, candidates, options.seed).to(device)
    run = BaselineRun(
        model,
        evaluator,
        worth,
        splits={"train": slates_train, "valid": slates_valid},
        options=options,
        groups=(group_options or GroupOptions()).within(options.epochs),
        groups_seed=options.seed if groups_seed is None else groups_seed,
        folder=folder,
        shared=groups_folder or folder,
        device=device,
        identity={
            "baseline": name,
            "slates": slates_train.digest,
            "valid slates": slates_valid.digest,
            "config": repr(config),
            "worth": repr(worth),
        },
        resume=resume,
    )
    baseline.train(run)
    _save(folder / BASELINE_FILE, name, model, evaluator.spec, config, candidates)
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


def evaluator_calls(name: str, length: int, epochs: int) -> int:
    """Count the lists per request that the evaluator scores for a method."""
    return GroupOptions().within(epochs).calls(length) if _baseline(name).rewarded else 0


def _baseline(name: str) -> Baseline:
    if name not in BASELINES:
        raise ValueError(f"baseline: must be one of {', '.join(BASELINES)}, not {name!r}")
    return BASELINES[name]


def _build(baseline: Baseline, spec: FeatureSpec, config: GeneratorConfig, candidates: int, seed: int) -> Generator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return baseline.build(spec, config, candidates)


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
