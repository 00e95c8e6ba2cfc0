"""Read the sizes of the truth experiment from a TOML file.

A profile names the world, the sizes of everything that is trained, the rows of each table and the sweeps. Three come
with the package: ``medium`` makes the tables, ``quick`` a first look at them, ``test`` is for tests. Any other file may
name some sizes; those that it leaves out are those of ``medium``.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from models.datasets.declared_world import DECLARED, EXPLORATION, LENGTH, WEIGHTS
from models.evaluation.profile_files import add_profile_options, convert_sizes, read_sizes

PROFILES: Final = ("medium", "quick", "test")
_FOLDER: Final = Path(__file__).parent / "profiles"
_MAY_BE_ZERO: Final = ("seed", "small_candidates", "small_length")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldSizes:
    """Say how a world differs from the declared one.

    `lists` are drawn from it, with `seed`. Its `items` have the prices and categories of a list file where `items_from`
    names one, and its brands where there is a `brand_feature`.
    """

    kappa: float = DECLARED.kappa
    candidates: int = DECLARED.candidates
    length: int = LENGTH
    lists: int = 125_000
    exploration: float = EXPLORATION
    prior_noise: float = DECLARED.prior_noise
    price_spread: float = DECLARED.price_spread
    seed: int = 11
    items: int = DECLARED.items
    items_from: str | None = None
    category_feature: str | None = None
    brand_feature: str | None = None

    def __post_init__(self) -> None:
        _check_numbers(self)
        if self.exploration > 1:
            raise ValueError(f"exploration: must be within 0..1, not {self.exploration}")
        if self.length > self.candidates:
            raise ValueError(f"length: must be at most the {self.candidates} candidates, not {self.length}")
        if self.candidates > self.items:
            raise ValueError(f"candidates: must be at most the {self.items} items, not {self.candidates}")
        self._check_items_from()

    def _check_items_from(self) -> None:
        """Raise `ValueError` for a key that does not go with the file of items."""
        if self.items_from is None:
            for name in ("category_feature", "brand_feature"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name}: is about the file of items_from, which is not given")
        elif self.category_feature is None:
            raise ValueError("items_from: needs category_feature, the feature that is the category")
        elif self.price_spread != DECLARED.price_spread:
            raise ValueError("price_spread: comes from the items of items_from")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Hold the sizes of an experiment; see the comments of ``profiles/medium.toml`` for each."""

    name: str = "medium"
    world: WorldSizes = field(default_factory=WorldSizes)

    # tests, choices and seeds
    requests: int = 500
    valid_requests: int = 300
    seeds: int = 3
    objectives: tuple[float, float, float] = WEIGHTS

    # value models
    value_dim: int = 32
    value_layers: int = 1
    value_epochs: int = 5
    paper_dim: int = 64
    paper_layers: int = 2
    paper_epochs: int = 10

    # scorers of items
    scorer_dim: int = 64
    scorer_layers: int = 2
    scorer_requests: int = 100_000
    scorer_valid_requests: int = 5_000
    scorer_epochs: int = 4

    # generators
    generator_dim: int = 64
    generator_layers: int = 2
    generator_requests: int = 10_000
    generator_valid_requests: int = 500
    generator_epochs: int = 4
    generator_rounds: int = 4
    group_drawn: int = 6
    group_bases: int = 1
    distill_epochs: int = 3

    # searches
    beam: int = 8

    # tables
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    small_candidates: int = 8
    small_length: int = 4

    # sweeps
    sweeps: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    sweep_methods: tuple[str, ...] = ()
    flat_methods: tuple[str, ...] = ()
    sweep_seeds: int = 1
    weights: tuple[tuple[float, float, float], ...] = ()
    weight_methods: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_mix("objectives", self.objectives)
        for mix in self.weights:
            _check_mix("weights", mix)
        for knob, values in self.sweeps.items():
            if not all(0 <= value < math.inf for value in values):
                raise ValueError(f"sweeps.{knob}: must be finite numbers of at least 0, not {list(values)}")
        if self.small_length > self.small_candidates:
            raise ValueError(f"small_length: must be at most {self.small_candidates}, not {self.small_length}")


def load_profile(asked: str, changes: Sequence[tuple[str, Any]] = ()) -> Profile:
    """Read a profile by name or file, with changes.

    `changes` are values by key, such as ``seeds`` or ``world.kappa``. Raises `ValueError` naming file and key.
    """
    path = _FOLDER / f"{asked}.toml" if asked in PROFILES else Path(asked)
    base, own = read_sizes(_FOLDER / "medium.toml", PROFILES), read_sizes(path, PROFILES)
    sizes = base | own | {"name": path.stem}
    if isinstance(own.get("world"), dict):
        sizes["world"] = base["world"] | own["world"]
    profile = _profile(sizes, str(path))
    for key, value in changes:
        sizes = _changed(sizes, key.split("."), value)
    return _profile(sizes, "--set") if changes else profile


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--profile`` and ``--set``."""
    add_profile_options(parser, PROFILES, default="medium", examples="seeds=1 or world.kappa=0.5")


def _changed(sizes: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    first, *rest = keys
    if not rest:
        return {**sizes, first: value}
    inner = sizes.get(first)
    return {**sizes, first: _changed(inner if isinstance(inner, dict) else {}, rest, value)}


def _profile(sizes: Mapping[str, Any], origin: str) -> Profile:
    world = sizes.get("world")
    for prefix, given, of in (("", sizes, Profile), ("world.", world if isinstance(world, dict) else {}, WorldSizes)):
        unknown = sorted(given.keys() - {part.name for part in dataclasses.fields(of)})
        if unknown:
            raise ValueError(f"{origin}: {prefix}{unknown[0]}: is not a size of a profile")
    return convert_sizes(sizes, Profile, origin)


def _check_numbers(sizes: WorldSizes | Profile) -> None:
    """Raise `ValueError` for whole numbers below 1 and others below 0."""
    for part in dataclasses.fields(sizes):
        value = getattr(sizes, part.name)
        least = 1 if part.type == "int" and part.name not in _MAY_BE_ZERO else 0
        if part.type in ("int", "float") and not least <= value < math.inf:
            raise ValueError(f"{part.name}: must be at least {least}, not {value}")


def _check_mix(key: str, mix: Sequence[float]) -> None:
    if not all(0 <= weight < math.inf for weight in mix) or not any(mix):
        raise ValueError(f"{key}: must be three numbers of at least 0, not all 0, not {list(mix)}")
