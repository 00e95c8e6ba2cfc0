"""The rows of SORT-Gen, its ablations and the grid: valid lists, and each what its name says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.contract.arrays import Ints
from models.data.slates import encode_slates
from models.evaluation.planning import ServedPlanner, formula_sort, learnt_beam
from models.evaluation.truth import searches
from models.evaluation.truth.bench import Bench
from models.evaluation.truth.fits import value_models, variants
from models.evaluation.truth.method import TRIED, Fit, Method
from models.evaluation.truth.methods import grid, sort_gen, variant_rows
from models.evaluation.truth.methods.sort_gen import TRADE_OFFS
from models.nets.checkpoint import load_checkpoint
from models.planners.references.sort_gen import Preferences
from models.planners.search.prefix import list_outcomes
from models.planners.worth import Worth
from models.training.value import CHECKPOINT_FILE
from tests.models.evaluation.truth.tiny_fits import LENGTH, PROFILE, check_lists, plan_context, untrained

METHODS = {
    m.name: m for m in (*sort_gen.METHODS, *variant_rows.METHODS, *grid.METHODS) if not m.name.endswith("pointer")
}


@pytest.fixture(scope="module")
def folders(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained value models: what is held here does not depend on what they learnt."""
    return untrained(bench, (*value_models.FITS, *variants.FITS), tmp_path_factory.mktemp("fits"))


def plan(bench: Bench, folders: dict[str, Path], method: Method, setting: Any = None, **wishes: Any) -> Ints:
    needs = {fit: folders[fit] for fit in method.needs}
    return method.plan(plan_context(bench, needs, **wishes), bench.test, setting)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_plans_valid_lists_under_each_end_of_its_settings(
    bench: Bench, folders: dict[str, Path], name: str
) -> None:
    method = METHODS[name]
    for setting in {method.settings[0], method.settings[-1]}:
        check_lists(bench, plan(bench, folders, method, setting), bench.test)


def test_the_rows_are_named_and_grouped() -> None:
    names = [m.name for m in (*sort_gen.METHODS, *variant_rows.METHODS, *grid.METHODS)]
    assert len(set(names)) == len(names)
    table_2 = {"template", "ranking-top", "pointwise-loss", "esmm-loss", "without-mmr"}
    assert {"sort-gen-paper", "sort-gen", "sort-gen-beam", "sort-gen-beam-wide", *table_2} < set(names)
    assert {m.group for m in sort_gen.METHODS} == {"ours"}
    assert {m.group for m in variant_rows.METHODS} == {"ablations"}
    assert {m.group for m in grid.METHODS} == {"grid"}
    tuned = {m.name for m in METHODS.values() if len(m.settings) > 1}
    assert tuned == {"sort-gen-paper", "ranking-top", "pointwise-loss", "esmm-loss", "with-mmr"}
    assert all(len(METHODS[name].settings) == TRIED for name in tuned)


def test_sort_gens_rows_are_the_served_planner_of_their_sizes(bench: Bench, folders: dict[str, Path]) -> None:
    checkpoint = load_checkpoint(folders["sort"] / CHECKPOINT_FILE)
    wish = Preferences(PROFILE.objectives, bench.units)
    for name, head, beam in (("sort-gen", 2, 1), ("sort-gen-beam", 2, PROFILE.beam), ("sort-gen-beam-wide", 4, 2)):
        served = ServedPlanner.of(checkpoint, LENGTH, head_width=head, beam_width=beam)
        np.testing.assert_array_equal(plan(bench, folders, METHODS[name]), served(bench.test, wish))
    # What is the default is the same under its other names.
    for name, same in (
        ("heads-2", "sort-gen"),
        ("beam-1", "sort-gen"),
        ("queues-4", "sort-gen"),
        ("lambda-1", "sort-gen"),
        ("queues-4-beam", "sort-gen-beam"),
        ("grid-sort-queues", "sort-gen"),
    ):
        np.testing.assert_array_equal(plan(bench, folders, METHODS[name]), plan(bench, folders, METHODS[same]))


def test_the_papers_row_searches_as_the_paper_does(bench: Bench, folders: dict[str, Path]) -> None:
    checkpoint = load_checkpoint(folders["sort-paper"] / CHECKPOINT_FILE)
    served = ServedPlanner.of(checkpoint, LENGTH, partition="dfs")
    for trade_off in (0.5, 1.0):
        wish = Preferences(PROFILE.objectives, bench.units, trade_off, window=2)
        found = plan(bench, folders, METHODS["sort-gen-paper"], trade_off, window=2)
        np.testing.assert_array_equal(found, served(bench.test, wish))
    without = plan(bench, folders, METHODS["without-mmr"])
    np.testing.assert_array_equal(without, plan(bench, folders, METHODS["sort-gen-paper"], 1.0))


def test_of_queues_the_formula_stays_and_objectives_come_in_order(folders: dict[str, Path]) -> None:
    checkpoint = load_checkpoint(folders["sort"] / CHECKPOINT_FILE)
    names = [[q.name for q in searches.QueueSearch(queues=n).dealt(checkpoint)] for n in (1, 2, 3, 4, None)]
    assert names[:3] == [["formula"], ["click", "formula"], ["click", "conversion", "formula"]]
    assert names[3] == names[4] == ["click", "conversion", "gmv", "formula"]


