"""The search without a cache finds what the one with it finds, and a difference does not go unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cli import main
from models.evaluation.mining_cost import beam_from_scratch, check_same
from models.nets.value import HeadKind
from models.planners.search.beam import beam_search
from tests.models.mining.examples import evaluator, files, some_records
from tests.models.planners.plain import MIXED, random_batch, small_model

HEADS: st.SearchStrategy[HeadKind] = st.sampled_from(["independent", "hazard"])


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 999), width=st.integers(1, 8), head=HEADS)
def test_both_searches_find_the_same_values(seed: int, width: int, head: HeadKind) -> None:
    model, batch = small_model(seed, head=head), random_batch([3, 5], seed)
    cached = beam_search(model, batch, MIXED, 3, width).step_values[:, :, -1]
    scratch = beam_from_scratch(model, batch, MIXED, 3, width)
    check_same(cached, scratch)
    assert (scratch > -torch.inf).sum(dim=1).tolist() == [min(width, 6), min(width, 60)]


def test_a_difference_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"values by up to 0\.5"):
        check_same(torch.tensor([[1.0, 0.5]]), torch.tensor([[1.0, 1.0]]))


def test_the_command_prints_the_ratio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = some_records()
    inputs = files(tmp_path, records, evaluator(records))
    assert main(["evaluate", "mining-cost", *inputs, "--slates", "4", "--repeats", "2", "--device", "cpu"]) == 0
    assert "ratio" in capsys.readouterr().out
    assert main(["evaluate", "mining-cost", *inputs, "--width", "0"]) == 2
    assert "--width: must be at least 1, not 0" in capsys.readouterr().err
