"""Intervals over seeds and requests: exact cases, pairing, and how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.truth.figures.intervals import Sample, difference, gain, intervals_note, mean_of, share
from models.reporting.contents import Figure

RNG = np.random.default_rng(5)


def known(figure: Figure | None) -> tuple[float, float, float]:
    assert figure is not None
    numbers = [x for x in (figure.mean, figure.low, figure.high) if x is not None]
    mean, low, high = numbers
    return mean, low, high


def test_a_method_gains_exactly_nothing_over_itself() -> None:
    values = Sample(RNG.random((1, 40)))
    assert known(gain(values, values)) == (0.0, 0.0, 0.0)
    assert known(difference(values, values)) == (0.0, 0.0, 0.0)


def test_a_constant_factor_is_a_gain_without_width() -> None:
    base = Sample(RNG.random((1, 40)) + 1)
    doubled = Sample(np.stack([2 * base.values[0]] * 3), (0, 1, 2))
    assert known(gain(doubled, base)) == pytest.approx((1.0, 1.0, 1.0))


def test_the_width_is_that_of_the_mean_for_requests_alone() -> None:
    values = RNG.normal(3.0, 1.0, (1, 400))
    mean, low, high = known(mean_of(Sample(values)))
    assert mean == values.mean()
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.08)


def test_seeds_that_differ_widen_the_interval() -> None:
    requests = RNG.normal(0.0, 1.0, 400)
    alike = Sample(np.stack([requests] * 3), (0, 1, 2))
    unlike = Sample(np.stack([requests - 1, requests, requests + 1]), (0, 1, 2))
    (_, low, high), (_, lower, higher) = known(mean_of(alike)), known(mean_of(unlike))
    assert higher - lower > 4 * (high - low)


def test_what_requests_have_in_common_falls_out_of_a_difference() -> None:
    requests = RNG.normal(0.0, 100.0, (1, 300))
    better = Sample(requests + 1 + RNG.normal(0.0, 0.1, requests.shape))
    mean, low, high = known(difference(better, Sample(requests)))
    assert mean == pytest.approx(1.0, abs=0.05)
    assert high - low < 0.1


def test_methods_are_compared_on_the_seeds_that_both_have() -> None:
    rows = RNG.random((3, 20))
    whole, part = Sample(rows, (0, 1, 2)), Sample(rows[1:2] + 1, (1,))
    assert known(difference(part, whole)) == pytest.approx((1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="no seed in common"):
        gain(Sample(rows[:1], (0,)), part)


def test_what_is_no_number_is_no_figure() -> None:
    assert mean_of(Sample(np.full((1, 5), np.nan))) == Figure(text="–")


def test_other_requests_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="figures of 3 and 4 requests"):
        gain(Sample(np.ones((1, 3))), Sample(np.ones((1, 4))))


def test_a_share_of_a_gain_is_known_only_if_there_is_one() -> None:
    floor = RNG.random((1, 50))
    base, whole = Sample(floor), Sample(floor + 2)
    found = share(Sample(floor + 1), whole, base)
    assert known(found) == pytest.approx((0.5, 0.5, 0.5))
    assert share(base, whole, base) is not None
    assert share(whole, base, base) is None
    assert share(base, Sample(floor + RNG.normal(0.0, 1.0, floor.shape)), base) is None


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """With many seeds: of few, any bootstrap says too little."""
    rng, held, repeats = np.random.default_rng(1), 0, 200
    for _ in range(repeats):
        seeds, requests = rng.normal(0, 0.3, (20, 1)), rng.normal(0, 1.0, (1, 100))
        noise = rng.normal(0, 0.5, (20, 100))
        _, low, high = known(mean_of(Sample(seeds + requests + noise, tuple(range(20)))))
        held += low <= 0 <= high
    assert 0.90 <= held / repeats <= 0.99


def test_a_gain_over_nothing_is_no_figure_and_warns_of_nothing() -> None:
    nothing, something = Sample(np.zeros((1, 6))), Sample(np.ones((1, 6)))
    assert gain(something, nothing) == Figure(text="–")
    assert gain(nothing, nothing) == Figure(text="–")


def test_a_gain_over_outcomes_that_a_draw_may_miss_has_no_interval() -> None:
    rare = Sample(np.array([[0.0, 0.0, 1.0]]))
    assert gain(Sample(np.ones((1, 3))), rare) == Figure(mean=2.0)


def test_seeds_and_requests_are_drawn_as_whole_rows_and_columns() -> None:
    """The exact variance of a mean over drawn seeds and requests is that of both means together."""
    seeds, requests = np.array([[-1.0], [0.0], [1.0]]), RNG.normal(0.0, 1.0, (1, 200))
    _, low, high = known(mean_of(Sample(seeds + requests, (0, 1, 2))))
    spread = (seeds.var() / 3 + requests.var() / 200) ** 0.5
    assert (high - low) / 2 == pytest.approx(1.96 * spread, rel=0.1)


@pytest.mark.parametrize(("seeds", "words"), [(1, "There is one seed"), (3, "3 seeds are few")])
def test_a_caption_says_what_intervals_do_not_cover(seeds: int, words: str) -> None:
    assert words in intervals_note(seeds)
