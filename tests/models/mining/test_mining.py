"""What is mined: the beam's lists, improved, without repeats, best first, with labels and weights that fit them."""

from __future__ import annotations

import dataclasses
import math
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.contract.spec import OBJECTIVES
from models.mining.mine import draw_weights
from models.mining.miner import MiningOptions
from models.mining.shards import MinedArrays, sequence_weights
from models.planners.search.prefix import list_outcomes
from models.planners.worth import Triple, Worth
from tests.models.mining.examples import (
    encoded,
    equal_candidates,
    evaluator,
    joined,
    mine_some,
    one_batch,
    some_records,
)
from tests.models.planners.examples import UNITS

RECORDS = some_records()
EVALUATOR = evaluator(RECORDS)
MIX: Triple = (5.0, 1.0, 1.0)
SCALES = (UNITS["click"], UNITS["conversion"], UNITS["gmv"])


def mined(folder: Path, **options: Any) -> MinedArrays:
    mine_some(folder, EVALUATOR, RECORDS, **options)
    return joined(folder, RECORDS, EVALUATOR)


def all_values(row: int, weights: Triple) -> dict[tuple[int, ...], list[float]]:
    """V̂ after each position of every list of a request."""
    batch = one_batch(encoded(RECORDS, EVALUATOR), row)
    lists = list(permutations(range(batch["valid"].shape[1]), 3))
    values = Worth(weights, SCALES)(list_outcomes(EVALUATOR.model, batch, torch.tensor([lists])))[0]
    return dict(zip(lists, values.tolist(), strict=True))


@pytest.mark.parametrize("search", ["none", "best", "all"])
def test_sequences_have_their_values_are_different_and_the_best_comes_first(search: str, tmp_path: Path) -> None:
    found = mined(tmp_path, objectives=MIX, local_search=search)
    assert len(found) == len(RECORDS)
    for row in range(len(RECORDS)):
        known = all_values(row, MIX)
        sequences = [tuple(s) for s in found.sequences[row][found.there[row]].tolist()]
        assert len(set(sequences)) == len(sequences) >= 1
        for s, sequence in enumerate(sequences):
            assert found.step_values[row, s].tolist() == pytest.approx(known[sequence], abs=1e-4)
        values = found.values[row][found.there[row]]
        assert (np.diff(values) <= 1e-6).all()


def test_a_beam_as_wide_as_there_are_lists_finds_the_best_list(tmp_path: Path) -> None:
    found = mined(tmp_path, width=120)
    for row in range(len(RECORDS)):
        known = {sequence: values[-1] for sequence, values in all_values(row, (1.0, 0.0, 0.0)).items()}
        assert found.values[row, 0] == pytest.approx(max(known.values()), abs=1e-5)
        assert found.there[row].sum() == min(120, len(known))


def test_local_search_never_loses_and_ends_where_no_neighbour_is_better(tmp_path: Path) -> None:
    plain, best, every = (mined(tmp_path / mode, width=2, local_search=mode) for mode in ("none", "best", "all"))
    assert (best.values[:, 0] >= plain.values[:, 0] - 1e-5).all()
    assert (every.values[:, 0] >= best.values[:, 0] - 1e-5).all()
    for row in range(len(RECORDS)):
        known = {sequence: values[-1] for sequence, values in all_values(row, (1.0, 0.0, 0.0)).items()}
        here = tuple(best.sequences[row, 0].tolist())
        for other, value in known.items():
            differ = [i for i in range(3) if other[i] != here[i]]
            if len(differ) == 1 or (len(differ) == 2 and set(other) == set(here)):
                assert value <= known[here] + 1e-5


@pytest.mark.parametrize("search", ["none", "all"])
def test_soft_labels_compare_what_remains_at_each_step(search: str, tmp_path: Path) -> None:
    found = mined(tmp_path, objectives=MIX, local_search=search)
    batch = one_batch(encoded(RECORDS, EVALUATOR), 0)
    for s in np.flatnonzero(found.there[0]):
        sequence = found.sequences[0, s].tolist()
        for t in range(3):
            left = [i for i in range(batch["valid"].shape[1]) if i not in sequence[:t]]
            lists = torch.tensor([[[*sequence[:t], i] for i in left]])
            powers = Worth(MIX, SCALES)(list_outcomes(EVALUATOR.model, batch, lists)[0, :, -1]).exp()
            expected = np.zeros(6)
            expected[left] = (powers / powers.sum()).numpy()
            assert found.soft[0, s, t].tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_weights_are_a_softmax_of_values_that_another_temperature_sharpens(tmp_path: Path) -> None:
    found = mined(tmp_path, weight_temperature=0.5)
    for row in range(len(RECORDS)):
        values = found.values[row][found.there[row]].tolist()
        for arrays, temperature in ((found, 0.5), (found.weighted(0.1), 0.1)):
            powers = [math.exp(v / temperature) for v in values]
            expected = [p / sum(powers) for p in powers]
            assert arrays.weights[row][found.there[row]].tolist() == pytest.approx(expected, rel=1e-4)
            assert (arrays.weights[row][~found.there[row]] == 0).all()
    assert found.weighted(0.5).weights == pytest.approx(found.weights, abs=1e-6)
    with pytest.raises(ValueError, match="must be positive, not 0"):
        found.weighted(0.0)


