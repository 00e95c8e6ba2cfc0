"""Ordered-regression heads: what they promise about probabilities, and that one step at a time is the same."""

from __future__ import annotations

from itertools import product
from typing import Final

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.heads import CountHead, MonotoneHead

DIM: Final = 6
HEADS = [CountHead, MonotoneHead]


def make(kind: type[CountHead], thresholds: int, seed: int) -> CountHead:
    torch.manual_seed(seed)
    head = kind(DIM, thresholds)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(3.0)
    return head.double()


def reached(head: CountHead, x: Tensor) -> Tensor:
    """P(≥ i) [T, L] with what cannot be reached at 0."""
    possible = torch.ones(x.shape[0], head.out.out_features).tril()
    return torch.sigmoid(head(x[None])[0]) * possible


@given(length=st.integers(1, 6), seed=st.integers(0, 1000))
def test_the_monotone_head_falls_with_the_threshold_and_rises_along_the_list(length: int, seed: int) -> None:
    head = make(MonotoneHead, 6, seed)
    p = reached(head, torch.randn(length, DIM, dtype=torch.float64))
    assert (p[:, 1:] <= p[:, :-1] + 1e-6).all()
    assert (p[1:] >= p[:-1] - 1e-6).all()


@pytest.mark.parametrize("kind", HEADS)
@given(length=st.integers(1, 5), seed=st.integers(0, 1000))
def test_one_step_at_a_time_gives_what_the_whole_list_gives(kind: type[CountHead], length: int, seed: int) -> None:
    head = make(kind, 5, seed)
    x = torch.randn(length, DIM, dtype=torch.float64)
    before: Tensor | None = None
    for t, expected in enumerate(reached(head, x)):
        before = head.step(x[t], t, before)
        torch.testing.assert_close(before, expected, atol=1e-6, rtol=1e-6)


def test_the_monotone_head_is_the_chain_of_events_summed_over_every_outcome() -> None:
    head = make(MonotoneHead, 3, seed=4)
    x = torch.randn(3, DIM, dtype=torch.float64)
    with torch.no_grad():
        hazards = torch.sigmoid(CountHead.forward(head, x)).numpy()
    expected = np.zeros((3, 3))
    for outcome in product((0, 1), repeat=3):
        chance, count = 1.0, 0
        for t, event in enumerate(outcome):
            chance *= hazards[t, count] if event else 1 - hazards[t, count]
            count += event
        for t in range(3):
            expected[t, : sum(outcome[: t + 1])] += chance
    np.testing.assert_allclose(reached(head, x).detach().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(("kind", "expected"), [(CountHead, [0.5, 0.1]), (MonotoneHead, [0.3, 0.3])])
def test_heads_start_at_the_rates_of_the_training_lists(kind: type[CountHead], expected: list[float]) -> None:
    head = kind(DIM, 2)
    head.start_at(torch.tensor([0.5, 0.1]), 0.3)
    torch.testing.assert_close(torch.sigmoid(head.out.bias), torch.tensor(expected))