def test_one_queue_alone_would_be_the_sort_and_the_ranking_top_row_is_not(
    bench: Bench, folders: dict[str, Path]
) -> None:
    checkpoint = load_checkpoint(folders["sort-paper"] / CHECKPOINT_FILE)
    base = formula_sort(checkpoint, bench.test, Preferences(PROFILE.objectives, bench.units), LENGTH)
    alone = searches.queue_plan("sort-paper", replace(sort_gen.PAPER, queues=1))
    needs = {"sort-paper": folders["sort-paper"]}
    np.testing.assert_array_equal(alone(plan_context(bench, needs), bench.test, None), base)
    found = plan(bench, folders, METHODS["ranking-top"], 1.0)
    assert (found != base).any()
    # It knows the formula's best items alone.
    assert all(set(row) == set(top) for row, top in zip(found.tolist(), base.tolist(), strict=True))


def test_the_template_takes_turns(bench: Bench) -> None:
    method = METHODS["template"]
    lists = plan(bench, {}, method)
    for row, record in zip(lists.tolist(), bench.test, strict=True):
        ctr = [c.scores["ctr"] for c in record.candidates]
        both = [c.scores["ctr"] * c.scores["cvr"] for c in record.candidates]
        first = max(range(len(ctr)), key=ctr.__getitem__)
        second = max((i for i in range(len(ctr)) if i != first), key=both.__getitem__)
        gmv = [b * float(c.price or 0) for b, c in zip(both, record.candidates, strict=True)]
        third = max((i for i in range(len(ctr)) if i not in (first, second)), key=gmv.__getitem__)
        assert row == [first, second, third]
    assert not method.seeded
    assert method.needs == ()


def test_window_and_trade_off_are_those_of_the_name(bench: Bench, folders: dict[str, Path]) -> None:
    checkpoint = load_checkpoint(folders["sort"] / CHECKPOINT_FILE)
    served = ServedPlanner.of(checkpoint, LENGTH, head_width=2)
    wish = Preferences(PROFILE.objectives, bench.units, trade_off=0.9, window=1)
    np.testing.assert_array_equal(plan(bench, folders, METHODS["window-1"], window=7), served(bench.test, wish))
    wish = replace(wish, trade_off=0.5, window=7)
    np.testing.assert_array_equal(plan(bench, folders, METHODS["lambda-0.5"], window=7), served(bench.test, wish))
    np.testing.assert_array_equal(plan(bench, folders, METHODS["with-mmr"], 0.5, window=7), served(bench.test, wish))


def test_a_method_that_is_tuned_needs_a_number(bench: Bench, folders: dict[str, Path]) -> None:
    with pytest.raises(TypeError, match="λ must be a number, not None"):
        plan(bench, folders, METHODS["with-mmr"], None)


@pytest.mark.parametrize("model", grid.MODELS)
def test_the_more_a_planner_asks_its_model_the_higher_the_model_values_its_lists(
    bench: Bench, folders: dict[str, Path], model: str
) -> None:
    checkpoint = load_checkpoint(folders[model] / CHECKPOINT_FILE)
    worth = Worth(PROFILE.objectives, bench.units)
    value: dict[str, Any] = {}
    for planner in ("sort", "beam", "local-search"):
        lists = torch.from_numpy(plan(bench, folders, METHODS[grid.grid_name(model, planner)]))
        batch = encode_slates(bench.test, checkpoint.spec, LENGTH).tensors(torch.device("cpu"))
        value[planner] = worth(list_outcomes(checkpoint.model, batch, lists[:, None])[:, 0, -1])
    assert (value["local-search"] >= value["beam"] - 1e-5).all()
    assert value["beam"].mean() >= value["sort"].mean()
    wish = Preferences(PROFILE.objectives, bench.units)
    whole = learnt_beam(checkpoint, bench.test, wish, LENGTH, PROFILE.beam)
    np.testing.assert_array_equal(plan(bench, folders, METHODS[grid.grid_name(model, "beam")]), whole)


def test_a_graph_is_built_once_for_all_that_ask_for_it(
    bench: Bench, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []
    real = ServedPlanner.of

    def counted(*args: Any, **kwargs: Any) -> ServedPlanner:
        built.append(kwargs["head_width"])
        return real(*args, **kwargs)

    searches._graph.cache_clear()
    monkeypatch.setattr(ServedPlanner, "of", counted)
    for trade_off in TRADE_OFFS:
        plan(bench, folders, METHODS["with-mmr"], trade_off)
    plan(bench, folders, METHODS["sort-gen"])
    plan(bench, folders, METHODS["sort-gen-beam"])
    assert built == [2, 2]


def test_the_distilled_generator_stands_beside_the_model_that_it_was_distilled_from() -> None:
    fits = [Fit("nlgr", lambda _: {}, needs=("sort",)), Fit("degre", lambda _: {}, needs=("mined", "degre-evaluator"))]
    methods = [Method(name, name, "ours", METHODS["template"].plan, needs=(name,)) for name in ("nlgr", "degre")]
    (pointer,) = grid.pointers(fits, methods)
    assert pointer.name == "grid-degre-evaluator-pointer"
    assert (pointer.title, pointer.group) == ("DeGRe's evaluator × pointer", "grid")
    assert (pointer.plan, pointer.needs) == (methods[1].plan, ("degre",))
