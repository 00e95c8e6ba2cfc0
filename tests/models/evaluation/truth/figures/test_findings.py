"""Sentences on where list-level generation does not pay."""

from __future__ import annotations

from models.evaluation.truth.figures.findings import Contest, finding
from models.reporting.contents import Figure


def contest(value: float, mean: float, margin: float) -> Contest:
    return Contest(value, "MMR", Figure(mean=mean, low=mean - margin, high=mean + margin))


def test_the_values_at_which_it_does_not_pay_are_named() -> None:
    text = finding("prior noise", [contest(0.0, -0.01, 0.02), contest(0.5, 0.001, 0.01), contest(1.0, 0.05, 0.01)])
    assert text == (
        "Prior noise: SORT-Gen with its beam does not surely gain over the strongest cheap sort at 0 and 0.5 "
        "(−1.0% [−3.0, +1.0] over MMR; +0.1% [−0.9, +1.1] over MMR). "
        "It does at 1, at most +5.0% [+4.0, +6.0] over MMR at 1."
    )


def test_values_without_a_contest_are_not_passed_over() -> None:
    text = finding("places", [contest(5, 0.04, 0.01)], [10, 1000])
    assert text.endswith("It is not known at 10 and 1,000.")


def test_it_may_pay_everywhere_or_nowhere() -> None:
    everywhere = finding("places", [contest(5, 0.04, 0.01), contest(1000, 0.02, 0.01)])
    assert everywhere == (
        "Places: SORT-Gen with its beam gains over the strongest cheap sort at every value tried; its smallest gain is "
        "+2.0% [+1.0, +3.0] over MMR at 1,000."
    )
    nowhere = finding("places", [contest(5, 0.0, 0.01), contest(10, -0.02, 0.01)])
    assert "surely gains over the strongest cheap sort at no value tried; its largest gain" in nowhere
    assert nowhere.endswith("0.0% [−1.0, +1.0] over MMR at 5.")
    assert finding("places", []) == ""
