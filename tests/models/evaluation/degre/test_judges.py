"""Data, halves and valuers of the experiments against the plain encoder, the plain model and the simulator itself."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from models.data.batches import encode_lists
from models.data.list_file import read_lists
from models.data.list_writer import write_lists
from models.data.records import ListRecord, Split
from models.datasets.simulated_logs import load
from models.datasets.simulator import Simulator, SimulatorConfig
from models.evaluation.degre.judges import JUDGES, ModelValuer, TruthValuer, mix_values
from models.evaluation.degre.workspace import DegreData, exposed_lists, load_data, prepare_data, split_halves
from models.nets.value import ListValueModel, ValueConfig
from tests.models.planners.examples import random_model
from tests.models.planners.plain import shaken
from tests.models.training.records import make_records

LENGTH = 3
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SimulatorConfig(users=20, items=30, candidates=6, kappa=1.0, seed=1)
    logs = load(config, seed=2, lists=80, length=LENGTH)
    path = tmp_path_factory.mktemp("degre") / "lists.parquet"
    write_lists(path, logs.records, logs.metadata)
    return path


@pytest.fixture(scope="module")
def data(source: Path) -> DegreData:
    folder = source.parent / "data"
    prepare_data(source, folder, LENGTH)
    return load_data(folder)


@pytest.fixture(scope="module")
def model(data: DegreData) -> ListValueModel:
    config = ValueConfig(dim=8, layers=1, heads=2, list_length=LENGTH, field_dim=4, input_block="fields")
    return shaken(random_model(data.spec, config, seed=0), seed=0)


def test_the_exposed_lists_of_slates_are_those_that_are_encoded_alone(source: Path, data: DegreData) -> None:
    expected = encode_lists(list(read_lists(source, "train")), data.spec, LENGTH)
    found = exposed_lists(data.slates["train"])
    assert found.digest == expected.digest


def test_short_lists_are_padded_as_the_encoder_pads_them(tmp_path: Path) -> None:
    records = [
        *make_records(12, shown=4),
        *(replace(r, split="valid") for r in _renamed(make_records(4, shown=2), "v")),
    ]
    records += [replace(r, split="test") for r in _renamed(make_records(4, shown=2), "t")]
    write_lists(tmp_path / "lists.parquet", records, {})
    prepare_data(tmp_path / "lists.parquet", tmp_path / "data", LENGTH)
    found = load_data(tmp_path / "data")
    expected = encode_lists([r for r in records if r.split == "valid"], found.spec, LENGTH)
    assert exposed_lists(found.slates["valid"]).digest == expected.digest
    assert found.slates["valid"].request_ids == ("v-0", "v-1", "v-2", "v-3")


def test_requests_too_small_to_fill_the_list_are_refused(tmp_path: Path) -> None:
    write_lists(tmp_path / "lists.parquet", make_records(3), {})
    with pytest.raises(ValueError, match=r"list 'r-0' has 6 candidates, fewer than the 7 positions"):
        prepare_data(tmp_path / "lists.parquet", tmp_path / "data", 7)
    with pytest.raises(ValueError, match=r"no lists of split 'valid'"):
        prepare_data(tmp_path / "lists.parquet", tmp_path / "data", 4)


def test_lists_that_show_no_item_are_refused_by_the_name_of_their_file(tmp_path: Path) -> None:
    nothing: dict[str, Any] = dict.fromkeys(("exposed", "clicks", "purchases", "gmv"), ())
    records = [
        replace(r, request_id=f"{split}-{r.request_id}", split=split, **nothing)
        for split in get_args(Split)
        for r in make_records(3)
    ]
    write_lists(tmp_path / "lists.parquet", records, {})
    with pytest.raises(ValueError, match=r"lists\.parquet: the lists to learn from show no item"):
        prepare_data(tmp_path / "lists.parquet", tmp_path / "data", LENGTH)


def test_the_halves_split_every_user_evenly_whatever_the_order_of_the_file() -> None:
    ids = [f"r-{i}" for i in range(61)]
    groups = [f"u{i % 7}" for i in range(61)]
    halves = split_halves(ids, groups)
    for group in set(groups):
        count = Counter(halves[[g == group for g in groups]].tolist())
        assert abs(count[0] - count[1]) <= 1
    order = np.random.default_rng(0).permutation(61)
    shuffled = split_halves([ids[i] for i in order], [groups[i] for i in order])
    np.testing.assert_array_equal(shuffled, halves[order])


def test_users_with_one_list_do_not_all_fall_on_one_side() -> None:
    halves = split_halves([f"r-{i}" for i in range(200)], [f"u{i}" for i in range(200)])
    assert 70 < halves.sum() < 130


def test_prior_values_multiply_the_raw_scores(source: Path, data: DegreData) -> None:
    record = next(read_lists(source, "test"))
    ctr = np.array([c.scores["ctr"] for c in record.candidates])
    cvr = np.array([c.scores["cvr"] for c in record.candidates])
    price = np.array([c.price for c in record.candidates], np.float64)
    np.testing.assert_allclose(data.prior[0], np.stack([ctr, ctr * cvr, ctr * cvr * price], axis=1), rtol=1e-5)


def test_a_model_values_lists_as_its_forward_pass_does(data: DegreData, model: ListValueModel) -> None:
    test = data.slates["test"]
    valuer = ModelValuer(model, test, LENGTH, CPU)
    lists = np.array([[[0, 2, 5], [5, 1, 0]], [[3, 4, 1], [1, 4, 3]]])
    rows = np.array([2, 0])
    found = valuer.outcomes(rows, lists)
    for r, row in enumerate(rows.tolist()):
        for k, one in enumerate(lists[r].tolist()):
            batch = {n: torch.from_numpy(v[row : row + 1]) for n, v in test.features.items()}
            taken = {n: v if n.startswith("user_") else v[:, one] for n, v in batch.items()}
            with torch.inference_mode():
                gains = model.gains(model(taken))[0].double().numpy()
            gmv = float(gains[:, 1] @ test.features["price"][row, one])
            np.testing.assert_allclose(found[r, k], [*gains.sum(axis=0), gmv], rtol=1e-4, atol=1e-6)


def test_all_lists_are_valued_in_the_order_of_permutations(data: DegreData, model: ListValueModel) -> None:
    lists = np.array(list(permutations(range(6), LENGTH)))
    truth = TruthValuer(data.metadata, data.slates["test"].request_ids, LENGTH)
    for valuer in (ModelValuer(model, data.slates["test"], LENGTH, CPU), truth):
        expected = valuer.outcomes(np.array([1]), lists[None])[0]
        np.testing.assert_allclose(valuer.every_outcome(1), expected, rtol=1e-4, atol=1e-6)


def test_the_truth_is_the_simulators_and_an_empty_list_is_worth_nothing(data: DegreData) -> None:
    ids = data.slates["test"].request_ids
    simulator = Simulator(SimulatorConfig.from_metadata(data.metadata))
    lists = np.array([[4, 0, 3]])
    expected = simulator.list_value(simulator.find(ids[3]), lists)[0, -1]
    found = TruthValuer(data.metadata, ids, LENGTH).outcomes(np.array([3]), np.array([[[4, 0, 3], [-1, -1, -1]]]))
    np.testing.assert_allclose(found[0, 0], expected)
    assert found[0, 1].tolist() == [0, 0, 0]


def test_only_simulated_lists_have_a_truth() -> None:
    with pytest.raises(ValueError, match="was not made by"):
        TruthValuer({"source": "movielens"}, ["u1-1"], LENGTH)


def test_mixes_weigh_outcomes_in_units_of_clicks() -> None:
    outcomes = np.array([[2.0, 0.5, 10.0]])
    values = mix_values(outcomes, [(1, 0, 0), (0, 0, 1), (5, 1, 1)], (0.2, 0.05, 4.0))
    expected = [2.0, 0.2 * 10 / 4, 0.2 * (5 * 2 / 0.2 + 0.5 / 0.05 + 10 / 4) / 7]
    np.testing.assert_allclose(values[:, 0], expected, rtol=1e-6)


def test_only_the_own_judge_holds_the_evaluator() -> None:
    assert [judge.name for judge in JUDGES if "evaluator" in judge.members] == ["own"]


def test_what_was_encoded_is_kept_as_plain_files(source: Path, data: DegreData) -> None:
    folder = source.parent / "data"
    assert {p.name for p in folder.iterdir()} == {"train.npz", "valid.npz", "test.npz", "prior.npy", "meta.json"}
    assert json.loads((folder / "meta.json").read_text())["metadata"] == data.metadata
    assert data.counts_purchases


def _renamed(records: list[ListRecord], prefix: str) -> list[ListRecord]:
    return [replace(r, request_id=f"{prefix}-{i}") for i, r in enumerate(records)]
