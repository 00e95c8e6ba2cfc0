"""Records as padded arrays, and batches of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from models.contract.embeddings import unit_embeddings
from models.contract.features import Encoder
from models.data import batches as batches_module
from models.data.batches import batches, encode_lists, epoch_order, hide_values
from models.data.records import ListRecord
from models.data.slates import ITEM_ARRAYS, REQUEST_ARRAYS, encode_slates, list_features
from tests.models.specs import fit_spec
from tests.models.training.records import make_record, make_records


def test_each_list_is_encoded_as_it_would_be_alone() -> None:
    records = [make_record(i, shown=1 + i % 5) for i in range(12)]
    spec = fit_spec(records)
    data = encode_lists(records, spec, 4)
    encoder = Encoder(spec)
    for row, record in enumerate(records):
        n = min(len(record.exposed), 4)
        assert data.lengths[row] == n
        alone = encoder.encode_items([record.candidates[i] for i in record.exposed[:n]])
        for name, values in alone.items():
            np.testing.assert_array_equal(data.features[name][row, :n], values)
            assert not data.features[name][row, n:].any()
        embeddings = unit_embeddings([record.candidates[i].embedding for i in record.exposed[:n]])
        np.testing.assert_array_equal(data.features["embeddings"][row, :n], embeddings)
        for name, values in encoder.encode_user(record.user, record.context).items():
            np.testing.assert_array_equal(data.features[name][row], values)


def embedded(record: ListRecord, *embeddings: tuple[float, ...] | None) -> ListRecord:
    """The record, its first candidates with these embeddings."""
    own = [*embeddings, *[None] * (len(record.candidates) - len(embeddings))]
    candidates = [dataclasses.replace(c, embedding=e) for c, e in zip(record.candidates, own, strict=True)]
    return dataclasses.replace(record, candidates=tuple(candidates), exposed=(0, 1, 2, 3))


def test_embeddings_come_as_unit_rows_or_zeros_with_their_items(monkeypatch: pytest.MonkeyPatch) -> None:
    with_some = embedded(make_record(0), (3.0, 4.0), None, (0.0, -2.0), (0.0, 0.0))
    records = [make_record(1), with_some]
    spec = fit_spec(records)
    expected = np.array([[0.6, 0.8], [0, 0], [0, -1], [0, 0]])
    for chunk in (1024, 1):  # a chunk without any embedding is as wide as the others
        monkeypatch.setattr(batches_module, "_CHUNK", chunk)
        data, slates = encode_lists(records, spec, 4), encode_slates(records, spec, 4)
        np.testing.assert_allclose(data.features["embeddings"][1], expected, rtol=1e-6)
        assert not data.features["embeddings"][0].any()
        np.testing.assert_array_equal(slates.features["embeddings"][1, :4], data.features["embeddings"][1])
        assert slates.features["embeddings"].shape == (2, 6, 2)
        assert data.has_embeddings
    assert encode_lists(records[:1], spec, 4).features["embeddings"].shape == (1, 4, 1)
    assert not encode_lists(records[:1], spec, 4).has_embeddings


def test_lists_taken_from_others_are_those_that_were_encoded_alone() -> None:
    records = [make_record(i, shown=1 + i % 4) for i in range(6)]
    spec = fit_spec(records)
    data = encode_lists(records, spec, 4)
    taken = data.take(np.array([4, 1]))
    assert taken.digest == encode_lists([records[4], records[1]], spec, 4).digest


def test_the_features_of_lists_of_candidates_are_those_of_the_candidates() -> None:
    records = [embedded(make_record(i), (1.0, float(i))) for i in range(3)]
    spec = fit_spec(records)
    slates = encode_slates(records, spec, 4).tensors(torch.device("cpu"))
    requests, lists = torch.tensor([2, 0]), torch.tensor([[5, 0, 3], [1, 0, -1]])
    found = list_features(slates, requests, lists)
    assert set(found) == {*REQUEST_ARRAYS, *ITEM_ARRAYS}
    for row, (request, slots) in enumerate([(2, [5, 0, 3]), (0, [1, 0])]):
        alone = Encoder(spec).encode_items([records[request].candidates[i] for i in slots])
        for name, values in alone.items():
            np.testing.assert_array_equal(found[name][row, : len(slots)].numpy(), values)
        assert torch.equal(found["embeddings"][row, : len(slots)], slates["embeddings"][request, slots])
        assert torch.equal(found["user_ids"][row], slates["user_ids"][request])


def test_labels_run_along_the_exposed_list_and_are_cut_and_padded_like_it() -> None:
    long, short = make_record(0, shown=5), make_record(1, shown=2)
    data = encode_lists([long, short], fit_spec([long, short]), 3)
    np.testing.assert_array_equal(data.labels[0, :, 0], long.clicks[:3])
    np.testing.assert_array_equal(data.labels[1, :, 1], [*(short.purchases or ()), 0])
    assert long.gmv is not None
    np.testing.assert_allclose(data.labels[0, :, 2], long.gmv[:3], rtol=1e-6)
    np.testing.assert_array_equal(data.filled, [[True, True, True], [True, True, False]])


def test_what_the_log_does_not_record_is_told_from_what_did_not_happen() -> None:
    record = dataclasses.replace(make_record(0), purchases=None, gmv=None)
    data = encode_lists([record, make_record(1)], fit_spec([record]), 4)
    np.testing.assert_array_equal(data.observed, [[True, False, False], [True, True, True]])


def test_a_value_that_cannot_be_encoded_is_named_with_its_list_and_place() -> None:
    records = make_records(3)
    spec = fit_spec(records)
    broken = records[1]
    place = broken.exposed[2]
    candidates = list(broken.candidates)
    candidates[place] = dataclasses.replace(candidates[place], features={"stars": "many"})
    records[1] = dataclasses.replace(broken, candidates=tuple(candidates))
    with pytest.raises(ValueError, match=rf"list 'r-1': candidates\[{place}\]\.features\.stars: must be a number"):
        encode_lists(records, spec, 4)


def test_no_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="no lists"):
        encode_lists([], fit_spec(make_records(1)), 4)


def test_batches_hold_every_list_once_in_the_given_order() -> None:
    records = make_records(10)
    data = encode_lists(records, fit_spec(records), 4).tensors(torch.device("cpu"))
    order = epoch_order(10, seed=3, epoch=1)
    assert sorted(order) == list(range(10))
    seen = list(batches(data, 4, order))
    assert [len(b["lengths"]) for b in seen] == [4, 4, 2]
    for name, values in data.items():
        assert torch.equal(torch.cat([b[name] for b in seen]), values[torch.from_numpy(order)])


def test_the_order_depends_on_seed_and_epoch_only() -> None:
    np.testing.assert_array_equal(epoch_order(50, seed=1, epoch=2), epoch_order(50, seed=1, epoch=2))
    assert (epoch_order(50, seed=1, epoch=2) != epoch_order(50, seed=1, epoch=3)).any()
    assert (epoch_order(50, seed=1, epoch=2) != epoch_order(50, seed=2, epoch=2)).any()


def without_categories(records: list[ListRecord]) -> list[ListRecord]:
    return [
        dataclasses.replace(
            r,
            user={k: v for k, v in r.user.items() if k != "plan"},
            candidates=tuple(dataclasses.replace(c, features={"stars": c.features["stars"]}) for c in r.candidates),
        )
        for r in records
    ]


def test_hiding_every_value_gives_what_the_encoder_gives_for_missing_ones() -> None:
    records = make_records(6)
    spec = fit_spec(records)
    batch = encode_lists(records, spec, 4).tensors(torch.device("cpu"))
    missing = encode_lists(without_categories(records), spec, 4).tensors(torch.device("cpu"))
    hidden = hide_values(batch, spec, 1.0)
    for name in batch:
        assert torch.equal(hidden[name], missing[name]), name
    kept = hide_values(batch, spec, 0.0)
    assert all(torch.equal(kept[name], batch[name]) for name in batch)


def test_the_digest_tells_lists_apart() -> None:
    records = make_records(6)
    spec = fit_spec(records)
    digest = encode_lists(records, spec, 4).digest
    assert digest == encode_lists(records, spec, 4).digest
    clicked = dataclasses.replace(records[0], clicks=tuple(1 - c for c in records[0].clicks))
    assert digest != encode_lists([clicked, *records[1:]], spec, 4).digest
