"""Worlds whose items come from a list file: what is taken, that the truth needs no such file, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.cli import main
from models.contract.scalars import Scalar
from models.data.list_file import read_lists, read_metadata
from models.data.list_writer import write_lists
from models.data.records import Candidate, ListRecord
from models.datasets import given_items
from models.datasets.given_items import with_items_of
from models.datasets.simulated_logs import load
from models.datasets.simulator import Simulator, SimulatorConfig
from models.datasets.simulator_config import GivenItems
from models.evaluation.simulated.command import read_cases

KINDS = ("lamp", "desk", "desk", "rug", "rug", "rug")
WORLD = SimulatorConfig(users=30, items=24, candidates=6, seed=2)


def candidate(number: int, **changes: Any) -> Candidate:
    features: dict[str, Scalar] = {"kind": KINDS[number % 6], "maker": f"m{number % 4}", "stars": number % 3}
    return dataclasses.replace(Candidate(f"p{number}", price=10.0 + number, features=features), **changes)


def write(path: Path, candidates: list[Candidate]) -> Path:
    """Lists of six that overlap by three, so that an item is in several."""
    groups = [candidates[i : i + 6] for i in range(0, len(candidates) - 3, 3)]
    records = [ListRecord(f"r{i}", tuple(group), (0,), (1,)) for i, group in enumerate(groups)]
    write_lists(path, records, {"source": "shop"})
    return path


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return write(tmp_path / "shop.parquet", [candidate(i) for i in range(30)])


def test_each_item_has_the_price_and_the_attributes_of_one_candidate(shop: Path) -> None:
    config = with_items_of(WORLD, str(shop), category_feature="kind", brand_feature="maker")
    assert config.given is not None
    numbers = [round(price - 10) for price in config.given.price]
    assert len(set(numbers)) == WORLD.items
    assert (config.categories, config.brands) == (3, 4)
    # Numbered by how often they occur: rugs are the most, lamps the fewest.
    kinds = {"rug": 0, "desk": 1, "lamp": 2}
    assert config.given.category == tuple(kinds[KINDS[number % 6]] for number in numbers)
    assert config.given.brand is not None
    assert len({(number % 4, brand) for number, brand in zip(numbers, config.given.brand, strict=True)}) == 4
    assert config.price_median == np.median(config.given.price)
    world = Simulator(config)
    assert world.price.tolist() == list(config.given.price)
    assert world.category.tolist() == list(config.given.category)
    assert world.brand is not None
    assert world.brand.tolist() == list(config.given.brand)


def test_brands_are_drawn_where_the_file_is_not_asked_for_them(shop: Path) -> None:
    config = with_items_of(dataclasses.replace(WORLD, brands=5), str(shop), category_feature="stars")
    assert config.given is not None
    assert config.given.brand is None
    assert (config.categories, config.brands) == (3, 5)
    assert Simulator(config).brand is not None


def test_another_seed_takes_other_items(shop: Path) -> None:
    first, second = (
        with_items_of(dataclasses.replace(WORLD, seed=seed), str(shop), category_feature="kind").given
        for seed in (0, 1)
    )
    assert first != second


def test_the_world_is_drawn_again_from_the_list_file_alone(shop: Path, tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    world = ["--items", "24", "--users", "30", "--candidates", "6"]
    log = ["--length", "4", "--lists", "200", "--quiet", "-o", str(path)]
    from_shop = ["--items-from", str(shop), "--category-feature", "kind", "--brand-feature", "maker"]
    assert main(["data", "simulator", *world, *log, *from_shop]) == 0
    shop.unlink()
    metadata = read_metadata(path)
    assert (metadata["items_from"], metadata["brand_feature"]) == ("shop.parquet", "maker")
    config = SimulatorConfig.from_metadata(metadata)
    records = list(read_lists(path))
    assert list(load(config, seed=0, lists=200, length=4).records) == records
    assert {c.price for record in records for c in record.candidates} <= {10.0 + i for i in range(30)}
    for case in read_cases(path, 4, 5):
        request = Simulator(config).find(case.record.request_id)
        assert [c.price for c in case.record.candidates] == request.price.tolist()
        lists = np.array([[3, 1, 0, 5]])
        np.testing.assert_array_equal(case.outcomes(lists), Simulator(config).list_value(request, lists))


def test_candidates_that_lack_something_are_no_items(tmp_path: Path) -> None:
    odd = [candidate(0, price=None), candidate(1, price=0.0), candidate(2, features={"maker": "m1"})]
    path = write(tmp_path / "odd.parquet", odd + [candidate(i) for i in range(3, 30)])
    config = with_items_of(dataclasses.replace(WORLD, items=27), str(path), category_feature="kind")
    assert config.given is not None
    assert sorted(config.given.price) == [10.0 + i for i in range(3, 30)]
    with pytest.raises(ValueError, match=r"odd\.parquet: has 27 different items .* fewer than the 28 items"):
        with_items_of(dataclasses.replace(WORLD, items=28), str(path), category_feature="kind")


def test_a_file_without_prices_or_the_feature_is_refused_by_name(tmp_path: Path, shop: Path) -> None:
    free = write(tmp_path / "free.parquet", [candidate(i, price=None) for i in range(30)])
    with pytest.raises(ValueError, match=r"free\.parquet: its candidates have no prices"):
        with_items_of(WORLD, str(free), category_feature="kind")
    for features in ({"category_feature": "sort"}, {"category_feature": "kind", "brand_feature": "sort"}):
        with pytest.raises(ValueError, match="have no feature 'sort'; they have: kind, maker, stars"):
            with_items_of(WORLD, str(shop), **features)


def test_a_feature_with_too_many_values_is_no_category(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given_items, "MOST_CATEGORIES", 2)
    with pytest.raises(ValueError, match="'kind' has 3 values"):
        with_items_of(WORLD, str(shop), category_feature="kind")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([], "--category-feature"),
        (["--category-feature", "kind", "--categories", "4"], "--categories"),
        (["--category-feature", "kind", "--price-spread", "1"], "--price-spread"),
        (["--category-feature", "kind", "--brand-feature", "maker", "--brands", "4"], "--brands"),
        (["--category-feature", "kind", "--items", "31"], "--items"),
        (["--category-feature", "price"], "'price'"),
    ],
)
def test_an_option_that_does_not_go_with_items_of_a_file_is_named(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], named: str
) -> None:
    path = tmp_path / "lists.parquet"
    assert main(["data", "simulator", "--items-from", str(shop), *options, "--quiet", "-o", str(path)]) == 2
    assert named in capsys.readouterr().err
    assert not path.exists()


def test_the_file_that_items_come_from_is_never_replaced(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = shop.read_bytes()
    options = ["--items-from", str(shop), "--category-feature", "kind", "-o", str(shop)]
    assert main(["data", "simulator", *options]) == 2
    assert "--output" in capsys.readouterr().err
    assert shop.read_bytes() == before


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_folder_of_parts_never_replaces_the_one_that_items_come_from(
    form: str, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--items-from", form.format(shop), "--category-feature", "kind", "--parts", "2", "-o", str(shop.parent)]
    assert main(["data", "simulator", *options]) == 2
    assert f"--output: {shop} is what is to be read, and would be deleted" in capsys.readouterr().err
    assert shop.exists()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (GivenItems((1.0,), (0,)), "1 items are not the 24"),
        (GivenItems((1.0,) * 24, (8,) * 24), "category"),
        (GivenItems((1.0,) * 24, (0,) * 24, (0,) * 24), "brand"),
    ],
)
def test_items_that_do_not_fit_the_world_are_refused(given: GivenItems, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        dataclasses.replace(WORLD, given=given)


@pytest.mark.parametrize(
    ("price", "category", "brand", "problem"),
    [
        ((1.0, 2.0), (0,), None, "differ in length"),
        ((1.0,), (0,), (0, 1), "differ in length"),
        ((0.0,), (0,), None, "positive"),
        ((float("inf"),), (0,), None, "positive"),
        ((1.0,), (-1,), None, "category"),
        ((1.0,), (0,), (-1,), "brand"),
    ],
)
def test_columns_of_items_that_are_none_are_refused(price: Any, category: Any, brand: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        GivenItems(price, category, brand)
