"""Profiles: strict files, and what is wrong with one is named with file and key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from models import cli
from models.datasets.declared_world import DECLARED, EXPLORATION, LENGTH, WEIGHTS
from models.evaluation.truth.profile import PROFILES, Profile, load_profile


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("seeds = 0", "seeds: must be at least 1, not 0"),
        ("requests = -5", "requests: must be at least 1, not -5"),
        ("requests = 'many'", "requests: Expected `int`, got `str`"),
        ("objectives = [5, -1, 1]", "objectives: must be three numbers of at least 0, not all 0, not [5.0, -1.0, 1.0]"),
        ("weights = [[1, 0, 0], [0, 0, 0]]", "weights: must be three numbers of at least 0, not all 0, not [0.0,"),
        ("weights = [[1, 0]]", "weights[0]: Expected `array` of length 3, got 2"),
        ("dims = 8", "dims: is not a size of a profile"),
        ("world = {kapa = 1}", "world.kapa: is not a size of a profile"),
        ("world = {kappa = -1}", "world: kappa: must be at least 0, not -1.0"),
        ("world = {exploration = 1.5}", "world: exploration: must be within 0..1, not 1.5"),
        ("world = {length = 30}", "world: length: must be at most the 20 candidates, not 30"),
        ("world = {candidates = 20, items = 19}", "world: candidates: must be at most the 19 items, not 20"),
        ("world = {brand_feature = 'maker'}", "world: brand_feature: is about the file of items_from"),
        ("world = {items_from = 'shop.parquet'}", "world: items_from: needs category_feature"),
        (
            "world = {items_from = 'shop.parquet', category_feature = 'kind', price_spread = 1}",
            "world: price_spread: comes from the items of items_from",
        ),
        ("world = {lists = 'all'}", "world.lists: Expected `int`, got `str`"),
        ("world = 3", "world: Expected `object`, got `int`"),
        ("sweeps = {kappa = [0, -1]}", "sweeps.kappa: must be finite numbers of at least 0, not [0.0, -1.0]"),
        ("small_length = 9", "small_length: must be at most 8, not 9"),
        ("seeds = ", "is not TOML"),
    ],
)
def test_a_file_that_makes_no_sense_is_named_with_its_key(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=re.escape(f"{path}: {problem}")):
        load_profile(str(path))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("seeds=0", "--set: seeds: must be at least 1, not 0"),
        ("world.kappa=-0.5", "--set: world: kappa: must be at least 0, not -0.5"),
        ("world.depth=2", "--set: world.depth: is not a size of a profile"),
        ("objectives=[0,0,0]", "--set: objectives: must be three numbers"),
        ("seeds", "must be KEY=VALUE, not 'seeds'"),
    ],
)
def test_a_change_that_makes_no_sense_is_named(change: str, problem: str, tmp_path: Path, capsys: Any) -> None:
    command = ["evaluate", "truth", "--profile", "test", "--out", str(tmp_path / "out"), "--set", change]
    try:
        status: int | str | None = cli.main(command)
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_profile_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--profile: must be medium, quick, test or a TOML file, not 'slow'"):
        load_profile("slow")


def test_what_a_file_leaves_out_is_mediums_also_in_its_world(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("seeds = 2\nworld = {kappa = 1.0}\nsweeps = {}", "utf-8")
    mine, medium = load_profile(str(path)), load_profile("medium")
    assert (mine.name, mine.seeds, mine.world.kappa, mine.sweeps) == ("mine", 2, 1.0, {})
    assert (mine.requests, mine.world.lists, mine.tables) == (medium.requests, medium.world.lists, medium.tables)


def test_changes_reach_into_tables() -> None:
    profile = load_profile("quick", [("world.kappa", 2.0), ("sweeps.kappa", [0.0]), ("seeds", 2)])
    assert (profile.world.kappa, profile.sweeps, profile.seeds) == (2.0, {"kappa": (0.0,)}, 2)
    assert profile.world.lists == load_profile("quick").world.lists


def test_medium_is_the_declared_world() -> None:
    medium = load_profile("medium")
    for knob in ("kappa", "candidates", "prior_noise", "price_spread", "items"):
        assert getattr(medium.world, knob) == getattr(DECLARED, knob), knob
    assert Profile().world == medium.world
    assert (medium.world.length, medium.world.exploration, medium.objectives) == (LENGTH, EXPLORATION, WEIGHTS)


def test_the_profiles_shrink() -> None:
    lists = [load_profile(name).world.lists for name in PROFILES]
    assert lists == sorted(lists, reverse=True)
