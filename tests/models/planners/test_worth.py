"""The worth of outcomes, by hand."""

from __future__ import annotations

import pytest
import torch

from models.planners.worth import RequestWorth, Worth

OUTCOMES = torch.tensor([[2.0, 0.5, 30.0], [1.0, 0.0, 0.0]])


def test_clicks_alone_are_worth_themselves() -> None:
    assert Worth((1.0, 0.0, 0.0), (0.2, 0.01, 3.0))(OUTCOMES).tolist() == [2.0, 1.0]


def test_outcomes_are_measured_in_their_units_and_the_whole_in_clicks() -> None:
    # 0.2 · (5 · 2 / 0.2 + 1 · 0.5 / 0.05 + 2 · 30 / 3) / 8 = 0.2 · (50 + 10 + 20) / 8
    assert Worth((5.0, 1.0, 2.0), (0.2, 0.05, 3.0))(OUTCOMES).tolist() == pytest.approx([2.0, 0.2 * 25 / 8])


def test_requests_with_weights_of_their_own_are_valued_one_by_one() -> None:
    weights, units = torch.tensor([[5.0, 1.0, 2.0], [0.0, 0.0, 1.0]]), (0.2, 0.05, 3.0)
    outcomes = OUTCOMES.expand(2, 4, 2, 3)
    both = RequestWorth(weights, units)
    for r, row in enumerate(((5.0, 1.0, 2.0), (0.0, 0.0, 1.0))):
        torch.testing.assert_close(both(outcomes)[r], Worth(row, units)(outcomes[r]))
    torch.testing.assert_close(both.take(torch.tensor([1]))(outcomes[:1]), both(outcomes)[1:])


@pytest.mark.parametrize("weights", [(0.0, 0.0, 0.0), (-1.0, 1.0, 1.0), (float("nan"), 1.0, 1.0)])
def test_weights_that_say_nothing_are_refused(weights: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="weights: must be finite"):
        Worth(weights)
    with pytest.raises(ValueError, match="weights: must be finite"):
        RequestWorth(torch.tensor([[1.0, 1.0, 1.0], weights]))


def test_weights_for_another_number_of_objectives_are_refused() -> None:
    with pytest.raises(ValueError, match="must be 3, one per objective, not 2"):
        RequestWorth(torch.ones(4, 2))


def test_a_unit_of_zero_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="units: conversion must be positive"):
        Worth((1.0, 0.0, 0.0), (0.1, 0.0, 1.0))
