"""DeGRe's online generator: what it may depend on, and greedy decoding against its own probabilities."""

from __future__ import annotations

from typing import Final

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.contract.spec import Number, SpecError
from models.data.field_choices import FieldChoices
from models.data.slates import encode_slates
from models.nets.generator import GeneratorConfig, PointerGenerator, remaining
from tests.models.specs import fit_spec
from tests.models.training.records import make_record

CONFIG: Final = GeneratorConfig(dim=8, layers=2, heads=2, list_length=4, field_dim=4)
RECORDS: Final = [make_record(i, candidates=6 - i % 3) for i in range(5)]
SPEC: Final = fit_spec(RECORDS, FieldChoices(min_count=1))


def make(seed: int = 0, config: GeneratorConfig = CONFIG) -> PointerGenerator:
    torch.manual_seed(seed)
    model = PointerGenerator(SPEC, config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.8)
    return model.double()


def requests() -> dict[str, Tensor]:
    batch = encode_slates(RECORDS, SPEC, 4).tensors(torch.device("cpu"))
    doubles = {name: t.double() for name, t in batch.items() if t.is_floating_point()}
    return batch | doubles | {"objective_weights": torch.tensor([[5.0, 1.0, 1.0]] * len(RECORDS)).double()}


def permuted(batch: dict[str, Tensor], order: Tensor) -> dict[str, Tensor]:
    """The candidates of every request in another order."""
    names = [name for name in batch if name.startswith("item_") or name in ("price", "valid")]
    return batch | {name: batch[name][:, order] for name in names}


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), order=st.permutations(range(6)))
def test_permuting_the_candidates_permutes_the_answer(seed: int, order: list[int]) -> None:
    model, batch = make(seed), requests()
    lists, moved = model.generate(batch, 4), model.generate(permuted(batch, torch.tensor(order)), 4)
    back = torch.tensor([*order, -1])
    assert torch.equal(back[moved], lists)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_a_greedy_list_takes_the_likeliest_remaining_candidate_at_every_step(seed: int) -> None:
    model, batch = make(seed), requests()
    lists = model.generate(batch, 4)
    with torch.no_grad():
        likely = model(batch, lists[:, None])[:, 0]
    for row, scores in zip(lists.tolist(), likely, strict=True):
        for t, item in enumerate(row):
            assert item == int(scores[t].argmax())


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), length=st.integers(1, 4))
def test_lists_hold_every_candidate_at_most_once_and_no_padding(seed: int, length: int) -> None:
    lists = make(seed).generate(requests(), length)
    for row, record in zip(lists.tolist(), RECORDS, strict=True):
        assert len(set(row)) == length
        assert all(0 <= item < len(record.candidates) for item in row)


def test_a_list_ends_where_no_candidate_is_left() -> None:
    batch = requests()
    batch["valid"] = torch.arange(6) < torch.tensor([1, 2, 3, 4, 6])[:, None]
    lists = make().generate(batch, 4)
    assert (lists >= 0).sum(dim=1).tolist() == [1, 2, 3, 4, 4]
    assert sorted(lists[1].tolist()) == [-1, -1, 0, 1]


def test_probabilities_sum_to_one_over_what_remains() -> None:
    batch = requests()
    sequences = torch.tensor([[[0, 1, 2, 3], [3, 2, 0, 1]]] * len(RECORDS))
    p = make()(batch, sequences).exp()
    torch.testing.assert_close(p.sum(-1), torch.ones_like(p[..., 0]))
    assert (p[:, 0, 2, :2] == 0).all()
    assert (p[:, 1, 1, 3] == 0).all()
    assert (p[1, ..., 5] == 0).all()


def test_padding_changes_nothing() -> None:
    model, batch = make(), requests()
    alone = {
        name: t[1:2, :5] if name in ("valid", "price") or name.startswith("item_") else t[1:2]
        for name, t in batch.items()
    }
    sequences = torch.tensor([[[4, 0, 2, 1]]])
    with_padding = model({name: t[1:2] for name, t in batch.items()}, sequences)
    torch.testing.assert_close(with_padding[..., :5], model(alone, sequences))


def test_a_later_choice_depends_on_the_earlier_ones_and_their_order() -> None:
    model, batch = make(), requests()
    third = model(batch, torch.tensor([[[0, 1, 2, 3], [1, 0, 2, 3]]] * len(RECORDS)))[:, :, 2]
    assert not torch.allclose(third[:, 0], third[:, 1])


def test_the_first_choice_depends_on_the_user() -> None:
    model, batch = make(), requests()
    other = batch | {"user_numbers": batch["user_numbers"] + 1.0}
    assert not torch.allclose(model.start_token(batch), model.start_token(other))


def test_only_a_conditioned_generator_reads_the_objective_weights() -> None:
    batch = requests()
    other = batch | {"objective_weights": torch.tensor([[0.0, 0.0, 1.0]] * len(RECORDS)).double()}
    scaled = batch | {"objective_weights": batch["objective_weights"] * 7}
    sequences = torch.tensor([[[0, 1, 2, 3]]] * len(RECORDS))
    plain, conditioned = make(), make(config=GeneratorConfig(8, 2, 2, 4, 4, conditioned=True))
    assert torch.equal(plain(batch, sequences), plain(other, sequences))
    assert not torch.allclose(conditioned(batch, sequences), conditioned(other, sequences))
    torch.testing.assert_close(conditioned(batch, sequences), conditioned(scaled, sequences))


def test_remaining_is_everything_that_is_valid_and_not_chosen_before() -> None:
    valid = torch.tensor([[True, True, True, False]])
    sequences = torch.tensor([[[1, 0, -1]]])
    assert remaining(sequences, valid)[0, 0].tolist() == [
        [True, True, True, False],
        [True, False, True, False],
        [False, False, True, False],
    ]


def test_sizes_and_lengths_that_cannot_be_are_refused() -> None:
    with pytest.raises(SpecError, match="multiple of heads"):
        GeneratorConfig(dim=10, heads=4)
    with pytest.raises(SpecError, match="layers: must be at least 1"):
        GeneratorConfig(layers=0)
    with pytest.raises(ValueError, match="past the generator's horizon 4"):
        make().generate(requests(), 5)


def test_a_request_without_user_fields_starts_from_a_learnt_token() -> None:
    records = [make_record(i) for i in range(3)]
    spec = fit_spec(records, FieldChoices(min_count=1))
    bare = type(spec)(item=spec.item, scores=spec.scores, price=Number("price"))
    model = PointerGenerator(bare, CONFIG).eval()
    batch = encode_slates(records, bare, 4).tensors(torch.device("cpu"))
    assert model.start is None
    assert (model.generate(batch, 4) >= 0).all()
