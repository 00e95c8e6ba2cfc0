"""The hybrid distillation loss (DeGRe, eq. 13) against numbers worked out by hand, and what its options take away."""

from __future__ import annotations

import math
from typing import Final

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.training.distill import DistillOptions, hybrid_loss

SEQUENCES: Final = torch.tensor([[[0, 1], [2, 0]]])
PROBABILITIES: Final = torch.tensor([[[[0.5, 0.25, 0.25], [0.0, 0.8, 0.2]], [[0.25, 0.25, 0.5], [0.4, 0.6, 0.0]]]])
SOFT: Final = torch.tensor([[[[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]], [[0.5, 0.25, 0.25], [0.7, 0.3, 0.0]]]])
WEIGHTS: Final = torch.tensor([[0.75, 0.25]])

IMITATION: Final = 0.75 * (-math.log(0.5) - math.log(0.8)) + 0.25 * (-math.log(0.5) - math.log(0.4))
FIRST: Final = 0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2)
SECOND: Final = (
    0.5 * math.log(0.5 / 0.25) + 0.25 * math.log(0.25 / 0.5) + 0.7 * math.log(0.7 / 0.4) + 0.3 * math.log(0.3 / 0.6)
)
ALIGNMENT: Final = 0.75 * FIRST + 0.25 * SECOND


def loss(options: DistillOptions, weights: Tensor = WEIGHTS, sequences: Tensor = SEQUENCES) -> float:
    return float(hybrid_loss(PROBABILITIES.log(), sequences, SOFT, weights, options))


def test_the_hybrid_loss_is_imitation_plus_alpha_times_the_divergence() -> None:
    assert loss(DistillOptions(alpha=0.0)) == pytest.approx(IMITATION)
    assert loss(DistillOptions(alpha=0.1)) == pytest.approx(IMITATION + 0.1 * ALIGNMENT)
    assert loss(DistillOptions(hard=False, alpha=1.0)) == pytest.approx(ALIGNMENT)


def test_positions_past_the_end_and_padded_sequences_carry_no_loss() -> None:
    short = torch.tensor([[[0, -1], [-1, -1]]])
    assert loss(DistillOptions(), torch.tensor([[1.0, 0.0]]), short) == pytest.approx(-math.log(0.5))


def test_the_loss_is_a_mean_over_requests() -> None:
    def twice(t: Tensor) -> Tensor:
        return torch.cat([t, t])

    doubled = hybrid_loss(twice(PROBABILITIES.log()), twice(SEQUENCES), twice(SOFT), twice(WEIGHTS), DistillOptions())
    assert float(doubled) == pytest.approx(loss(DistillOptions()))


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_the_divergence_is_never_negative_and_0_for_the_soft_labels_themselves(seed: int) -> None:
    torch.manual_seed(seed)
    soft, other = torch.softmax(torch.randn(2, 1, 2, 2, 3) * 2, -1)
    options = DistillOptions(hard=False, alpha=1.0)
    assert float(hybrid_loss(other.log(), SEQUENCES, soft, WEIGHTS, options)) >= -1e-6
    assert float(hybrid_loss(soft.log(), SEQUENCES, soft, WEIGHTS, options)) == pytest.approx(0.0, abs=1e-6)


def test_gradients_are_finite_although_what_was_chosen_has_probability_0() -> None:
    logits = torch.zeros(1, 2, 2, 3, requires_grad=True)
    masked = torch.log_softmax(logits.masked_fill(PROBABILITIES == 0, -torch.inf), -1)
    hybrid_loss(masked, SEQUENCES, SOFT, WEIGHTS, DistillOptions(alpha=1.0)).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("hard", "alpha", "problem"), [(True, -0.1, "at least 0"), (True, math.nan, "at least 0"), (False, 0.0, "above 0")]
)
def test_options_that_supervise_nothing_are_refused(hard: bool, alpha: float, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        DistillOptions(hard=hard, alpha=alpha)
