"""The ordered regression loss against hand-worked numbers and a plain loop over the paper's indices."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.losses import ordered_mask, ordered_regression_loss, ordered_targets


def reference(logits: Tensor, labels: Tensor, lengths: list[int], observed: list[list[bool]]) -> float:
    """Equations 4 and 5 with i and j counted from 1, one term at a time."""
    total = 0.0
    batch, _, objectives, _ = logits.shape
    for b in range(batch):
        for o in range(objectives):
            if not observed[b][o]:
                continue
            for j in range(1, lengths[b] + 1):
                y = sum(float(labels[b, k, o]) for k in range(j))
                for i in range(1, j + 1):
                    p = 1 / (1 + math.exp(-float(logits[b, j - 1, o, i - 1])))
                    total -= math.log(p) if y >= i else math.log(1 - p)
    return total / batch


def test_a_list_worked_by_hand() -> None:
    # Two items, the second clicked: "≥1 click" is 0 then 1, "≥2" is 0; nothing is bought.
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, :, 0, 0] = torch.tensor([math.log(0.2 / 0.8), math.log(0.6 / 0.4)])
    logits[0, 1, 0, 1] = math.log(0.1 / 0.9)
    labels = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])
    loss = ordered_regression_loss(logits, labels, torch.tensor([2]), torch.tensor([[True, True]]))
    click = -math.log(0.8) - math.log(0.6) - math.log(0.9)
    assert float(loss) == pytest.approx(click + 3 * math.log(2))


def test_targets_are_cumulative_counts_against_thresholds() -> None:
    labels = torch.tensor([[[1.0], [0.0], [1.0]]])
    assert ordered_targets(labels)[0, :, 0].tolist() == [[1, 0, 0], [1, 0, 0], [1, 1, 0]]


@given(seed=st.integers(0, 10_000), length=st.integers(1, 6), batch=st.integers(1, 4))
def test_the_loss_equals_the_plain_loop(seed: int, length: int, batch: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, length, 2, length, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 2, (batch, length, 2), generator=generator).double()
    lengths = torch.randint(0, length + 1, (batch,), generator=generator)
    observed = torch.randint(0, 2, (batch, 2), generator=generator).bool()
    loss = ordered_regression_loss(logits, labels, lengths, observed)
    assert float(loss) == pytest.approx(reference(logits, labels, lengths.tolist(), observed.tolist()))


def test_nothing_flows_into_impossible_thresholds_unseen_positions_and_unrecorded_objectives() -> None:
    logits = torch.randn(2, 5, 2, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    lengths, observed = torch.tensor([3, 5]), torch.tensor([[True, False], [True, True]])
    ordered_regression_loss(logits, torch.ones(2, 5, 2), lengths, observed).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    mask = ordered_mask(lengths, observed, 5)
    assert torch.equal(logits.grad != 0, mask)
    assert mask[0, 3:].sum() == mask[0, :, 1].sum() == mask[1, 0, 0, 1:].sum() == 0
    assert mask.sum() == 6 + 15 + 15


def test_an_extreme_logit_keeps_the_loss_finite() -> None:
    logits = torch.full((1, 1, 1, 1), -1e4)
    loss = ordered_regression_loss(logits, torch.ones(1, 1, 1), torch.tensor([1]), torch.tensor([[True]]))
    assert float(loss) == pytest.approx(1e4)
