"""Logs of points: worlds that share their requests, and a world with the items of a list file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models import cli
from models.data.list_file import read_lists
from models.data.list_writer import write_lists
from models.data.records import Candidate, ListRecord
from models.datasets.simulator_config import SimulatorConfig
from models.evaluation.truth.logs import point_logs
from models.evaluation.truth.paths import LISTS_FILE, data_file, method_step
from models.evaluation.truth.profile import WorldSizes

ITEMS, KINDS, MAKERS = 30, 3, 5


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists of items at known prices, each of a kind and of a maker."""
    path = tmp_path_factory.mktemp("shop") / "shop.parquet"
    items = [
        Candidate(f"p{i}", price=10.0 + i, features={"kind": f"k{i % KINDS}", "maker": f"m{i % MAKERS}"})
        for i in range(ITEMS)
    ]
    write_lists(path, [ListRecord(f"r{i}", tuple(items[i : i + 6]), (0,), (1,)) for i in range(ITEMS - 5)], {})
    return path


def test_worlds_of_fewer_lists_have_the_same_requests_to_plan_for() -> None:
    many = WorldSizes(candidates=6, length=3, lists=150)
    fewer = replace(many, lists=50)
    logs = {world.lists: list(point_logs(world, 8).records) for world in (many, fewer)}
    for split in ("test", "valid"):
        ids = [[record.request_id for record in logs[n] if record.split == split][:8] for n in (150, 50)]
        assert ids[0] == ids[1]
        assert len(ids[0]) == 8
    training = [sum(record.split == "train" for record in logs[n]) for n in (150, 50)]
    assert 30 < training[1] <= 50 < training[0] <= 150


@pytest.mark.parametrize("brand_feature", [None, "maker"])
def test_the_items_may_be_those_of_a_list_file(shop: Path, brand_feature: str | None) -> None:
    world = WorldSizes(
        candidates=6,
        length=3,
        lists=20,
        items=24,
        items_from=str(shop),
        category_feature="kind",
        brand_feature=brand_feature,
    )
    logs = point_logs(world, 1)
    prices = {candidate.price for record in logs.records for candidate in record.candidates}
    assert prices <= {10.0 + i for i in range(ITEMS)}
    config = SimulatorConfig.from_metadata(logs.metadata)
    assert config.given is not None
    assert (config.categories, len(set(config.given.price)), config.kappa) == (KINDS, 24, world.kappa)
    assert (config.given.brand is not None) == (brand_feature is not None)
    told = [logs.metadata[name] for name in ("items_from", "category_feature", "brand_feature")]
    assert told == ["shop.parquet", "kind", brand_feature]


@pytest.mark.long
def test_the_experiment_runs_with_the_items_of_a_list_file(shop: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    sizes = [f"world.items_from={shop}", "world.category_feature=kind", "world.items=24", "sweeps={}", "small_length=0"]
    changes = [part for size in sizes for part in ("--set", size)]
    only = ["--only", "base,true-beam", "--steps", "data,methods"]
    assert cli.main(["evaluate", "truth", "--profile", "test", "--jobs", "1", "--out", str(root), *changes, *only]) == 0
    assert next(iter(read_lists(data_file(root, "main")))).candidates[0].price in {10.0 + i for i in range(ITEMS)}
    assert (root / method_step("main", "true-beam", 0, 0) / LISTS_FILE).is_file()


def test_a_file_without_the_feature_is_named(shop: Path) -> None:
    world = WorldSizes(items=24, items_from=str(shop), category_feature="colour")
    with pytest.raises(ValueError, match=r"shop\.parquet: .* no feature 'colour'; they have: kind, maker"):
        point_logs(world, 1)
