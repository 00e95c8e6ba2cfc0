"""The simulator's closed form against a plain loop and against samples; its logs against their own declaration."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cli import main
from models.data.list_file import read_lists, read_metadata
from models.datasets import simulated_logs
from models.datasets.declared_world import EXPLORATION, declared_world
from models.datasets.simulator import SimulatedRequest, Simulator, SimulatorConfig

SMALL = SimulatorConfig(users=50, items=80, candidates=8)


def value_by_loop(world: Simulator, request: SimulatedRequest, order: list[int]) -> list[tuple[float, float, float]]:
    """The declaration in docs/world.md, word by word, from items' latent vectors, categories, brands and prices."""
    c, clicks, purchases, gmv, result = world.config, 0.0, 0.0, 0.0, []
    for j, candidate in enumerate(order):
        item = request.items[candidate]
        unlike, unfollowed, weights, reference = 1.0, 1.0, 0.0, 0.0
        for k in range(j):
            earlier, w = request.items[order[k]], c.memory ** (j - k - 1)
            cosine = sum(a * b for a, b in zip(world.item_latent[item], world.item_latent[earlier], strict=True))
            same_brand = world.brand is not None and world.brand[item] == world.brand[earlier]
            unlike *= 1 - w * (1 - (1 - max(0.0, cosine)) * (1 - c.brand_fatigue * same_brand))
            if world.successor[world.category[earlier]] == world.category[item]:
                unfollowed *= 1 - w
            weights += w
            reference += w * math.log(world.price[earlier])
        anchor = math.tanh(reference / weights - math.log(world.price[item])) if weights else 0.0
        context = c.complement * (1 - unfollowed) - c.redundancy * (1 - unlike) + c.click_anchoring * anchor
        wish = request.relevance[candidate] + c.kappa * context
        want = request.appeal[candidate] + c.kappa * (c.anchoring * anchor - c.substitution * (1 - unlike))
        click = math.exp(-c.decay * j) / (1 + math.exp(-wish))
        purchase = click / (1 + math.exp(-want))
        clicks, purchases, gmv = clicks + click, purchases + purchase, gmv + purchase * world.price[item]
        result.append((clicks, purchases, gmv))
    return result


@settings(max_examples=40, deadline=None)
@given(
    kappa=st.sampled_from([0.0, 0.7, 2.0]),
    memory=st.sampled_from([0.0, 0.8, 1.0]),
    index=st.integers(0, 1000),
    order=st.permutations(range(8)),
    length=st.integers(1, 8),
    parts=st.sampled_from([{}, {"brands": 3}, {"brands": 1, "brand_fatigue": 1.0}, {"click_anchoring": 0.7}]),
)
def test_list_value_is_what_the_declaration_says(
    kappa: float, memory: float, index: int, order: list[int], length: int, parts: dict[str, Any]
) -> None:
    world = Simulator(dataclasses.replace(SMALL, kappa=kappa, memory=memory, **parts))
    request = world.request(3, index)
    lists = np.array([order[:length], order[::-1][:length]])
    expected = [value_by_loop(world, request, row) for row in lists.tolist()]
    np.testing.assert_allclose(world.list_value(request, lists), expected, rtol=1e-12)


def test_samples_agree_with_the_closed_form() -> None:
    world = Simulator(dataclasses.replace(SMALL, kappa=1.5, brands=3, click_anchoring=0.5))
    request, n = world.request(0, 5), 40_000
    order = np.array([[3, 1, 4, 0, 5]])
    rng = np.random.default_rng(0)
    clicks, purchases = simulated_logs.sample_outcomes(world, request, np.repeat(order, n, axis=0), rng=rng)
    gmv = purchases * request.price[order]
    sampled = np.cumsum(np.stack([clicks, purchases, gmv], axis=2), axis=1)
    error = sampled.std(axis=0) / math.sqrt(n)
    truth = world.list_value(request, order)[0]
    assert (np.abs(sampled.mean(axis=0) - truth) < 5 * error).all()


@pytest.mark.parametrize(
    ("config", "policy"),
    [
        (dataclasses.replace(SMALL, users=500, items=200, candidates=12), {"temperature": 1.0}),
        (declared_world(users=500, items=200, candidates=12), {"exploration": EXPLORATION}),
    ],
    ids=["old form", "declared"],
)
def test_a_log_agrees_with_the_closed_form_of_its_lists(config: SimulatorConfig, policy: dict[str, float]) -> None:
    world = Simulator(config)
    lists = list(simulated_logs.load(config, seed=4, lists=1500, length=6, **policy).records)
    truth = np.array([world.list_value(world.find(r.request_id), np.array([r.exposed]))[0, -1] for r in lists])
    logged = np.array([[sum(r.clicks), sum(r.purchases or ()), sum(r.gmv or ())] for r in lists])
    error = (logged - truth).std(axis=0) / math.sqrt(len(lists))
    assert (np.abs((logged - truth).mean(axis=0)) < 4 * error).all()