def test_sequence_weights_by_hand() -> None:
    values, there = torch.tensor([[1.0, 0.0, 5.0]]), torch.tensor([[True, True, False]])
    # e² : 1 at τ = 0.5
    assert sequence_weights(values, there, 0.5).tolist()[0] == pytest.approx([0.880797, 0.119203, 0.0], abs=1e-6)


def test_drawn_objectives_are_shares_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    found = mined(tmp_path, objectives=None, width=2, seed=4)
    assert found.objective_weights.sum(axis=1) == pytest.approx(np.ones(len(RECORDS)))
    assert len(np.unique(found.objective_weights, axis=0)) == len(RECORDS)
    again = draw_weights(len(RECORDS), MiningOptions(objectives=None, seed=4))
    assert found.objective_weights.tolist() == again.tolist()
    assert draw_weights(9, MiningOptions(objectives=None, seed=5)).tolist() != again.tolist()
    weights: Any = tuple(found.objective_weights[3].tolist())
    sequence = tuple(found.sequences[3, 0].tolist())
    assert found.step_values[3, 0].tolist() == pytest.approx(all_values(3, weights)[sequence], abs=1e-4)


def test_candidates_that_are_all_equal_give_lists_all_the_same(tmp_path: Path) -> None:
    records = [equal_candidates(r) for r in RECORDS]
    checkpoint = evaluator(RECORDS)
    mine_some(tmp_path, checkpoint, records, local_search="all")
    found = joined(tmp_path, records, checkpoint)
    assert found.there.all()
    assert found.weights == pytest.approx(np.full(found.weights.shape, 0.25), abs=1e-3)


def test_tensors_are_what_training_cuts_into_batches(tmp_path: Path) -> None:
    found = mined(tmp_path)
    tensors = found.tensors(torch.device("cpu"))
    assert tensors["lengths"].tolist() == [3] * len(RECORDS)
    assert tensors["soft"].shape == (*tensors["sequences"].shape, 6)
    assert tensors["objective_weights"].tolist() == [[1.0, 0.0, 0.0]] * len(RECORDS)
    assert set(encoded(RECORDS, EVALUATOR).features) < set(tensors)
    some = found.take(np.array([4, 1]))
    assert some.slates.request_ids == ("r-4", "r-1")
    assert some.sequences.tolist() == found.sequences[[4, 1]].tolist()
    assert some.digest != found.digest


def test_shard_size_and_batching_do_not_change_what_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mined(tmp_path / "whole", shard_size=100)
    monkeypatch.setattr("models.mining.miner._EXPANSIONS", 1)
    single = mined(tmp_path / "single", shard_size=2)
    assert single.sequences.tolist() == whole.sequences.tolist()
    assert single.soft == pytest.approx(whole.soft, abs=1e-5)


def test_options_that_make_no_sense_are_refused() -> None:
    impossible: list[tuple[str, Any]] = [("width", 0), ("top_k", 0), ("length", 0), ("shard_size", 0), ("seed", -1)]
    for name, value in impossible:
        with pytest.raises(ValueError, match=f"{name} must be at least"):
            MiningOptions(**{name: value})
    with pytest.raises(ValueError, match="local_search must be one of none, best, all"):
        MiningOptions(local_search="some")  # type: ignore[arg-type]
    for temperature in (0.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="weight_temperature must be positive"):
            MiningOptions(weight_temperature=temperature)


def test_a_request_with_fewer_candidates_than_positions_is_named(tmp_path: Path) -> None:
    checkpoint = evaluator(RECORDS, horizon=5)
    with pytest.raises(ValueError, match="list 'r-0': has 4 candidates, fewer than the 5 positions"):
        mine_some(tmp_path, checkpoint, RECORDS)
    assert list(tmp_path.iterdir()) == []
    assert mine_some(tmp_path, checkpoint, RECORDS, length=4).length == 4


def test_a_length_past_the_horizon_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="length: 4 is past the evaluator's horizon 3"):
        mine_some(tmp_path, EVALUATOR, RECORDS, length=4)


def test_an_objective_that_no_list_records_cannot_be_searched_for(tmp_path: Path) -> None:
    records = [dataclasses.replace(r, purchases=None, gmv=None) for r in RECORDS]
    for objectives in (MIX, None):
        with pytest.raises(ValueError, match=f"objectives: {OBJECTIVES[1]} has a weight"):
            mine_some(tmp_path, EVALUATOR, records, objectives=objectives)
