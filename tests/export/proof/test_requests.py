"""The requests of the proof: such as an encoder could have made, and with every edge case among them."""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.proof.requests import RequestShape, random_request, random_requests, stack, with_preferences
from models.contract.arrays import Arrays
from models.contract.features import Encoder
from models.contract.manifest import Limits
from models.contract.spec import FeatureSpec
from models.data.records import Candidate
from tests.models.planners.examples import SCORES_ONLY, SPEC

ITEM_ARRAYS = {"item_ids", "item_numbers", "item_scores", "priors", "price", "embeddings", "valid"}
LIMITS = st.builds(
    Limits, list_length=st.integers(1, 6), queues=st.integers(1, 4), queue_length=st.sampled_from([0, 1, 9])
)
SPECS = st.sampled_from([SPEC, SCORES_ONLY])
SHAPES = st.builds(RequestShape, full=st.booleans(), embedded=st.sampled_from([0.0, 0.5, 1.0]), twins=st.booleans())
SEEDS = st.integers(0, 10**6)


@settings(max_examples=60, deadline=None)
@given(spec=SPECS, limits=LIMITS, shape=SHAPES, seed=SEEDS)
def test_requests_look_as_if_an_encoder_had_made_them(
    spec: FeatureSpec, limits: Limits, shape: RequestShape, seed: int
) -> None:
    request = random_request(spec, limits, seed, shape)
    sort = request.pop("sort_slots")
    assert (str(sort.dtype), sort.shape) == ("int64", (1, limits.list_length))
    encoder = Encoder(spec)
    candidates = [Candidate("a", embedding=(1.0,) * request["embeddings"].shape[2])]
    encoded = encoder.encode_slots(candidates, np.zeros(limits.slots, np.int64)) | encoder.encode_user({}, {})
    assert {n: (a.dtype, a.shape[1:]) for n, a in request.items()} == {
        n: (a.dtype, a.shape) for n, a in encoded.items()
    }
    for name, fields in (("user_ids", spec.user_categoricals), ("item_ids", spec.item_categoricals)):
        ends = list(accumulate((f.rows for f in fields), initial=0))
        ids = np.asarray(request[name], np.int64)
        for column, (first, end) in enumerate(pairwise(ends)):
            assert ((first <= ids[..., column]) & (ids[..., column] < end)).all()


@settings(max_examples=60, deadline=None)
@given(spec=SPECS, limits=LIMITS, shape=SHAPES, seed=SEEDS)
def test_queues_are_filled_from_the_front_and_embeddings_are_unit_or_missing(
    spec: FeatureSpec, limits: Limits, shape: RequestShape, seed: int
) -> None:
    request = random_request(spec, limits, seed, shape)
    valid = np.asarray(request["valid"], bool).reshape(limits.queues, limits.queue_length)
    assert valid.any()
    assert valid.all() or not shape.full
    assert (valid[:, :-1] | ~valid[:, 1:]).all()
    norms = np.linalg.norm(np.asarray(request["embeddings"], np.float64)[0], axis=-1)
    assert (np.isclose(norms, 1, atol=1e-6) | (norms == 0)).all()
    assert (norms[~valid.ravel()] == 0).all()
    if shape.embedded in (0.0, 1.0):
        assert ((norms > 0) == (valid.ravel() & (shape.embedded == 1.0))).all() or shape.twins


def test_values_repeat_and_some_are_unknown() -> None:
    """Or nothing would tell a graph that compares items of a list from one that does not."""
    ids = np.asarray(random_request(SPEC, Limits(10, 3), 0, RequestShape(full=True))["item_ids"], np.int64)[0]
    unknown = [0, SPEC.item_categoricals[0].rows]
    for column, first in zip(ids.T, unknown, strict=True):
        values, counts = np.unique(column, return_counts=True)
        assert counts[values == first].sum() >= 2
        assert counts[values != first].max() >= 2


@settings(max_examples=30, deadline=None)
@given(spec=SPECS, limits=LIMITS, seed=SEEDS)
def test_twins_are_equal_in_all_but_their_slot(spec: FeatureSpec, limits: Limits, seed: int) -> None:
    request = random_request(spec, limits, seed, RequestShape(full=True, embedded=1.0, twins=True))
    pairs = limits.slots // 2
    for name in ("item_ids", "item_numbers", "item_scores", "priors", "price", "embeddings"):
        np.testing.assert_array_equal(request[name][:, 1::2][:, :pairs], request[name][:, ::2][:, :pairs])


