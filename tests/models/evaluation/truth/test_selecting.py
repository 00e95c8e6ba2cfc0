"""Lists from scores of items: the objective formula weighs them, and the rule looks back as preferences say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from models.data.records import ListRecord
from models.evaluation.truth.bench import Bench
from models.evaluation.truth.method import PlanContext
from models.evaluation.truth.selecting import TRADE_OFFS, dpp, mmr, plan_by_scores, scored_items, sort
from models.planners.references.sort_gen import Preferences
from tests.models.evaluation.truth.small_world import LENGTH, make_bench, plan_context


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("world"), lists=300)


def preferring(bench: Bench, *weights: float, window: int = 4) -> PlanContext:
    assert len(weights) == 3
    return dataclasses.replace(plan_context(bench), preferences=Preferences(weights, bench.units, window=window))


def test_a_scorers_values_take_the_place_of_the_ranking_stages(bench: Bench) -> None:
    records = bench.test
    rising = [{"ctr": np.linspace(0.1, 0.2, len(r.candidates)), "cvr": np.ones(len(r.candidates))} for r in records]
    last = len(records[0].candidates) - 1
    plan = plan_by_scores(preferring(bench, 1.0, 0.0, 0.0), records, rising, sort)
    assert plan.tolist() == [list(range(last, last - LENGTH, -1))] * len(records)
    own = plan_by_scores(preferring(bench, 1.0, 0.0, 0.0), records, None, sort)
    assert own.tolist() == [_sorted(record) for record in records]


def _sorted(record: ListRecord) -> list[int]:
    ctr = [candidate.scores["ctr"] for candidate in record.candidates]
    return sorted(range(len(ctr)), key=lambda i: -ctr[i])[:LENGTH]


def test_relevance_is_in_the_units_of_a_step_value(bench: Bench) -> None:
    context = preferring(bench, 5.0, 1.0, 1.0)
    items = scored_items(context, bench.test, "alpha*ctr + beta + gamma")
    ctr = np.array([[c.scores["ctr"] for c in record.candidates] for record in bench.test])
    np.testing.assert_allclose(items.relevance, (5 * ctr + 2) / 7)
    assert items.present.all()
    assert items.embedded.all()


def test_rules_look_back_as_far_as_the_preferences_say(bench: Bench) -> None:
    for rule in (mmr(0.3), dpp(0.3)):
        plans = [plan_by_scores(preferring(bench, 5.0, 1.0, 1.0, window=w), bench.test, None, rule) for w in (0, 1, 4)]
        assert len({plan.tobytes() for plan in plans}) == 3
        np.testing.assert_array_equal(plans[0], plan_by_scores(plan_context(bench), bench.test, None, sort))


def test_the_settings_rise_and_a_setting_that_is_no_number_is_refused(bench: Bench) -> None:
    settings = [setting for setting in TRADE_OFFS if isinstance(setting, float)]
    assert list(TRADE_OFFS) == sorted(settings)
    assert 0 < settings[0] < settings[-1] < 1
    with pytest.raises(ValueError, match="must be a number"):
        plan_by_scores(plan_context(bench), bench.test, None, mmr("0.5"))


def test_a_record_without_the_scores_of_the_formula_is_named(bench: Bench) -> None:
    record = bench.test[0]
    bare = dataclasses.replace(record, candidates=tuple(dataclasses.replace(c, scores={}) for c in record.candidates))
    with pytest.raises(ValueError, match=record.request_id):
        plan_by_scores(plan_context(bench), [bare], None, sort)


def test_many_requests_have_the_lists_that_each_has_alone(bench: Bench) -> None:
    context, records = plan_context(bench), [*bench.test, *bench.valid, *bench.test]
    scores = [{"ctr": np.linspace(0.3, 0.1, len(r.candidates))} for r in records]
    together = plan_by_scores(context, records, scores, dpp(0.4))
    alone = [plan_by_scores(context, [r], [s], dpp(0.4))[0] for r, s in zip(records, scores, strict=True)]
    np.testing.assert_array_equal(together, alone)
