"""Learnt rivals and DeGRe end to end on a few hundred lists: every fit trains, resumes, and plans valid lists."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.baselines.generators.prm import PRM
from models.contract.arrays import Ints
from models.evaluation.truth.bench import Bench
from models.evaluation.truth.fits import context_scorers, generators
from models.evaluation.truth.fits.context_scorers import ContextScorer, click_scores, shown_scores
from models.evaluation.truth.fits.generators import load_generator
from models.evaluation.truth.method import PlanContext
from models.evaluation.truth.methods import generated
from models.nets.checkpoint import load_checkpoint, weights_digest
from models.nets.value import InputBlock, ValueConfig
from models.planners.references.sort_gen import Preferences
from models.training.loop import TrainOptions
from models.training.value import CHECKPOINT_FILE, train_value_model
from models.training.value_choice import ValueOptions
from tests.models.evaluation.truth import tiny_fits
from tests.models.evaluation.truth.tiny_fits import CANDIDATES, LENGTH, check_lists, plan_context, run_fit

PROFILE = replace(
    tiny_fits.PROFILE,
    scorer_requests=150,
    scorer_valid_requests=30,
    scorer_epochs=2,
    generator_requests=40,
    generator_valid_requests=8,
    generator_epochs=2,
    generator_rounds=2,
    group_drawn=2,
    distill_epochs=1,
)
FITS = {fit.name: fit for fit in (*context_scorers.FITS, *generators.FITS)}
METHODS = {method.name: method for method in generated.METHODS}
BLOCKS: dict[str, InputBlock] = {"sort": "concat", "degre-evaluator": "fields"}


@pytest.fixture(scope="module")
def value_models(bench: Bench) -> dict[str, Path]:
    """The folders of the value models that generators learn from."""
    folders = {name: bench.folder / name for name in BLOCKS}
    for name, block in BLOCKS.items():
        train_value_model(
            bench.file,
            folders[name],
            family=name,
            config=ValueConfig(dim=8, layers=1, heads=2, list_length=LENGTH, field_dim=4, input_block=block),
            options=TrainOptions(epochs=1, batch_size=64, seed=4),
            device=bench.device,
            value_options=ValueOptions(folds=0),
        )
    return folders


@pytest.fixture(scope="module")
def fitted(bench: Bench, value_models: dict[str, Path]) -> dict[str, Path]:
    """The folders of all fits, each trained once."""
    return {name: run(name, bench, value_models, bench.folder / "fits" / name) for name in FITS}


def run(name: str, bench: Bench, value_models: dict[str, Path], folder: Path) -> Path:
    needs = {need: value_models[need] for need in FITS[name].needs}
    notes = run_fit(FITS[name], bench, folder, seed=4, needs=needs, profile=PROFILE)
    assert json.loads(json.dumps(notes)) == notes
    assert notes["requests"] == (150 if name in ("prm", "fft") else 40)
    for path in needs.values():
        assert notes["evaluator_shares"] == load_checkpoint(path / CHECKPOINT_FILE).model.shares
    return folder


def plan(name: str, bench: Bench, fitted: dict[str, Path], setting: float | str | None = None) -> Ints:
    method = METHODS[name]
    context = plan_context(bench, {need: fitted[need] for need in method.needs}, seed=4)
    return method.plan(context, bench.test, setting)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_plans_whole_lists_of_different_candidates(
    name: str, bench: Bench, fitted: dict[str, Path]
) -> None:
    settings = METHODS[name].settings
    for setting in {settings[0], settings[-1]}:
        lists = plan(name, bench, fitted, setting)
        assert lists.dtype == np.int64
        check_lists(bench, lists, bench.test)


def test_the_settings_of_the_dpp_matter(bench: Bench, fitted: dict[str, Path]) -> None:
    assert len(METHODS["fft-dpp"].settings) == 8
    first, last = (plan("fft-dpp", bench, fitted, METHODS["fft-dpp"].settings[i]) for i in (0, -1))
    assert not np.array_equal(first, last)


@pytest.mark.parametrize("name", ["prm", "fft"])
def test_scorers_give_probabilities_as_high_as_the_clicks_of_held_out_items(
    name: str, bench: Bench, fitted: dict[str, Path]
) -> None:
    scorer = ContextScorer.load(name, fitted[name], bench)
    slates = bench.slates("valid", PROFILE.scorer_valid_requests)
    scores, clicks = shown_scores(scorer.model, slates, bench.device)
    assert len(scores) == len(slates) * LENGTH
    assert scorer.calibration(scores).mean() == pytest.approx(clicks.mean(), rel=0.01)
    found = scorer(bench.test)
    assert all(len(f["ctr"]) == CANDIDATES and (f["ctr"] > 0).all() and (f["ctr"] < 1).all() for f in found)
    assert len({float(ctr) for f in found for ctr in f["ctr"]}) > 1


def test_prms_scores_of_a_request_do_not_depend_on_their_level(bench: Bench, fitted: dict[str, Path]) -> None:
    model = ContextScorer.load("prm", fitted["prm"], bench).model
    batch = bench.slates("valid", 10).tensors(bench.device)
    with torch.no_grad():
        before = click_scores(model, batch)
        assert isinstance(model, PRM)
        model.out.bias.add_(3.0)
        torch.testing.assert_close(click_scores(model, batch), before)
    torch.testing.assert_close(before.exp().sum(dim=1), torch.ones(len(before)))


def test_a_scorers_clicks_take_the_place_of_the_prior_ones(bench: Bench, fitted: dict[str, Path]) -> None:
    preferences = Preferences((1.0, 0.0, 0.0), bench.units)
    context = PlanContext(bench, PROFILE, {"fft": fitted["fft"]}, preferences, seed=4)
    lists = METHODS["fft"].plan(context, bench.test, None)
    found = ContextScorer.load("fft", fitted["fft"], bench)(bench.test)
    assert all(f["ctr"][row[0]] == f["ctr"].max() for f, row in zip(found, lists, strict=True))


@pytest.mark.parametrize("name", FITS)
def test_a_fit_that_was_killed_goes_on_to_the_same_model(
    name: str, bench: Bench, value_models: dict[str, Path], fitted: dict[str, Path]
) -> None:
    def digest() -> str:
        if name in ("prm", "fft"):
            return weights_digest(ContextScorer.load(name, fitted[name], bench).model)
        return weights_digest(load_generator(name, fitted[name], bench))

    before = digest()
    # As if it had been killed before its last files were written.
    for last in ("baseline.pt", "fft-context.pt", "checkpoint.pt", "calibration.json"):
        (fitted[name] / last).unlink(missing_ok=True)
    written = {path: path.stat().st_mtime_ns for path in fitted[name].rglob("shard-*")}
    run(name, bench, value_models, fitted[name])
    assert digest() == before
    assert {path: path.stat().st_mtime_ns for path in fitted[name].rglob("shard-*")} == written


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"scorer_dim": 16}, {"prm", "fft"}),
        ({"generator_dim": 16}, set(FITS) - {"prm", "fft"}),
        ({"scorer_epochs": 3}, {"prm", "fft"}),
        ({"objectives": (1.0, 0.0, 0.0)}, {"goalrank", "nar4rec", "gref", "nlgr", "degre", "degre-no-search"}),
        ({"generator_rounds": 1}, {"goalrank", "nar4rec", "gref", "nlgr"}),
        ({"beam": 4}, {"degre", "degre-no-search"}),
        ({"distill_epochs": 3}, {"degre", "degre-no-search"}),
    ],
)
def test_the_options_of_fits_say_what_they_depend_on(change: dict[str, object], names: set[str]) -> None:
    other = replace(PROFILE, **change)  # type: ignore[arg-type]
    assert {name for name, fit in FITS.items() if fit.options(other) != fit.options(PROFILE)} == names


def test_needs_name_the_value_model_that_rewards_or_is_mined() -> None:
    rivals = {"goalrank", "nar4rec", "gref", "nlgr"}
    assert all(FITS[name].needs == ("sort",) for name in rivals)
    assert all(FITS[name].needs == ("degre-evaluator",) for name in ("degre", "degre-no-search"))
    assert all(FITS[name].needs == () for name in ("prm", "fft"))
