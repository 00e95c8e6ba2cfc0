"""The sorts of Table 1: what each plans, from its fit to its lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.contract.arrays import Ints
from models.contract.embeddings import unit_embeddings
from models.data.records import ListRecord
from models.evaluation.planning import formula_sort
from models.evaluation.truth.bench import Bench
from models.evaluation.truth.fits import formulas, scorers
from models.evaluation.truth.method import TRIED, Method, PlanContext
from models.evaluation.truth.methods.sorts import METHODS
from models.nets.checkpoint import load_checkpoint
from tests.models.evaluation.truth.small_world import CANDIDATES, LENGTH, make_bench, make_judge, plan_context, run_fit

BY_NAME = {method.name: method for method in METHODS}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def context(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> PlanContext:
    folder = tmp_path_factory.mktemp("fits")
    needs = {fit.name: run_fit(bench, fit, folder)[0] for fit in (*scorers.FITS, *formulas.FITS)}
    return plan_context(bench, needs)


def lists_of(name: str, context: PlanContext, setting: int = -1) -> Ints:
    method = BY_NAME[name]
    return method.plan(context, context.bench.test, method.settings[setting])


def nearness(records: list[ListRecord], lists: Ints) -> float:
    """The mean cosine of two items of a list."""
    means = []
    for record, chosen in zip(records, lists.tolist(), strict=True):
        rows = unit_embeddings([record.candidates[i].embedding for i in chosen])
        means.append(float((rows @ rows.T)[np.triu_indices(len(chosen), 1)].mean()))
    return float(np.mean(means))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_method_plans_valid_lists_and_the_same_ones_again(method: Method, context: PlanContext) -> None:
    assert set(method.needs) <= {fit.name for fit in (*scorers.FITS, *formulas.FITS)}
    for setting in (method.settings[0], method.settings[-1]):
        lists = method.plan(context, context.bench.test, setting)
        assert lists.shape == (30, LENGTH)
        assert lists.dtype == np.int64
        assert lists.min() >= 0
        assert lists.max() < CANDIDATES
        assert all(len(set(row)) == LENGTH for row in lists.tolist())
        np.testing.assert_array_equal(method.plan(context, context.bench.test, setting), lists)


def test_every_choice_has_as_many_settings() -> None:
    assert {len(method.settings) for method in METHODS} == {1, TRIED}


def test_the_base_is_the_formula_sort_of_the_other_experiments(context: PlanContext, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(make_judge(context.bench, tmp_path) / "checkpoint.pt")
    sort = formula_sort(checkpoint, context.bench.test, context.preferences, LENGTH)
    np.testing.assert_array_equal(lists_of("base", context), sort)


@pytest.mark.parametrize(("name", "base"), [("mmr", "base"), ("fast-dpp", "base"), ("pointwise-dpp", "pointwise")])
def test_less_weight_of_relevance_makes_lists_more_diverse(name: str, base: str, context: PlanContext) -> None:
    records = list(context.bench.test)
    diverse, near, sort = (
        nearness(records, lists)
        for lists in (lists_of(name, context, 0), lists_of(name, context), lists_of(base, context))
    )
    assert diverse < near - 0.05
    assert abs(near - sort) < 0.05


def test_learnt_scores_change_the_lists_and_the_front_offers_several(context: PlanContext) -> None:
    base = lists_of("base", context)
    for name in ("ltr", "pointwise"):
        assert 0.05 < (lists_of(name, context) == base).mean() < 0.95
    fronts = {lists_of("pareto", context, k).tobytes() for k in range(TRIED)}
    assert len(fronts) > 1


def test_a_fit_tells_how_large_it_is_and_its_seed_matters(bench: Bench, tmp_path: Path) -> None:
    for fit in (*scorers.FITS, *formulas.FITS):
        (one, notes), (other, _) = (run_fit(bench, fit, tmp_path, seed) for seed in (0, 1))
        assert notes
        files = sorted(path.name for path in one.iterdir())
        assert any((one / name).read_bytes() != (other / name).read_bytes() for name in files)