def test_without_context_sorting_by_relevance_is_optimal_and_with_it_is_not() -> None:
    every = np.array(list(itertools.permutations(range(8), 4)))
    gaps = []
    for kappa in (0.0, 1.0):
        world = Simulator(dataclasses.replace(SMALL, kappa=kappa))
        request = world.request(1, 0)
        best = world.list_value(request, every)[:, -1, 0].max()
        by_relevance = np.argsort(-request.relevance)[None, :4]
        gaps.append(best - world.list_value(request, by_relevance)[0, -1, 0])
    assert abs(gaps[0]) < 1e-12
    assert gaps[1] > 0.01


def test_without_noise_the_prior_is_the_pointwise_truth_whatever_the_context() -> None:
    for kappa in (0.0, 2.0):
        request = Simulator(dataclasses.replace(SMALL, kappa=kappa, prior_noise=0.0, prior_bias=0.0)).request(0, 0)
        np.testing.assert_allclose(request.ctr, 1 / (1 + np.exp(-request.relevance)))
        np.testing.assert_allclose(request.cvr, 1 / (1 + np.exp(-request.appeal)))


def test_a_world_and_its_log_are_drawn_again_from_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    arguments = "data simulator --lists 300 --candidates 12 --length 5 --kappa 0.5 --seed 7 --users 90 --quiet -o"
    assert main([*arguments.split(), str(path)]) == 0
    metadata = read_metadata(path)
    config = SimulatorConfig.from_metadata(metadata)
    assert (config.kappa, config.candidates, config.users, metadata["seed"]) == (0.5, 12, 90, 7)
    again = simulated_logs.load(config, seed=metadata["seed"], lists=metadata["lists"], length=metadata["length"])
    assert list(again.records) == list(read_lists(path))


def test_a_request_is_the_same_alone_and_in_a_log() -> None:
    world = Simulator(SMALL)
    for request in (world.request(9, index) for index in (3, 4)):
        found = world.find(request.request_id)
        np.testing.assert_array_equal(found.items, request.items)
        np.testing.assert_array_equal(found.ctr, request.ctr)


def test_rates_leave_something_to_learn_and_users_are_on_one_side() -> None:
    lists = list(simulated_logs.load(SimulatorConfig(users=300), seed=0, lists=1000, length=10).records)
    clicks, purchases = sum(sum(r.clicks) for r in lists), sum(sum(r.purchases or ()) for r in lists)
    assert 0.05 < clicks / (10 * len(lists)) < 0.15
    assert 0.10 < purchases / clicks < 0.30
    world = Simulator(SimulatorConfig(users=300))
    sides: dict[int, set[str]] = {}
    for record in lists:
        sides.setdefault(world.find(record.request_id).user, set()).add(record.split)
    assert all(len(s) == 1 for s in sides.values())
    assert set.union(*sides.values()) == {"train", "valid", "test"}


def test_the_logging_policy_shows_an_item_in_many_orders() -> None:
    request = Simulator(SMALL).request(0, 0)
    rng = np.random.default_rng(0)
    orders = {tuple(simulated_logs.expose(request, length=3, temperature=1.0, rng=rng)) for _ in range(200)}
    assert len(orders) > 50


@pytest.mark.parametrize(
    ("lists", "problem"),
    [
        (np.array([[0, 0]]), "twice"),
        (np.array([[0, 8]]), "between 0 and 7"),
        (np.array([[-1, 0]]), "between 0 and 7"),
        (np.array([0, 1]), r"integers \[n, m\]"),
        (np.array([[0.0, 1.0]]), r"integers \[n, m\]"),
    ],
)
def test_a_list_that_is_none_is_refused(lists: Any, problem: str) -> None:
    world = Simulator(SMALL)
    with pytest.raises(ValueError, match=problem):
        world.list_value(world.request(0, 0), lists)


@pytest.mark.parametrize("request_id", ["", "sim-1", "sim-1-x", "sim-1-2-3", "expedia-1-2", "sim--1-2"])
def test_an_id_of_another_log_is_refused(request_id: str) -> None:
    with pytest.raises(ValueError, match="is not one of the simulator's"):
        Simulator(SMALL).find(request_id)


@pytest.mark.parametrize(
    ("option", "named"),
    [
        (["--lists", "0"], "lists"),
        (["--length", "31"], "length"),
        (["--temperature", "0"], "temperature"),
        (["--temperature", "nan"], "temperature"),
        (["--kappa", "-1"], "kappa"),
        (["--kappa", "inf"], "kappa"),
        (["--items", "10"], "candidates"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str], named: str
) -> None:
    assert main(["data", "simulator", "--quiet", "-o", str(tmp_path / "x.parquet"), *option]) == 2
    assert named in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
