"""The verdict: every outcome from figures made up to give it, and from logs whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

import models.judging.judge
from models.contract.verdict import Verdict
from models.judging.gate import HeldOut
from models.judging.judge import Likelihood, NdcgComparison, compare, judge, likelihoods, mixes
from models.judging.list_orders import ndcg_of, shown_orders, sorted_orders
from models.judging.metrics import Interval
from models.planners.worth import CLICKS_ONLY, Triple, Worth
from tests.models.training.shops import SHOWN, believing, shop_records

CPU = torch.device("cpu")
MIXED = [Worth((5.0, 1.0, 1.0)), Worth(CLICKS_ONLY)]


def comparison(mean: float, spread: float, *, lists: int = 100, objective: str = "click") -> NdcgComparison:
    difference = Interval(mean, mean - spread, mean + spread, lists)
    return NdcgComparison((5.0, 1.0, 1.0), objective, 0.5 + mean, 0.5, 0.49, 0.3, difference)


def told(mean: float, spread: float, *, lists: int = 100, objective: str = "click") -> Likelihood:
    return Likelihood(
        objective, lists, 2.0 - mean, 2.0, 2.3, Interval(mean, mean - spread, mean + spread, lists), pcoc=1.0
    )


PAPERS_LIKELIHOOD = Likelihood("click", 100, 2.0, None, 2.3, None, 1.0)


@pytest.fixture
def part() -> HeldOut:
    return believing(shop_records(8), 1.0)


def verdict_on(
    monkeypatch: pytest.MonkeyPatch,
    part: HeldOut,
    compared: Sequence[NdcgComparison],
    likely: Sequence[Likelihood],
    *,
    knows_more: bool = False,
    has_prior: bool = True,
    worths: Sequence[Worth] = MIXED[:1],
) -> Verdict:
    """Judge by made-up figures."""

    def made_up(parts: object, worth: object, **options: object) -> Iterator[NdcgComparison]:
        del parts, worth, options
        yield from compared

    def made_up_too(parts: object, **options: object) -> Iterator[Likelihood]:
        del parts, options
        yield from likely

    monkeypatch.setattr(models.judging.judge, "compare", made_up)
    monkeypatch.setattr(models.judging.judge, "likelihoods", made_up_too)
    return judge([part], worths, knows_more=knows_more, has_prior=has_prior, device=CPU)


@pytest.mark.parametrize(
    ("differences", "outcome"),
    [
        ([(0.02, 0.01)], "better"),
        ([(0.02, 0.01), (-0.004, 0.01)], "better"),
        ([(0.002, 0.01)], "same"),
        ([(-0.010, 0.01)], "same"),
        ([(-0.010, 0.003)], "worse"),
        ([(0.02, 0.01), (-0.010, 0.003)], "worse"),
        ([(-0.030, 0.06)], "worse"),
    ],
)
def test_where_the_shown_order_knows_more_ndcg_decides(
    monkeypatch: pytest.MonkeyPatch, part: HeldOut, differences: list[tuple[float, float]], outcome: str
) -> None:
    rows = [comparison(*d) for d in differences]
    verdict = verdict_on(monkeypatch, part, rows, [told(0.5, 0.1)], knows_more=True)
    assert verdict.outcome == outcome
    mean = differences[-1][0]
    assert f"NDCG@10 of clicks {0.5 + mean:.4f} against 0.5000, a difference of {mean:+.4f}" in verdict.sentence
    assert "on 100 held-out lists" in verdict.sentence
    assert [row["difference"]["mean"] for row in verdict.figures[:-1]] == [d[0] for d in differences]


@pytest.mark.parametrize(
    ("gains", "outcome"),
    [
        ({"click": (0.1, 0.05)}, "better"),
        ({"click": (0.01, 0.05)}, "same"),
        ({"click": (-0.1, 0.05)}, "worse"),
        ({"click": (0.1, 0.05), "conversion": (-0.1, 0.05)}, "worse"),
        ({"click": (0.01, 0.05), "conversion": (0.1, 0.05)}, "better"),
    ],
)
def test_where_nothing_can_be_guessed_likelihood_decides(
    monkeypatch: pytest.MonkeyPatch, part: HeldOut, gains: dict[str, tuple[float, float]], outcome: str
) -> None:
    rows = [told(*gain, objective=name) for name, gain in gains.items()]
    verdict = verdict_on(monkeypatch, part, [comparison(-0.05, 0.01)], rows)
    assert verdict.outcome == outcome
    name, (mean, spread) = list(gains.items())[-1]
    events = {"click": "clicks", "conversion": "purchases"}[name]
    assert f"{mean:+.4f} nats a list ({mean - spread:+.4f} to {mean + spread:+.4f})" in verdict.sentence
    assert f"100 held-out lists with {events}" in verdict.sentence


def test_what_the_mix_does_not_weight_or_does_not_keep_decides_nothing(
    monkeypatch: pytest.MonkeyPatch, part: HeldOut
) -> None:
    rows = [told(0.1, 0.05), told(-0.1, 0.05, objective="conversion")]
    clicks_alone = verdict_on(monkeypatch, part, [comparison(0, 0.01)], rows, worths=[Worth(CLICKS_ONLY)])
    assert clicks_alone.outcome == "better"
    part.set((1.0, 0.0))
    assert verdict_on(monkeypatch, part, [comparison(0, 0.01)], rows).outcome == "better"


def test_the_papers_head_is_judged_by_ndcg(monkeypatch: pytest.MonkeyPatch, part: HeldOut) -> None:
    verdict = verdict_on(monkeypatch, part, [comparison(-0.05, 0.01)], [PAPERS_LIKELIHOOD])
    assert verdict.outcome == "worse"


def test_where_nothing_is_kept_the_sort_is_served(monkeypatch: pytest.MonkeyPatch, part: HeldOut) -> None:
    part.set((0.0, 0.0))
    for compared in ([comparison(0.0, 0.0)], []):
        verdict = verdict_on(monkeypatch, part, compared, [])
        assert verdict.outcome == "sort"
        assert "the sort by the objective formula is what is served" in verdict.sentence


def test_without_scores_or_without_enough_events_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, part: HeldOut
) -> None:
    rows = [told(0.1, 0.05)]
    without_prior = verdict_on(monkeypatch, part, [comparison(0.1, 0.05)], rows, has_prior=False)
    assert without_prior.outcome == "unmeasured"
    assert "no prior scores (ctr)" in without_prior.sentence
    few = verdict_on(monkeypatch, part, [comparison(0.1, 0.05, lists=19)], rows)
    assert few.outcome == "unmeasured"
    assert "Only 19 held-out lists" in few.sentence
    assert verdict_on(monkeypatch, part, [], []).outcome == "unmeasured"


def test_a_model_that_knows_the_truth_is_better_and_one_that_is_wrong_is_worse() -> None:
    """Believed effects on a shop whose scores are true and whose lists matter: nothing is made up here."""
    records = shop_records(400, effect=3.0)
    outcomes = {}
    for believed in (3.0, -2.0):
        part = believing(records, believed)
        verdict = judge([part], [Worth(CLICKS_ONLY)], knows_more=False, has_prior=True, device=CPU)
        outcomes[believed] = verdict.outcome
        assert Verdict.from_json(verdict.to_json()) == verdict
    assert outcomes == {3.0: "better", -2.0: "worse"}


def test_figures_stand_beside_the_sorts_and_a_random_order() -> None:
    part = believing(shop_records(300, noise=1.0), 2.0)
    [row] = compare([part], Worth(CLICKS_ONLY), device=CPU, seed=0)
    clicks = part.lists.labels[..., 0]
    by_prior = ndcg_of(sorted_orders(part.lists, Worth(CLICKS_ONLY)), clicks)
    assert row.prior == row.formula == pytest.approx(np.nanmean(by_prior))
    assert row.random == pytest.approx(np.nanmean(ndcg_of(shown_orders(part.lists), clicks)), abs=0.03)
    assert row.difference.mean == pytest.approx(row.served - row.formula)
    assert row.difference.low < row.difference.mean < row.difference.high
    assert row.difference.lists == int((clicks.sum(axis=1) > 0).sum())
    half = [replace(part, lists=part.lists.take(rows)) for rows in np.arange(300).reshape(2, 150)]
    [pooled] = compare(half, Worth(CLICKS_ONLY), device=CPU, seed=0)
    assert pooled.served == pytest.approx(row.served, abs=0.01)
    assert pooled.difference.lists == row.difference.lists


def test_likelihood_is_beside_the_prior_and_chance_and_the_first_place_is_calibrated() -> None:
    part = believing(shop_records(2000), 0.0)
    found = next(likelihoods([part], device=CPU, seed=0))
    assert found.objective == "click"
    assert found.prior == pytest.approx(found.model, abs=1e-6)
    assert found.random == pytest.approx(np.log(SHOWN))
    assert found.model < found.random
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(0.0, abs=1e-6)
    assert found.pcoc == pytest.approx(1.0, abs=0.05)


def test_empty_lists_expect_nothing_at_the_first_place() -> None:
    records = shop_records(50)
    empty = [replace(r, exposed=(), clicks=(), purchases=(), gmv=(), request_id=f"e{i}") for i, r in enumerate(records)]
    part = believing(records, 0.0)
    lists = believing([*records, *empty], 0.0).lists
    alone, among = (next(likelihoods([p], device=CPU, seed=0)) for p in (part, replace(part, lists=lists)))
    assert alone.objective == among.objective == "click"
    assert among.pcoc == pytest.approx(alone.pcoc)


def test_an_objective_without_events_has_no_likelihood() -> None:
    part = believing([replace(r, purchases=None, gmv=None) for r in shop_records(20)], 0.0)
    assert [row.objective for row in likelihoods([part], device=CPU, seed=0)] == ["click"]


UNITS: Triple = (0.4, 0.1, 3.0)


def test_mixes_are_the_bundles_own_and_each_objective_alone_once() -> None:
    model = believing(shop_records(20), 0.0).model
    weights = [worth.weights for worth in mixes(model, UNITS, (5.0, 1.0, 1.0))]
    assert weights == [(5.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    weights = [worth.weights for worth in mixes(model, UNITS, (7.0, 0.0, 0.0))]
    assert weights == [(7.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]


def test_what_cannot_be_valued_has_no_weight_and_must_not_have_all_of_it() -> None:
    model = believing([replace(r, purchases=None, gmv=None) for r in shop_records(20)], 0.0).model
    assert [worth.weights for worth in mixes(model, UNITS, (5.0, 1.0, 1.0))] == [(5.0, 0.0, 0.0)]
    with pytest.raises(ValueError, match=r"objectives: only click can be valued .* 0/1/0 gives that no weight"):
        mixes(model, UNITS, (0.0, 1.0, 0.0))
