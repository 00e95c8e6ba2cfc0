"""Training generator baselines: each learns what its objective says; runs can be resumed and loaded."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.baselines.generators import training
from models.baselines.generators.goalrank import GoalRank, goalrank_loss
from models.baselines.generators.gref import GReF, pretraining_loss, rerank_dpo_loss
from models.baselines.generators.groups import GroupMaker, GroupOptions, RewardedSlates, first_lists, score_groups
from models.baselines.generators.lists import prior_list
from models.baselines.generators.nar4rec import NAR4Rec, nar4rec_loss
from models.baselines.generators.nlgr import NLGRGenerator, nlgr_loss
from models.baselines.generators.prm import PRM, prm_loss
from models.baselines.generators.training import BASELINES, Generator, load_baseline, train_baseline
from models.data.batches import Batch
from models.nets.checkpoint import CheckpointError
from models.nets.generator import GeneratorConfig
from models.nets.value import ValueConfig
from models.planners.search.prefix import list_outcomes
from models.planners.worth import Worth
from models.training.loop import Loss, Progress, TrainOptions, fit
from tests.models.baselines.generators.slates import CONFIG, CPU, LENGTH, build, make_slates
from tests.models.planners.examples import SPEC as OTHER_SPEC
from tests.models.planners.examples import random_model
from tests.models.planners.plain import shaken

WORTH = Worth()
SPEC, SLATES = make_slates(24, seed=3)
BATCH = SLATES.tensors(CPU)
OPTIONS = TrainOptions(epochs=4, batch_size=8, learning_rate=5e-3, seed=1)
FEW = GroupOptions(drawn=2, bases=1, rounds=2)


def value(batch: Batch, lists: Tensor) -> Tensor:
    """Lists are worth their items' prices, standardised, discounted along the list."""
    price = batch["item_numbers"][..., -1]
    chosen = price[torch.arange(len(lists))[:, None, None], lists.clamp(min=0)]
    return (chosen * (lists >= 0) / (1.0 + torch.arange(lists.shape[-1]))).sum(-1)


def rewarded() -> RewardedSlates:
    options = GroupOptions(drawn=6)
    return score_groups(
        SLATES, first_lists(SLATES, options, 5), partial(partial, value), options=options, seed=5, device=CPU
    )


def train(model: Generator, loss: Loss, batch: Batch, steps: int) -> None:
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model, batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.eval()


def generated_value(model: Generator) -> float:
    return value(BATCH, model.generate(BATCH, LENGTH)[:, None]).mean().item()


def test_prm_puts_what_was_clicked_before_what_was_not() -> None:
    model = build("prm", SPEC)
    assert isinstance(model, PRM)
    train(model, partial(prm_loss, utility=WORTH), BATCH, 50)
    shown = model(BATCH).gather(1, BATCH["exposed"])
    clicks = BATCH["labels"][..., 0]
    mixed = (clicks.sum(1) > 0) & (clicks.sum(1) < LENGTH)
    best = shown.argmax(dim=1)
    hits = clicks[torch.arange(len(clicks)), best][mixed]
    assert hits.mean() > 0.9


def test_nar4rec_makes_lists_that_did_well_likely_and_others_unlikely() -> None:
    model = build("nar4rec", SPEC)
    assert isinstance(model, NAR4Rec)
    train(model, partial(nar4rec_loss, utility=WORTH, threshold=1.5), BATCH, 40)
    shares = model.match(*model.encode(BATCH), BATCH["valid"])
    log_lists = shares.gather(-1, BATCH["exposed"][..., None])[..., 0].sum(dim=1)
    good = BATCH["labels"][..., 0].sum(dim=1) >= 1.5
    assert log_lists[good].min() > log_lists[~good].max()


def test_gref_is_pre_trained_to_repeat_what_was_shown() -> None:
    model = build("gref", SPEC)
    assert isinstance(model, GReF)
    before = model.log_lists(BATCH, BATCH["exposed"][:, None]).mean()
    train(model, partial(pretraining_loss, utility=WORTH), BATCH, 40)
    assert model.log_lists(BATCH, BATCH["exposed"][:, None]).mean() > before + 2


def test_gref_decodes_the_list_that_its_own_probabilities_call_best_head_by_head() -> None:
    model = build("gref", SPEC, replace(CONFIG, list_length=5))
    assert isinstance(model, GReF)
    assert model.heads == 4
    lists = model.generate(BATCH, 5).clone()
    states, rows = model.trunk.read(BATCH, lists[:, None])
    logits = model.decoding_logits(states, rows)[:, 0].detach()
    for t in range(5):
        logits[:, t].scatter_(1, lists[:, :t], -torch.inf)
    assert torch.equal(logits.argmax(dim=-1), lists)


