"""The search of exponents finds a front of the logs' own trade-offs, seeded and bounded."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from models.baselines.selection.formulas import FormulaPoint, FormulaSearch, read_front, spread, write_front
from models.contract.formulas import Formula
from models.data.batches import ListArrays, encode_lists
from models.data.records import Candidate, ListRecord
from models.judging.metrics import ndcg
from tests.models.specs import fit_spec

SMALL = FormulaSearch(lists=400, population=12, generations=8)


def logged(count: int, *, seed: int = 0) -> list[ListRecord]:
    """Random lists; P(click) = ctr, P(purchase | click) = cvr, and dear items are bought as often as cheap ones."""
    rng = np.random.default_rng(seed)
    records = []
    for index in range(count):
        ctr, cvr, price = rng.uniform(0.05, 0.9, 6), rng.uniform(0.05, 0.9, 6), np.exp(rng.normal(3.0, 1.0, 6))
        click = rng.random(6) < ctr
        buy = click & (rng.random(6) < cvr)
        candidates = tuple(
            Candidate(f"i{i}", {"ctr": float(ctr[i]), "cvr": float(cvr[i])}, price=float(price[i])) for i in range(6)
        )
        outcomes = (tuple(int(x) for x in click), tuple(int(x) for x in buy), tuple((buy * price).tolist()))
        records.append(ListRecord(f"r{index}", candidates, tuple(range(6)), *outcomes))
    return records


def arrays(records: list[ListRecord]) -> ListArrays:
    return encode_lists(records, fit_spec(records), 7)


@pytest.fixture(scope="module")
def records() -> list[ListRecord]:
    return logged(600)


@pytest.fixture(scope="module")
def front(records: list[ListRecord]) -> list[FormulaPoint]:
    return SMALL(arrays(records), fit_spec(records), seed=0)


def by_objective(front: list[FormulaPoint], objective: str) -> FormulaPoint:
    return max(front, key=lambda point: point.ndcg[objective])


def test_the_front_holds_what_each_objective_asks_for(front: list[FormulaPoint]) -> None:
    clicks, orders, gmv = (by_objective(front, name) for name in ("click", "conversion", "gmv"))
    assert abs(clicks.exponents["cvr"]) < 0.4 * clicks.exponents["ctr"]
    assert orders.exponents["cvr"] > 0.5 * orders.exponents["ctr"]
    assert gmv.exponents["price"] > 0.5 * gmv.exponents["ctr"]
    assert abs(orders.exponents["price"]) < 0.3
    assert front[0] == clicks


def test_no_point_of_the_front_is_beaten_in_everything_and_the_seed_decides(
    front: list[FormulaPoint], records: list[ListRecord]
) -> None:
    assert 3 <= len(front) <= 8
    for one in front:
        for other in front:
            assert not all(other.ndcg[name] > one.ndcg[name] for name in one.ndcg)
    assert SMALL(arrays(records), fit_spec(records), seed=0) == front
    assert SMALL(arrays(records), fit_spec(records), seed=1) != front


def test_the_ndcg_is_that_of_the_list_sorted_by_the_formula_as_written() -> None:
    record = next(
        r for r in logged(50, seed=3) if r.purchases is not None and 1 <= sum(r.purchases) < sum(r.clicks) < 6
    )
    assert record.purchases is not None
    assert record.gmv is not None
    point = FormulaSearch(points=1, population=4, generations=2)(arrays([record]), fit_spec(logged(50)), seed=0)[0]
    columns = {
        "ctr": np.array([c.scores["ctr"] for c in record.candidates]),
        "cvr": np.array([c.scores["cvr"] for c in record.candidates]),
        "price": np.array([c.price for c in record.candidates], np.float64),
    }
    order = np.argsort(-Formula(point.formula)(columns, 6))
    for name, gains in (("click", record.clicks), ("conversion", record.purchases), ("gmv", record.gmv)):
        assert point.ndcg[name] == pytest.approx(ndcg(np.array(gains, np.float64)[order], 6), abs=1e-5)


def test_a_log_of_clicks_alone_has_one_objective_and_the_factors_that_it_has(records: list[ListRecord]) -> None:
    def bare(record: ListRecord) -> ListRecord:
        candidates = tuple(Candidate(c.id, {"ctr": c.scores["ctr"]}) for c in record.candidates)
        return dataclasses.replace(record, candidates=candidates, purchases=None, gmv=None)

    clicks_only = [bare(record) for record in records]
    (point,) = SMALL(arrays(clicks_only), fit_spec(clicks_only), seed=0)
    assert set(point.exponents) == {"ctr"}
    assert set(point.ndcg) == {"click"}


def test_what_cannot_be_searched_is_named(records: list[ListRecord]) -> None:
    still = [dataclasses.replace(r, clicks=(0,) * 6, purchases=None, gmv=None) for r in records[:50]]
    with pytest.raises(ValueError, match="no list has a click"):
        SMALL(arrays(still), fit_spec(still), seed=0)
    nameless = [
        dataclasses.replace(r, candidates=tuple(dataclasses.replace(c, scores={"rank": 0.5}) for c in r.candidates))
        for r in records[:50]
    ]
    with pytest.raises(ValueError, match="no score 'ctr'"):
        SMALL(arrays(nameless), fit_spec(nameless), seed=0)


def test_a_file_gives_the_front_again(front: list[FormulaPoint], tmp_path: Path) -> None:
    write_front(tmp_path / "front.json", front)
    assert read_front(tmp_path / "front.json") == front


def test_points_are_spread_and_extremes_are_kept() -> None:
    line = np.linspace(0.0, 1.0, 11)
    assert spread(np.column_stack([line, 1 - line]), 3) == [10, 5, 0]
    assert spread(np.column_stack([line, 1 - line]), 20) == list(range(10, -1, -1))
    assert spread(np.array([[0.4, 0.4]]), 8) == [0]
