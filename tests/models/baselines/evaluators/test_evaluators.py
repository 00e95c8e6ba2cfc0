"""Evaluator baselines: what they see, how prefixes add up, and that they learn, are stored and resumed."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.baselines.evaluators.deepfm import pair_products
from models.baselines.evaluators.nlgr import DecoupledAttention, id_field
from models.baselines.evaluators.pier import OmnidirectionalAttention
from models.baselines.evaluators.positions import position_loss
from models.baselines.evaluators.training import (
    EVALUATOR_BASELINES,
    EVALUATOR_FILE,
    EvaluatorBaseline,
    OutcomeFunction,
    load_evaluator_baseline,
    train_evaluator_baseline,
)
from models.contract.spec import FeatureSpec
from models.data.batches import encode_lists
from models.data.records import ListRecord
from models.data.slates import encode_slates
from models.nets.checkpoint import CheckpointError
from models.nets.value import ListValueModel, ValueConfig
from models.planners.search.prefix import list_outcomes
from models.training.loop import TrainOptions
from tests.models.specs import fit_spec
from tests.models.training.records import make_record, make_records

CPU = torch.device("cpu")
CONFIG = ValueConfig(dim=8, layers=1, heads=2, list_length=4, field_dim=4)
LISTWISE = ("pier", "nlgr-e")


def spec_of(records: list[ListRecord]) -> FeatureSpec:
    return fit_spec(records)


def build(name: str, spec: FeatureSpec) -> EvaluatorBaseline:
    torch.manual_seed(0)
    return EVALUATOR_BASELINES[name](spec, CONFIG).eval()


def slates(records: list[ListRecord], spec: FeatureSpec) -> dict[str, Tensor]:
    return encode_slates(records, spec, 4).tensors(CPU)


@pytest.fixture(scope="module")
def records() -> list[ListRecord]:
    return make_records(12)


@pytest.mark.parametrize("name", [*EVALUATOR_BASELINES, "value"])
def test_outcomes_are_cumulative_and_repeat_behind_the_end(name: str, records: list[ListRecord]) -> None:
    spec = spec_of(records)
    value = partial(list_outcomes, ListValueModel(spec, CONFIG).eval())
    evaluate: OutcomeFunction = value if name == "value" else build(name, spec).outcomes
    lists = torch.tensor([[0, 3, 2, 5], [4, 1, -1, -1]]).expand(12, -1, -1)
    outcomes = evaluate(slates(records, spec), lists)
    assert outcomes.shape == (12, 2, 4, 3)
    assert not outcomes.requires_grad
    torch.testing.assert_close(outcomes[:, 1, 1:2].expand(-1, 2, -1), outcomes[:, 1, 2:])
    alone = evaluate(slates(records, spec), lists[:, 1:, :2])
    torch.testing.assert_close(alone[:, 0], outcomes[:, 1, :2])


@pytest.mark.parametrize("name", EVALUATOR_BASELINES)
def test_outcomes_of_the_exposed_list_are_the_sums_of_what_training_sees(name: str, records: list[ListRecord]) -> None:
    spec = spec_of(records)
    model = build(name, spec)
    batch = encode_lists(records, spec, 4).tensors(CPU)
    chance = torch.sigmoid(model(batch))
    expected = torch.cat([chance, (batch["price"] * chance[..., 1])[..., None]], dim=-1).sum(dim=1)
    data = slates(records, spec)
    torch.testing.assert_close(model.outcomes(data, data["exposed"][:, None])[:, 0, -1], expected)


@pytest.mark.parametrize("name", EVALUATOR_BASELINES)
def test_many_lists_of_a_request_are_valued_as_if_each_came_alone(name: str, records: list[ListRecord]) -> None:
    spec = spec_of(records)
    model, data = build(name, spec), slates(records, spec)
    rng = np.random.default_rng(0)
    lists = torch.from_numpy(np.stack([[rng.permutation(6)[:4] for _ in range(5)] for _ in records]))
    together = model.outcomes(data, lists)
    for k in range(5):
        torch.testing.assert_close(model.outcomes(data, lists[:, k : k + 1]), together[:, k : k + 1])


@pytest.mark.parametrize("name", LISTWISE)
def test_padding_changes_nothing_for_listwise_models(name: str) -> None:
    records = [make_record(i, shown=2) for i in range(8)]
    spec = spec_of(records)
    model = build(name, spec)
    batch = encode_lists(records, spec, 4).tensors(CPU)
    noisy = {**batch, "item_scores": batch["item_scores"].clone(), "item_ids": batch["item_ids"].clone()}
    noisy["item_scores"][:, 2:] = 7.0
    noisy["item_ids"][:, 2:] = 1
    torch.testing.assert_close(model(noisy)[:, :2], model(batch)[:, :2])


@pytest.mark.parametrize("name", LISTWISE)
def test_an_item_of_a_listwise_model_depends_on_what_follows_and_on_its_place(
    name: str, records: list[ListRecord]
) -> None:
    spec = spec_of(records)
    model = build(name, spec)
    batch = encode_lists(records, spec, 4).tensors(CPU)
    dearer = {**batch, "item_scores": batch["item_scores"].clone()}
    dearer["item_scores"][:, 3] += 1.0
    assert (model(dearer)[:, 0] != model(batch)[:, 0]).any()
    data = slates(records, spec)
    outcomes = model.outcomes(data, torch.tensor([[0, 1, 2], [1, 0, 2]]).expand(12, -1, -1))
    assert (outcomes[:, 0, -1] != outcomes[:, 1, -1]).any()


def test_deepfm_sees_neither_order_nor_neighbours(records: list[ListRecord]) -> None:
    spec = spec_of(records)
    model, data = build("deepfm", spec), slates(records, spec)
    forward = model.outcomes(data, torch.tensor([[0, 1, 2, 3]]).expand(12, 1, -1))
    backward = model.outcomes(data, torch.tensor([[3, 2, 1, 0]]).expand(12, 1, -1))
    torch.testing.assert_close(forward[:, :, -1], backward[:, :, -1])
    steps = forward.diff(dim=2, prepend=torch.zeros(12, 1, 1, 3))
    torch.testing.assert_close(steps.flip(2), backward.diff(dim=2, prepend=torch.zeros(12, 1, 1, 3)))
    assert (steps >= 0).all()


def test_pair_products_are_the_products_of_all_pairs_of_fields() -> None:
    x = torch.randn(3, 2, 5, 4, dtype=torch.float64)
    expected = sum((x[..., i, :] * x[..., j, :]).sum(-1) for i in range(5) for j in range(i))
    torch.testing.assert_close(pair_products(x), expected)


def test_decoupled_attention_averages_the_weights_of_the_fields() -> None:
    torch.manual_seed(0)
    unit = DecoupledAttention(fields=3, field_dim=4, id_field=1)
    x, keep = torch.randn(2, 5, 3, 4), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    found = unit(x, keep)
    for b, length in enumerate((5, 3)):
        items = x[b, :length]
        weights = torch.stack(
            [torch.softmax(items[:, f] @ unit.query[f] @ (items[:, f] @ unit.key[f]).T / 2, dim=-1) for f in range(3)]
        ).mean(dim=0)
        expected = (weights @ items[:, 1] @ unit.value.weight.T).mean(dim=0)
        torch.testing.assert_close(found[b], expected)


def test_omnidirectional_attention_keeps_fields_apart_until_the_items_are_read() -> None:
    torch.manual_seed(0)
    unit = OmnidirectionalAttention(3, CONFIG)
    x, keep = torch.randn(1, 4, 3, 4), torch.ones(1, 4, dtype=torch.bool)
    _, items = unit(x, keep)
    value = unit.over_item_fields.weight[8:]
    within = []
    for f in range(3):
        query, key, passed = (x[0, :, f] @ unit.within_field.weight.T).chunk(3, dim=-1)
        within.append(torch.nn.functional.silu(torch.softmax(query @ key.T / 2, dim=-1) @ passed))
    fields = torch.stack(within, dim=1)  # [T, F, E]
    query, key = fields @ unit.over_item_fields.weight[:4].T, fields @ unit.over_item_fields.weight[4:8].T
    expected = torch.softmax(query @ key.transpose(1, 2) / 2, dim=-1) @ (fields @ value.T)
    torch.testing.assert_close(items[0], expected)


def test_the_id_is_the_categorical_with_the_most_values(records: list[ListRecord]) -> None:
    spec = spec_of(records)
    assert spec.item_categoricals[id_field(spec)].name == "category"
    assert id_field(dataclasses.replace(spec, item=())) == 0


def test_the_loss_counts_exposed_positions_and_recorded_objectives_only() -> None:
    records = [make_record(0, shown=4), dataclasses.replace(make_record(1, shown=2), purchases=None, gmv=None)]
    spec = spec_of(records)
    model = build("pier", spec)
    batch = encode_lists(records, spec, 4).tensors(CPU)
    chance, labels = torch.sigmoid(model(batch)), batch["labels"][:, :, :2]
    terms = -(labels * chance.log() + (1 - labels) * (1 - chance).log())
    expected = (terms[0].sum() + terms[1, :2, 0].sum()) / 2
    torch.testing.assert_close(position_loss(model, batch, spec), expected)


def train(
    name: str, folder: Path, epochs: int = 12, *, resume: bool = False, patience: int = 20
) -> tuple[EvaluatorBaseline, FeatureSpec]:
    records = make_records(160)
    spec = spec_of(records)
    arrays, valid = encode_lists(records[:120], spec, 4), encode_lists(records[120:], spec, 4)
    options = TrainOptions(epochs=epochs, batch_size=32, learning_rate=1e-2, patience=patience)
    model = train_evaluator_baseline(name, spec, arrays, valid, CONFIG, options, folder, CPU, resume)
    return model, spec


@pytest.mark.parametrize("name", EVALUATOR_BASELINES)
def test_training_learns_what_brings_clicks_and_loading_gives_the_same_model(name: str, tmp_path: Path) -> None:
    model, spec = train(name, tmp_path)
    assert not model.training
    held_out = [make_record(i, seed=9) for i in range(300)]
    data = slates(held_out, spec)
    found = model.outcomes(data, data["exposed"][:, None])
    clicks = data["labels"][:, :, 0].sum(dim=1)
    assert np.corrcoef(found[:, 0, -1, 0].numpy(), clicks.numpy())[0, 1] > 0.3
    assert abs(float(found[:, 0, -1, 0].sum() / clicks.sum()) - 1) < 0.2
    again = load_evaluator_baseline(tmp_path)
    assert type(again) is type(model)
    torch.testing.assert_close(again.outcomes(data, data["exposed"][:, None]), found, rtol=0, atol=0)


def test_an_untrained_model_starts_at_the_base_rates() -> None:
    records = make_records(50)
    spec = spec_of(records)
    for name in EVALUATOR_BASELINES:
        model = build(name, spec)
        model.start_at(torch.tensor([0.1, 0.02]))
        biases: list[Tensor] = [value for key, value in model.named_parameters() if key.endswith("out.bias")]
        torch.testing.assert_close(torch.sigmoid(torch.cat(biases)), torch.tensor([0.1, 0.02]))


def test_a_finished_run_is_not_overwritten_but_resumed(tmp_path: Path) -> None:
    model, _ = train("deepfm", tmp_path, epochs=2)
    with pytest.raises(ValueError, match="already holds a run"):
        train("deepfm", tmp_path, epochs=2)
    again, _ = train("deepfm", tmp_path, epochs=2, resume=True)
    for ours, theirs in zip(again.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    with pytest.raises(CheckpointError, match="evaluator was deepfm, not pier"):
        train("pier", tmp_path, epochs=2, resume=True)


def test_unknown_names_and_broken_files_are_named(tmp_path: Path) -> None:
    records = make_records(4)
    arrays = encode_lists(records, spec_of(records), 4)
    with pytest.raises(ValueError, match="evaluator 'xdeepfm': must be one of deepfm, pier, nlgr-e"):
        train_evaluator_baseline("xdeepfm", spec_of(records), arrays, arrays, CONFIG, TrainOptions(), tmp_path, CPU)
    with pytest.raises(CheckpointError, match="there is no such file"):
        load_evaluator_baseline(tmp_path)
    (tmp_path / EVALUATOR_FILE).write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="is truncated, damaged or no checkpoint"):
        load_evaluator_baseline(tmp_path)