def test_rerank_dpo_prefers_lists_of_more_value_and_leaves_the_reference_alone() -> None:
    data = rewarded()
    reference, model = build("gref", SPEC), build("gref", SPEC)
    assert isinstance(reference, GReF)
    assert isinstance(model, GReF)
    weights = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    before = generated_value(model)
    train(model, partial(rerank_dpo_loss, reference=reference.requires_grad_(False)), data.tensors(CPU), 40)
    assert generated_value(model) > before + 0.5
    assert all(torch.equal(tensor, weights[name]) for name, tensor in reference.state_dict().items())


def test_goalrank_puts_more_mass_on_the_lists_of_more_value() -> None:
    data = rewarded().tensors(CPU)
    model = build("goalrank", SPEC)
    assert isinstance(model, GoalRank)
    before = generated_value(model)
    train(model, goalrank_loss, data, 40)
    groups = data["groups"]
    log_lists = model(BATCH, groups).gather(-1, groups[..., None])[..., 0].sum(dim=-1)
    best, worst = data["values"].argmax(dim=1), data["values"].argmin(dim=1)
    rows = torch.arange(len(groups))
    assert (log_lists[rows, best] > log_lists[rows, worst]).float().mean() > 0.9
    assert generated_value(model) > before + 0.5


def test_nlgr_moves_from_the_prior_sort_to_lists_of_more_value() -> None:
    model = build("nlgr", SPEC)
    assert isinstance(model, NLGRGenerator)
    train(model, partial(nlgr_loss, scale=1.0), rewarded().tensors(CPU), 40)
    prior = value(BATCH, prior_list(BATCH, LENGTH)[:, None]).mean().item()
    assert generated_value(model) > prior + 0.5


def test_nlgr_s_loss_is_the_expected_relative_reward_and_the_position_term() -> None:
    model = build("nlgr", SPEC)
    assert isinstance(model, NLGRGenerator)
    data = {name: tensor[:1] for name, tensor in rewarded().tensors(CPU).items()}
    candidates, mine = model.candidates(data), torch.tensor([0])
    total, families = 0.0, set()
    for g, place in enumerate(data["edited"][0].tolist()):
        if place < 0:
            continue
        base = int(data["bases"][0, g])
        families.add(base)
        old, new = data["groups"][:, base], data["groups"][:, g]
        logits = model.candidate_logits(candidates, mine, old, torch.tensor([place]))
        reward = data["values"][0, g] - data["values"][0, base]
        total -= (torch.softmax(logits, 1)[0, new[0, place]] * reward / 2.0).item()
    losses = {scale: nlgr_loss(model, data, scale).item() for scale in (2.0, 1e9)}
    # Rewards in huge units leave only the position term, which does not depend on the unit.
    assert losses[2.0] - losses[1e9] == pytest.approx(total / len(families), rel=1e-4)


def test_nlgr_learns_nothing_where_no_change_is_worth_anything() -> None:
    model = build("nlgr", SPEC)
    data = rewarded().tensors(CPU)
    loss = nlgr_loss(model, data | {"values": torch.ones_like(data["values"])}, 1.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)


SIZES = ValueConfig(dim=8, layers=1, heads=2, list_length=LENGTH, field_dim=4, input_block="fields")
EVALUATOR = shaken(random_model(SPEC, SIZES, 7), 7)


VALID = SLATES.take(np.arange(8))


def run(name: str, folder: Path, *, resume: bool = False) -> Generator:
    return train_baseline(
        name,
        SLATES,
        VALID,
        EVALUATOR,
        WORTH,
        CONFIG,
        OPTIONS,
        folder,
        CPU,
        resume,
        group_options=FEW,
        groups_folder=folder.parent / "groups",
    )


@pytest.mark.parametrize("name", BASELINES)
def test_a_trained_baseline_is_read_back_as_it_was(name: str, tmp_path: Path) -> None:
    trained = run(name, tmp_path / "a")
    loaded = load_baseline(tmp_path / "a", SPEC)
    assert type(loaded) is type(trained)
    assert not loaded.training
    assert torch.equal(loaded.generate(BATCH, LENGTH), trained.generate(BATCH, LENGTH))