@pytest.fixture(scope="module")
def requests() -> list[Arrays]:
    return list(random_requests(SPEC, Limits(5, 3), 120, seed=1))


def test_a_proof_meets_every_edge_case(requests: list[Arrays]) -> None:
    filled = [np.asarray(r["valid"], bool).reshape(3, 5).sum(axis=1) for r in requests]
    weights = {tuple(np.asarray(r["objective_weights"], float)[0].tolist()) for r in requests}
    trade_offs = {float(np.asarray(r["trade_off"])[0]) for r in requests}
    windows = {int(np.asarray(r["window"])[0]) for r in requests}
    embedded = [int(np.asarray(r["embeddings"]).any(axis=-1).sum()) for r in requests]
    assert any((f == 5).all() for f in filled)
    assert any((f == 0).any() for f in filled)
    assert any(f.sum() < 5 for f in filled)
    assert {(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)} < weights
    assert {0.0, 1.0} < trade_offs
    assert all(0 <= t <= 1 for t in trade_offs)
    assert windows == set(range(6))
    sorts = [np.asarray(r["sort_slots"], np.int64)[0] for r in requests]
    for sort, request in zip(sorts, requests, strict=True):
        named = sort[sort >= 0].tolist()
        assert (sort[len(named) :] == -1).all()
        assert len(set(named)) == len(named)
        assert np.asarray(request["valid"], bool)[0, named].all()
    lengths = [int((s >= 0).sum()) for s in sorts]
    assert any(length == 0 for length in lengths)
    assert any(0 < length < min(5, f.sum()) for length, f in zip(lengths, filled, strict=True))
    assert any(length == f.sum() < 5 for length, f in zip(lengths, filled, strict=True))
    assert any(e == 0 for e in embedded)
    assert any(0 < e < f.sum() for e, f in zip(embedded, filled, strict=True))


def test_where_the_number_of_slots_is_free_requests_have_from_one_to_all() -> None:
    found = list(random_requests(SPEC, Limits(5, 1, queue_length=40), 70, seed=1, any_slots=True))
    slots = [request["valid"].shape[1] for request in found]
    assert set(slots) == {1, 2, 4, 5, 6, 15, 40}
    filled = [int(np.asarray(request["valid"]).sum()) for request in found]
    assert any(f == n == 40 for f, n in zip(filled, slots, strict=True))
    assert any(f < n for f, n in zip(filled, slots, strict=True))
    few = random_requests(SPEC, Limits(5, 1, queue_length=3), 7, seed=1, any_slots=True)
    assert max(request["valid"].shape[1] for request in few) == 3


def test_requests_of_unlike_sizes_are_stacked_with_empty_slots() -> None:
    few, many = (
        random_request(SPEC, Limits(2, 1, queue_length=n), seed=n, shape=RequestShape(full=True)) for n in (2, 5)
    )
    batch = stack([few, many])
    assert batch["valid"].tolist() == [[True, True, False, False, False], [True] * 5]
    for name, array in batch.items():
        np.testing.assert_array_equal(array[1:], many[name])
        np.testing.assert_array_equal(array[:1, :2] if array.ndim > 1 and name in ITEM_ARRAYS else array[:1], few[name])


def test_a_seed_gives_the_same_requests_and_another_seed_others(requests: list[Arrays]) -> None:
    again = list(random_requests(SPEC, Limits(5, 3), 2, seed=1))
    other = next(iter(random_requests(SPEC, Limits(5, 3), 1, seed=2)))
    for name, array in requests[1].items():
        np.testing.assert_array_equal(array, again[1][name])
    assert (other["item_numbers"] != requests[0]["item_numbers"]).any()


def test_preferences_are_a_batch_of_one() -> None:
    request = with_preferences({}, (5, 1, 2), 0.25, 3)
    assert {n: (a.tolist(), str(a.dtype)) for n, a in request.items()} == {
        "objective_weights": ([[5.0, 1.0, 2.0]], "float32"),
        "trade_off": ([0.25], "float32"),
        "window": ([3], "int64"),
    }
