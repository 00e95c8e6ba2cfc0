"""Requests of the proof under rules: every rule among them, lists that end early, and otherwise the same requests."""

from __future__ import annotations

import numpy as np
import pytest

from export.proof.requests import random_requests, stack
from models.contract.arrays import Arrays
from models.contract.manifest import Limits
from models.contract.rules.tensors import GROUPS, LIFTS, MEMBERS, ROOM, RULE_INPUTS, SEEN, STEP_BARS
from models.planners.references.step_rules import StepRules
from tests.models.planners.examples import SPEC

LIMITS = Limits(5, 3)
MANY = Limits(10, 1, queue_length=200)


def drawn(limits: Limits = LIMITS, count: int = 120, seed: int = 1, *, any_slots: bool = False) -> list[Arrays]:
    return list(random_requests(SPEC, limits, count, seed, any_slots=any_slots, groups=GROUPS))


@pytest.fixture(scope="module")
def requests() -> list[Arrays]:
    return drawn()


def test_they_are_the_requests_without_rules_but_for_the_sorts_list(requests: list[Arrays]) -> None:
    plain = random_requests(SPEC, LIMITS, len(requests), 1)
    for request, other in zip(requests, plain, strict=True):
        assert set(request) == set(other) | set(RULE_INPUTS)
        for name in set(other) - {"sort_slots"}:
            np.testing.assert_array_equal(request[name], other[name])


def test_every_input_is_used_and_about_a_quarter_has_no_rule(requests: list[Arrays]) -> None:
    for name, least in ((STEP_BARS, 40), (MEMBERS, 30), (LIFTS, 20), (SEEN, 15), (ROOM, 30)):
        assert sum(bool(request[name].any()) for request in requests) > least, name
    none = sum(not any(request[name].any() for name in RULE_INPUTS) for request in requests)
    assert len(requests) / 8 < none < len(requests) / 2


def test_their_inputs_have_the_shapes_of_the_graph(requests: list[Arrays]) -> None:
    for name, shape in zip(RULE_INPUTS, [(5, 15), (15, GROUPS), (10, GROUPS), (15,), (5, 15)], strict=True):
        assert {(request[name].shape, str(request[name].dtype)) for request in requests} == {((1, *shape), "float32")}


def test_more_groups_than_a_graph_has_are_among_them() -> None:
    groups = [int(request[MEMBERS][0].any(axis=0).sum()) for request in drawn(MANY, 60)]
    assert max(groups) == GROUPS


def test_the_sorts_list_keeps_the_rules_and_some_end_early(requests: list[Arrays]) -> None:
    ended = 0
    for i, request in enumerate(requests):
        rules = StepRules.of(request)
        assert rules is not None
        slots = [slot for slot in request["sort_slots"][0].tolist() if slot >= 0]
        assert len(set(slots)) == len(slots)
        assert set(slots) <= set(np.flatnonzero(request["valid"][0]).tolist())
        assert not any(rules.bars(slots[:t], slot) for t, slot in enumerate(slots))
        ended += i % 7 != 6 and len(slots) < min(5, int(request["valid"].sum()))
    assert ended > 10


def test_a_batch_pads_the_slots_of_rules_too() -> None:
    requests = drawn(MANY, 7, any_slots=True)
    batch = stack(requests)
    assert batch[STEP_BARS].shape == (7, 10, 200)
    assert batch[MEMBERS].shape == (7, 200, GROUPS)
    for i, request in enumerate(requests):
        n = request["valid"].shape[1]
        np.testing.assert_array_equal(batch[SEEN][i : i + 1, :, :n], request[SEEN])
        assert not batch[SEEN][i, :, n:].any()


def test_a_seed_gives_the_same_rules_and_another_seed_others() -> None:
    for name in RULE_INPUTS:
        first, again, other = (stack(drawn(count=8, seed=seed))[name] for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()