@pytest.mark.parametrize("name", ["gref", "goalrank"])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(name, tmp_path / "whole")
    calls = 0

    def interrupt(*args: Any, **kwargs: Any) -> Progress:
        nonlocal calls
        calls += 1
        if calls == 2:  # the second stage of GReF, the second round of GoalRank
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    monkeypatch.setattr(training, "fit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(name, tmp_path / "cut")
    monkeypatch.setattr(training, "fit", fit)
    resumed = run(name, tmp_path / "cut", resume=True)
    for key, weights in whole.state_dict().items():
        assert torch.equal(weights, resumed.state_dict()[key]), key


def test_a_folder_with_a_run_is_not_trained_over(tmp_path: Path) -> None:
    run("prm", tmp_path / "a")
    with pytest.raises(ValueError, match="already holds a run"):
        run("prm", tmp_path / "a")


def test_methods_share_the_first_groups_and_refuse_those_of_another_evaluator(tmp_path: Path) -> None:
    slates = {"train": SLATES}
    maker = GroupMaker(slates, EVALUATOR, WORTH, FEW, 1, CPU)
    first = maker.first(tmp_path)["train"]
    (path,) = tmp_path.iterdir()
    written = path.stat().st_mtime_ns
    assert maker.first(tmp_path)["train"].digest == first.digest
    assert path.stat().st_mtime_ns == written
    other = random_model(SPEC, EVALUATOR.config, 8)
    with pytest.raises(ValueError, match=r"groups-train-4\.pt: holds groups of another evaluator"):
        replace(maker, evaluator=other).first(tmp_path)


def test_groups_are_worth_what_the_evaluator_says(tmp_path: Path) -> None:
    data = GroupMaker({"train": SLATES}, EVALUATOR, WORTH, FEW, 1, CPU).first(tmp_path)["train"]
    worth = WORTH(list_outcomes(EVALUATOR, BATCH, data.groups)[:, :, -1])
    assert torch.allclose(data.values, worth, atol=1e-6)


def test_later_groups_start_from_the_best_list_and_the_generator_s_own(tmp_path: Path) -> None:
    maker = GroupMaker({"train": SLATES}, EVALUATOR, WORTH, FEW, 1, CPU)
    first, model = maker.first(tmp_path), build("goalrank", SPEC)
    assert isinstance(model, GoalRank)
    renewed = maker.renewed(first, model, tmp_path / "round-2", 1)["train"]
    assert torch.equal(renewed.groups[:, 0], first["train"].best)
    assert torch.equal(renewed.groups[:, 1], model.generate(BATCH, LENGTH))
    assert renewed.groups.shape == first["train"].groups.shape
    assert (renewed.values.max(dim=1).values >= first["train"].values.max(dim=1).values - 1e-6).all()


def test_later_groups_are_drawn_once_and_refused_under_other_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed run takes them from the folder: for NLGR-G the draws are most of a round."""
    maker = GroupMaker({"train": SLATES}, EVALUATOR, WORTH, FEW, 1, CPU)
    first, model = maker.first(tmp_path), build("nlgr", SPEC)
    assert isinstance(model, NLGRGenerator)
    drawn = maker.renewed(first, model, tmp_path / "round-2", 1)["train"]
    with monkeypatch.context() as patch:
        patch.setattr(model, "sample", None)
        assert maker.renewed(first, model, tmp_path / "round-2", 1)["train"].digest == drawn.digest
    other = {"train": replace(first["train"], values=first["train"].values + 1)}
    with pytest.raises(ValueError, match=r"groups-train-4\.pt: holds groups of another previous groups"):
        maker.renewed(other, model, tmp_path / "round-2", 1)
    with torch.no_grad():
        model.masked.add_(1)
    with pytest.raises(ValueError, match=r"groups-train-4\.pt: holds groups of another generator"):
        maker.renewed(first, model, tmp_path / "round-2", 1)


def test_a_baseline_of_another_spec_is_not_read(tmp_path: Path) -> None:
    run("prm", tmp_path / "a")
    with pytest.raises(CheckpointError, match="fingerprint"):
        load_baseline(tmp_path / "a", OTHER_SPEC)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("svm", CONFIG, "baseline: must be one of prm, nar4rec, gref, nlgr, goalrank, not 'svm'"),
        ("prm", replace(CONFIG, conditioned=True), "conditioned"),
        ("prm", replace(CONFIG, list_length=4), "list_length: the slates hold lists of 3, not 4"),
    ],
)
def test_what_cannot_be_trained_is_named(name: str, config: GeneratorConfig, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        train_baseline(name, SLATES, VALID, EVALUATOR, WORTH, config, OPTIONS, tmp_path, CPU)


def test_seeds_of_a_method_may_share_the_lists_that_are_scored_first(tmp_path: Path) -> None:
    """The scored groups of the first seed are read by the second, which then learns something else from them."""

    def trained(seed: int, folder: Path, shared: Path, groups_seed: int | None) -> Generator:
        options = replace(OPTIONS, seed=seed)
        data = (SLATES, VALID, EVALUATOR, WORTH, CONFIG, options, folder, CPU)
        given = {"group_options": FEW, "groups_folder": shared, "groups_seed": groups_seed}
        return train_baseline("gref", *data, **given)  # type: ignore[arg-type]

    shared = tmp_path / "shared"
    first = trained(1, tmp_path / "a", shared, 0)
    kept = {path: path.stat().st_mtime_ns for path in shared.iterdir()}
    second = trained(2, tmp_path / "b", shared, 0)
    assert {path: path.stat().st_mtime_ns for path in shared.iterdir()} == kept
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    with pytest.raises(ValueError, match="holds groups of another"):
        trained(2, tmp_path / "c", shared, None)
