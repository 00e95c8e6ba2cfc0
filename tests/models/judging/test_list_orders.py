"""Orders of exposed lists: the sort is the objective formula's, the plan is the model's, NDCG is `metrics.ndcg`."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from models.contract.arrays import AnyFloats
from models.contract.formulas import compile_formula
from models.data.batches import ListArrays, encode_lists
from models.data.records import ListRecord
from models.judging.gate import HeldOut
from models.judging.list_orders import (
    Orders,
    bypassed,
    ndcg_of,
    planned_orders,
    random_ndcg,
    shown_orders,
    sorted_orders,
)
from models.judging.metrics import ndcg
from models.planners.objective import objective_formula
from models.planners.search.beam import beam_search
from models.planners.search.prefix import list_outcomes
from models.planners.worth import CLICKS_ONLY, Triple, Worth
from tests.models.specs import fit_spec
from tests.models.training.records import make_record, make_records
from tests.models.training.shops import SHOWN, believing, shop_records

CPU = torch.device("cpu")
CLICKS = Worth()
UNITS: Triple = (0.4, 0.1, 3.0)


def encoded(records: list[ListRecord], length: int = 4) -> ListArrays:
    return encode_lists(records, fit_spec(records), length)


def taken(record: ListRecord, order: AnyFloats) -> list[float]:
    """Clicks in an order, 0 for the shown items that it leaves out."""
    return [float(record.clicks[j]) for j in order.astype(int).tolist() if j >= 0]


@pytest.mark.parametrize("shown", [1, 3, 4, 6])
def test_ndcg_is_that_of_the_reordered_clicks(shown: int) -> None:
    records = [make_record(i, shown=min(shown, 1 + i % 6)) for i in range(40)]
    data = encoded(records, length=6)
    rng = np.random.default_rng(0)
    orders: Orders = np.full((40, 6), -1)
    for row, record in zip(orders, records, strict=True):
        n = len(record.exposed)
        row[:n] = rng.permutation(n)
    found = ndcg_of(orders, data.labels[..., 0])
    for value, order, record in zip(found, orders, records, strict=True):
        expected = ndcg(np.array(taken(record, order)), 10)
        assert value == pytest.approx(expected) if expected is not None else np.isnan(value)


def test_only_places_of_the_order_count() -> None:
    gains = np.array([[0.0, 0.0, 1.0, 1.0]])
    assert ndcg_of(np.array([[0, 2]]), gains)[0] == pytest.approx((1 / np.log2(3)) / (1 + 1 / np.log2(3)))


def test_the_ndcg_of_a_random_order_is_the_mean_over_all_orders() -> None:
    gains = np.array([[2.0, 0.0, 1.0, 0.0], [0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    records = [make_record(0, shown=4), make_record(1, shown=3), make_record(2, shown=4)]
    data = encoded(records)
    for places in (2, 10):
        found = random_ndcg(data, gains, places)
        for row, n in ((0, 4), (1, 3)):
            orders = np.array([list(p) + [-1] * (4 - n) for p in permutations(range(n))])[:, :places]
            assert found[row] == pytest.approx(ndcg_of(orders, np.repeat(gains[[row]], len(orders), axis=0)).mean())
        assert np.isnan(found[2])


@pytest.mark.parametrize("weights", [(5.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_the_sort_is_by_the_objective_formula_over_raw_scores(weights: Triple) -> None:
    records = [make_record(i, shown=2 + i % 3) for i in range(50)]
    spec = fit_spec(records)
    units = dict(zip(("click", "conversion", "gmv"), UNITS, strict=True))
    formula = compile_formula(objective_formula(spec, units))
    orders = sorted_orders(encode_lists(records, spec, 4), Worth(weights, UNITS))
    for order, record in zip(orders, records, strict=True):
        items = [record.candidates[i] for i in record.exposed]
        columns = {name: np.array([c.scores[name] for c in items]) for name in ("ctr", "cvr")}
        columns["price"] = np.array([c.price for c in items], np.float64)
        columns |= {name: np.full(len(items), w) for name, w in zip(("alpha", "beta", "gamma"), weights, strict=True)}
        expected = np.argsort(-formula(columns, len(items)), kind="stable")
        assert order[: len(items)].tolist() == expected.tolist()
        assert order[len(items) :].tolist() == [-1] * (4 - len(items))


def test_ties_do_not_stay_as_they_were_shown() -> None:
    records = [
        replace(r, candidates=tuple(replace(c, scores={"ctr": 0.1, "cvr": 0.1}) for c in r.candidates))
        for r in make_records(200)
    ]
    first = sorted_orders(encoded(records), CLICKS)[:, 0]
    assert np.bincount(first, minlength=4).min() > 25


def test_the_shown_order_is_as_long_as_the_list() -> None:
    data = encoded([make_record(0, shown=2), make_record(1, shown=4)])
    assert shown_orders(data).tolist() == [[0, 1, -1, -1], [0, 1, 2, 3]]
    assert shown_orders(data, places=3).tolist() == [[0, 1, -1], [0, 1, 2]]


def part_of(seed: int = 0, believed: float = 3.0) -> HeldOut:
    return believing(shop_records(60, seed=seed, effect=3.0), believed)


def test_a_plan_has_every_item_of_its_list_once_and_no_other() -> None:
    part = believing([cut(r, 1 + i % SHOWN) for i, r in enumerate(shop_records(60, effect=3.0))], 3.0)
    orders = planned_orders(part.model, part.lists, CLICKS, device=CPU)
    for order, length in zip(orders.tolist(), part.lists.lengths.tolist(), strict=True):
        assert sorted(order[:length]) == list(range(length))
        assert order[length:] == [-1] * (SHOWN - length)


def cut(record: ListRecord, length: int) -> ListRecord:
    """The list of the first `length` items."""
    shown, clicks = record.exposed[:length], record.clicks[:length]
    return replace(record, exposed=shown, clicks=clicks, purchases=None, gmv=None)


def test_what_is_served_is_worth_at_least_the_sort_and_differs_from_it_somewhere() -> None:
    part = part_of()
    served = torch.from_numpy(planned_orders(part.model, part.lists, CLICKS, device=CPU))
    by_prior = torch.from_numpy(sorted_orders(part.lists, CLICKS))
    batch = part.lists.tensors(CPU)
    worths = [list_outcomes(part.model, batch, order[:, None])[:, 0, -1, 0] for order in (served, by_prior)]
    assert (worths[0] >= worths[1] - 1e-6).all()
    assert (worths[0] > worths[1] + 1e-3).any()


def test_the_sort_is_served_where_the_model_values_it_higher_than_its_own_plan() -> None:
    """Greedy takes what is best next, and may be left with items that spoil one another."""
    part = part_of()
    weight = part.model.hazard_heads[0].context.weight  # type: ignore[union-attr]
    with torch.no_grad():
        weight.copy_(2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))  # type: ignore[arg-type, operator]
    batch = part.lists.tensors(CPU)
    plan = beam_search(part.model, {**batch, "valid": torch.ones(60, SHOWN, dtype=torch.bool)}, CLICKS, SHOWN, 1)
    by_prior = torch.from_numpy(sorted_orders(part.lists, CLICKS))
    lists = torch.stack([plan.lists[:, 0], by_prior], dim=1)
    planned, sort = list_outcomes(part.model, batch, lists)[:, :, -1, 0].unbind(1)
    assert (sort > planned + 1e-3).any()
    assert (sort < planned - 1e-3).any()
    served = torch.from_numpy(planned_orders(part.model, part.lists, CLICKS, device=CPU))
    expected = torch.where((sort > planned)[:, None], by_prior, plan.lists[:, 0])
    decided = (sort - planned).abs() > 1e-5
    assert torch.equal(served[decided], expected[decided])


def test_nothing_kept_of_what_is_weighted_is_the_sort() -> None:
    part = part_of()
    part.set((0.0, 1.0))
    assert bypassed(part.model, CLICKS_ONLY)
    assert not bypassed(part.model, (1.0, 1.0, 0.0))
    assert not bypassed(part.model, (1.0, 0.0, 1.0))
    served = planned_orders(part.model, part.lists, CLICKS, device=CPU)
    np.testing.assert_array_equal(served, sorted_orders(part.lists, CLICKS))
    part.set((1.0, 0.0))
    assert not bypassed(part.model, CLICKS_ONLY)
    assert bypassed(part.model, (0.0, 1.0, 1.0))
