"""The test worlds are what they say: closed forms agree with samples, and the sort stands where it should."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.data.list_file import read_lists, read_metadata
from models.data.records import ListRecord
from tests.models.worlds.kinds import SHOPS, Position
from tests.models.worlds.shop import CANDIDATES, SHOWN, Shop
from tests.models.worlds.write import main

WEIGHTS = np.array([5.0, 1.0, 1.0])
Floats = NDArray[np.float64]

every_world = pytest.mark.parametrize("name", SHOPS)


def units(records: list[ListRecord]) -> Floats:
    """Mean outcomes of a place, of a log whose purchases are all recorded."""
    outcomes = [(r.clicks, r.purchases or (), r.gmv or ()) for r in records]
    mean: Floats = np.array([[sum(column) for column in row] for row in outcomes]).mean(axis=0) / SHOWN
    return mean


def sort(record: ListRecord, weights: Floats) -> list[int]:
    """The list of the formula sort."""
    worth = [
        np.array([1, c.scores["cvr"], c.scores["cvr"] * (c.price or 0)]) @ weights * c.scores["ctr"]
        for c in record.candidates
    ]
    best: list[int] = np.argsort(-np.array(worth), kind="stable")[:SHOWN].tolist()
    return best


def greedy(shop: Shop, record: ListRecord, weights: Floats) -> list[int]:
    """The list that takes the truly best next item."""
    chosen: list[int] = []
    while len(chosen) < SHOWN:
        left = [i for i in range(CANDIDATES) if i not in chosen]
        values = shop.true_value(record, np.array([[*chosen, i] for i in left]))[:, -1] @ weights
        chosen.append(left[int(values.argmax())])
    return chosen


def gain(name: str, weights: Floats) -> float:
    """What true-value greedy earns over the sort, as a share of the sort's value, over 250 requests."""
    shop = SHOPS[name]()
    records = list(shop.records(250, seed=7))
    per_unit = weights / units(records)
    lists = [(greedy(shop, r, per_unit), sort(r, per_unit)) for r in records]
    values = np.array([shop.true_value(r, np.array(pair))[:, -1] for r, pair in zip(records, lists, strict=True)])
    ours, theirs = (values @ per_unit).mean(axis=0)
    return float(ours / theirs - 1)


@every_world
def test_sampled_outcomes_agree_with_the_closed_form(name: str) -> None:
    shop = SHOPS[name]()
    record = shop.record(f"{name}-3-5")
    n, shown = 40_000, np.array([record.exposed])
    visit = shop.visit(record.request_id)
    clicks, bought = shop.outcomes(record.request_id, np.repeat(shown, n, axis=0))
    sampled = np.stack([clicks, bought, bought * visit.price[shown]], axis=2)
    expected = np.diff(shop.true_value(record, shown)[0], axis=0, prepend=0.0)
    error = sampled.std(axis=0) / np.sqrt(n)
    assert (abs(sampled.mean(axis=0) - expected) <= 4.5 * error).all()


@every_world
def test_a_record_follows_from_its_id_and_shows_the_rankers_order(name: str) -> None:
    first, again = (list(SHOPS[name]().records(30, seed=1)) for _ in range(2))
    other = list(SHOPS[name]().records(30, seed=2))
    assert first == again
    assert [r.candidates for r in first] != [r.candidates for r in other]
    for record in first:
        ctr = np.array([c.scores["ctr"] for c in record.candidates])
        assert len(ctr) == CANDIDATES
        assert record.exposed == tuple(np.argsort(-ctr, kind="stable")[:SHOWN].tolist())
        assert all(bought <= click for bought, click in zip(record.purchases or (), record.clicks, strict=True))


@every_world
def test_splits_are_eighty_ten_ten(name: str) -> None:
    splits = [r.split for r in SHOPS[name]().records(2000, seed=0)]
    shares = [splits.count(split) / len(splits) for split in ("train", "valid", "test")]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.03)


def test_with_places_alone_no_list_beats_the_sort() -> None:
    shop = Position()
    records = list(shop.records(20, seed=4))
    per_unit = WEIGHTS / units(records)
    for record in records:
        best = sort(record, per_unit)
        orders = np.array(list(permutations(range(6))))
        reordered = np.array(best)[:6][orders]
        values = shop.true_value(record, reordered)[:, -1] @ per_unit
        assert values.argmax() == 0  # the identity: `permutations` starts with it
        chosen = np.array([np.random.default_rng(i).permutation(CANDIDATES)[:SHOWN] for i in range(300)])
        at_most = shop.true_value(record, np.array([best]))[0, -1] @ per_unit
        assert (shop.true_value(record, chosen)[:, -1] @ per_unit <= at_most).all()


def test_where_clicks_saturate_true_values_beat_the_sort() -> None:
    assert 0.10 < gain("saturation", WEIGHTS) < 0.15
    assert 0.10 < gain("saturation", np.array([1.0, 0.0, 0.0])) < 0.15


def test_where_prices_anchor_greedy_with_true_values_loses_to_the_sort() -> None:
    assert -0.10 < gain("anchoring", WEIGHTS) < -0.03


def test_where_places_alone_count_greedy_with_true_values_is_the_sort() -> None:
    assert gain("position", WEIGHTS) == pytest.approx(0, abs=1e-9)


def test_a_world_is_written_as_a_list_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.parquet"
    main(["anchoring", "--lists", "40", "--seed", "3", "-o", str(path)])
    assert capsys.readouterr().out == f"40 lists in {path}\n"
    assert list(read_lists(path)) == list(SHOPS["anchoring"]().records(40, seed=3))
    assert read_metadata(path)["world"] == "anchoring"
