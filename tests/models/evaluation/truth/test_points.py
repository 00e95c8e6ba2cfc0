"""Points: the world of the tables first, then one per value of a knob; unknown names are errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.contract.arrays import Ints
from models.data.records import ListRecord
from models.evaluation.truth.method import Method, PlanContext, Setting
from models.evaluation.truth.points import Plan, points_of, table_rows
from models.evaluation.truth.profile import PROFILES, Profile, WorldSizes, load_profile


def _no_plan(context: PlanContext, records: Sequence[ListRecord], setting: Setting) -> Ints:
    del context, setting
    return np.zeros((len(records), 1), np.int64)


def _method(name: str, group: str, **more: Any) -> Method:
    return Method(name, name, group, _no_plan, **more)


METHODS = {
    method.name: method
    for method in (
        _method("base", "base", seeded=False),
        _method("random", "base"),
        _method("variant", "ablations"),
        _method("ours", "ours"),
        _method("true-beam", "ceilings", seeded=False, cheating=True),
        _method("true-exhaustive", "ceilings", seeded=False, possible=lambda world: world.length <= 3),
    )
}
PROFILE = Profile(
    world=WorldSizes(candidates=12, length=6, lists=10_000, kappa=0.5),
    seeds=2,
    tables={"variants": ("variant", "base"), "methods": ("base", "ours", "ceilings")},
    sweeps={"kappa": (0.0, 0.5, 1.0), "lists": (4_000, 8_000), "length": (4,)},
    sweep_methods=("base", "ours"),
    small_candidates=6,
    small_length=3,
    weights=((1.0, 0.0, 0.0),),
    weight_methods=("base", "random"),
)


def test_a_point_for_every_value_that_the_world_of_the_tables_does_not_have() -> None:
    points = points_of(PROFILE, METHODS)
    assert [point.name for point in points] == ["main", "small", "kappa-0", "kappa-1", "lists-4000", "length-4"]
    main, small, blind, _, fewer, shorter = points
    assert main.world == PROFILE.world
    assert (main.knob, main.value) == (None, None)
    assert blind.world == replace(PROFILE.world, kappa=0.0)
    assert (blind.knob, blind.value, blind.seeds) == ("kappa", 0.0, 1)
    assert (small.world.candidates, small.world.length) == (6, 3)
    assert shorter.world.length == 4
    assert isinstance(shorter.world.length, int)
    assert fewer.world.lists == 5_000  # of which 4,000 are training lists


def test_a_table_may_name_groups_and_has_what_is_possible_in_its_world() -> None:
    assert table_rows(PROFILE, METHODS) == {"variants": ("variant", "base"), "methods": ("base", "ours", "true-beam")}
    main, small, *_ = points_of(PROFILE, METHODS)
    assert main.methods == ("variant", "base", "ours", "true-beam", "random")
    assert small.methods == ("base", "ours", "true-beam", "true-exhaustive")


def test_sweeps_and_mixes_too_have_what_is_possible_in_their_worlds() -> None:
    names = ("base", "true-exhaustive")
    points = points_of(replace(PROFILE, sweep_methods=names, weight_methods=names), METHODS)
    found = {point.name: point for point in points}
    assert found["main"].mix_methods == ("base",)
    assert found["kappa-0"].methods == found["length-4"].methods == ("base",)
    assert "true-exhaustive" in found["small"].methods


def test_a_world_without_context_may_have_more_methods_than_the_others() -> None:
    points = points_of(replace(PROFILE, sweep_methods=("base",), flat_methods=("ours", "true-exhaustive")), METHODS)
    found = {point.name: point.methods for point in points}
    assert (found["kappa-0"], found["kappa-1"]) == (("base", "ours"), ("base",))


def test_plans_have_seeds_where_they_matter_and_mixes_for_some_methods() -> None:
    main = points_of(PROFILE, METHODS)[0]
    assert main.mixes == ((5.0, 1.0, 1.0), (1.0, 0.0, 0.0))
    assert main.plans(METHODS) == [
        *(Plan(name, 0, 0) for name in ("base", "ours", "true-beam", "random")),
        *(Plan(name, 0, 1) for name in ("ours", "random")),
        *(Plan("variant", 0, seed) for seed in (0, 1)),
        *(Plan(name, 1, 0) for name in ("base", "random")),
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"tables": {"first": ("base", "best")}}, r"tables\.first: 'best' is not a method"),
        ({"sweep_methods": ("bset",)}, r"sweep_methods: 'bset' is not a method"),
        ({"weight_methods": ("bset",)}, r"weight_methods: 'bset' is not a method"),
        ({"sweeps": {"kapa": (1.0,)}}, r"sweeps: 'kapa' is not a knob \(kappa, "),
        ({"sweeps": {"length": (4.5,)}}, r"sweeps\.length: must be whole numbers, not 4\.5"),
        ({"sweeps": {"length": (13.0,)}}, r"sweeps\.length: length: must be at most the 12 candidates, not 13"),
        ({"sweeps": {"candidates": (3_000.0,)}}, r"sweeps\.candidates: candidates: must be at most the 2000 items"),
        ({"sweeps": {"exploration": (2.0,)}}, r"sweeps\.exploration: exploration: must be within 0\.\.1, not 2\.0"),
    ],
)
def test_unknown_names_and_values_that_cannot_be_are_named(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        points_of(replace(PROFILE, **change), METHODS)


@pytest.mark.parametrize("name", PROFILES)
def test_the_profiles_name_methods_and_knobs_that_exist(name: str) -> None:
    main, *_ = points_of(load_profile(name))
    assert {"base", "sort-gen", "sort-gen-beam", "true-beam"} <= set(main.methods)
