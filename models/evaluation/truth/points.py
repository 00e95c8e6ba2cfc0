"""List the points of the experiment: its worlds.

The first is that of the tables; the others differ from it in one knob, but for one with few lists a request. A point
has logs of its own, fits of its own, and a folder. The lists of several objective mixes share its fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from models.evaluation.truth.method import GROUPS, Method
from models.evaluation.truth.profile import Profile, WorldSizes
from models.evaluation.truth.registry import METHODS
from models.options import Weights

MAIN: Final = "main"
SMALL: Final = "small"
"""The point whose requests have so few lists that all of them can be valued."""
LISTS: Final = "lists"
KNOBS: Final = ("kappa", "prior_noise", "exploration", "candidates", "length", LISTS, "price_spread")
"""The knobs that may be swept; the values of `LISTS` are numbers of training lists."""
TRAIN_SHARE: Final = 0.8
"""The share of all lists that are training lists."""
LATER: Final = ("ablations", "grid")
"""Groups whose lists are made last: the table of the methods is done with all seeds before them."""
_WHOLE: Final = ("candidates", "length", LISTS)


@dataclass(frozen=True, slots=True)
class Plan:
    """Name lists to be made, by method, number of the mix, and seed."""

    method: str
    mix: int
    seed: int


@dataclass(frozen=True, slots=True)
class Point:
    """Name a world, the methods that plan in it, their mixes and seeds.

    `knob` and `value` say in what it differs from the world of the tables (None: in nothing). All `methods` plan under
    the first mix; `mix_methods` also under the others, with the first `mix_seeds` seeds.
    """

    name: str
    world: WorldSizes
    methods: tuple[str, ...]
    mixes: tuple[Weights, ...]
    seeds: int
    knob: str | None = None
    value: float | None = None
    mix_methods: tuple[str, ...] = ()
    mix_seeds: int = 1

    def plans(self, methods: Mapping[str, Method] = METHODS) -> list[Plan]:
        """List all lists to be made, in the order in which tables matter.

        The first mix comes before others, and methods before their variants. A method that has no seed plans once.
        """
        first = [name for name in self.methods if methods[name].group not in LATER]
        later = [name for name in self.methods if methods[name].group in LATER]
        parts = [(0, range(self.seeds), first), (0, range(self.seeds), later)]
        parts += [(mix, range(self.mix_seeds), list(self.mix_methods)) for mix in range(1, len(self.mixes))]
        return [
            Plan(name, mix, seed)
            for mix, seeds, names in parts
            for seed in seeds
            for name in names
            if seed == 0 or methods[name].seeded
        ]


def points_of(profile: Profile, methods: Mapping[str, Method] = METHODS) -> Sequence[Point]:
    """List the points of a profile, the tables' first.

    Raises `ValueError` for an unknown method or knob.
    """
    rows = table_rows(profile, methods)
    swept = _methods("sweep_methods", profile.sweep_methods, methods)
    flat = tuple(dict.fromkeys([*swept, *_methods("flat_methods", profile.flat_methods, methods)]))
    mixed = _methods("weight_methods", profile.weight_methods, methods)
    mixed = _possible(mixed, profile.world, methods)
    mixes = (profile.objectives, *profile.weights)
    every = dict.fromkeys([*(name for names in rows.values() for name in names), *(mixed if profile.weights else ())])
    main = Point(MAIN, profile.world, tuple(every), mixes, profile.seeds, mix_methods=mixed, mix_seeds=1)
    return [
        main,
        *_small(profile, swept, methods),
        *(
            point
            for knob, values in profile.sweeps.items()
            for value in values
            if (point := _sweep_point(profile, knob, value, swept, flat, methods)).world != profile.world
        ),
    ]


def table_rows(profile: Profile, methods: Mapping[str, Method] = METHODS) -> dict[str, tuple[str, ...]]:
    """List the methods of every table that are possible in its world.

    A profile's name of a method may be that of a group, which stands for all of its methods.
    """
    rows = {table: _methods(f"tables.{table}", names, methods) for table, names in profile.tables.items()}
    return {table: _possible(names, profile.world, methods) for table, names in rows.items()}


def _sweep_point(
    profile: Profile,
    knob: str,
    value: float,
    swept: Sequence[str],
    flat: Sequence[str],
    methods: Mapping[str, Method],
) -> Point:
    """Make the point of one value of a knob.

    It has those of the `swept` methods that are possible in its world, and without list context those of `flat`.

    Raises `ValueError` naming a knob or value that cannot be.
    """
    if knob not in KNOBS:
        raise ValueError(f"sweeps: {knob!r} is not a knob ({', '.join(KNOBS)})")
    if knob in _WHOLE and value != int(value):
        raise ValueError(f"sweeps.{knob}: must be whole numbers, not {value}")
    setting = round(value / TRAIN_SHARE) if knob == LISTS else int(value) if knob in _WHOLE else value
    try:
        changes: dict[str, object] = {knob: setting}
        world = replace(profile.world, **changes)  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"sweeps.{knob}: {error}") from None
    names = _possible(swept if world.kappa else flat, world, methods)
    return Point(f"{knob}-{value:g}", world, names, (profile.objectives,), profile.sweep_seeds, knob, float(value))


def _small(profile: Profile, swept: tuple[str, ...], methods: Mapping[str, Method]) -> list[Point]:
    if not profile.small_length:
        return []
    world = replace(profile.world, candidates=profile.small_candidates, length=profile.small_length)
    names = _possible(dict.fromkeys([*swept, *_methods("", ["ceilings"], methods)]), world, methods)
    mixes = (profile.objectives,)
    return [Point(SMALL, world, names, mixes, profile.sweep_seeds, SMALL, float(world.candidates))]


def _methods(key: str, names: Iterable[str], methods: Mapping[str, Method]) -> tuple[str, ...]:
    """Look names up; a group's stands for its methods unless a method is called so."""
    found: dict[str, None] = {}
    for name in names:
        if name in methods:
            found[name] = None
        elif name in GROUPS:
            found |= {method.name: None for method in methods.values() if method.group == name}
        else:
            raise ValueError(f"{key}: {name!r} is not a method ({', '.join(methods)}) or a group ({', '.join(GROUPS)})")
    return tuple(found)


def _possible(names: Iterable[str], world: WorldSizes, methods: Mapping[str, Method]) -> tuple[str, ...]:
    return tuple(name for name in names if methods[name].possible(world))
