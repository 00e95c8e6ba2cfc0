"""All sizes of an experiment in one place, and three sets of them: quick, cpu and full.

`quick` takes about an hour on two CPU cores, `cpu` is the design's profile for two cores (under four hours), `full` is
the paper's sizes for a GPU. Every size is also an option of the command. It knows nothing about what is run.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeVar, get_args

from models.nets.generator import GeneratorConfig
from models.nets.value import HeadKind, InputBlock, ValueConfig
from models.options import parse_weights
from models.planners.worth import Triple
from models.training.loop import TrainOptions

SearchedLists = Literal["best", "all"]
_Number = TypeVar("_Number", int, float)


def _require(name: str, value: Any, fits: Callable[[Any], bool], wanted: str) -> None:
    """Raise `ValueError` naming the option unless its value, or each of its values, fits."""
    for one in value if isinstance(value, tuple) else (value,):
        if not fits(one):
            raise ValueError(f"{_option(name)}: must be {wanted}, not {one}")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Sizes of models, data, training and measures. The defaults are those of `cpu`."""

    name: str = "cpu"
    length: int = 6
    dim: int = 64
    heads: int = 4
    field_dim: int = 16
    evaluator_layers: int = 6
    sort_layers: int = 3
    generator_layers: int = 4
    evaluator_epochs: int = 2
    evaluator_batch: int = 512
    evaluator_rate: float = 2e-3
    evaluator_decay: float = 0.01
    evaluator_dropout: float = 0.0
    generator_epochs: int = 10
    generator_batch: int = 128
    generator_rate: float = 1e-3
    generator_decay: float = 0.01
    generator_dropout: float = 0.0
    mining_slates: int = 30_000
    valid_slates: int = 1_000
    beam: int = 8
    local_search: SearchedLists = "best"
    seeds: int = 3
    sweep_seeds: int = 1
    sweep_slates: int = 8_000
    ablation_beam: int = 2
    ablation_slates: int = 30_000
    alpha: float = 0.01
    temperature: float = 0.02
    sweep_beams: tuple[int, ...] = (1, 2, 4, 8, 16)
    sweep_alphas: tuple[float, ...] = (0.0, 0.01, 0.1, 1.0)
    sweep_temperatures: tuple[float, ...] = (0.005, 0.02, 0.1, 0.5, 1.0)
    test_requests: int = 1_000
    random_lists: int = 10_000
    order_requests: int = 100
    order_sets: int = 20
    order_permutations: int = 60
    exhaustive_requests: int = 50
    objectives: tuple[Triple, ...] = ()

    def __post_init__(self) -> None:
        optional = ("exhaustive_requests",)
        for field in dataclasses.fields(self):
            if field.type in ("int", "tuple[int, ...]"):
                least = 0 if field.name in optional else 1
                _require(field.name, getattr(self, field.name), partial(operator.le, least), f"at least {least}")
        for name in ("order_permutations", "random_lists"):
            _require(name, getattr(self, name), lambda x: x >= 2, "at least 2 to have a variance")
        for name in ("temperature", "sweep_temperatures", "evaluator_rate", "generator_rate"):
            _require(name, getattr(self, name), lambda x: 0 < x < math.inf, "positive")
        for name in ("alpha", "sweep_alphas"):
            _require(name, getattr(self, name), lambda x: 0 <= x < math.inf, "at least 0")
        if self.local_search not in get_args(SearchedLists):
            raise ValueError(f"--local-search: must be best or all, not {self.local_search!r}")
        for check in (self.value_config, self.generator_config):  # what is left they refuse now, not hours later
            check()
        for options in (self.value_options, self.generator_options):
            options(0)

    def value_config(self, input_block: InputBlock = "fields", head: HeadKind = "hazard") -> ValueConfig:
        """DeGRe's evaluator, or SORT for ``concat``."""
        layers = self.evaluator_layers if input_block == "fields" else self.sort_layers
        return ValueConfig(
            dim=self.dim,
            layers=layers,
            heads=self.heads,
            list_length=self.length,
            field_dim=self.field_dim,
            dropout=self.evaluator_dropout,
            input_block=input_block,
            head=head,
        )

    def generator_config(self) -> GeneratorConfig:
        """The sizes of every learnt generator."""
        return GeneratorConfig(
            dim=self.dim,
            layers=self.generator_layers,
            heads=self.heads,
            list_length=self.length,
            field_dim=self.field_dim,
            dropout=self.generator_dropout,
        )

    def value_options(self, seed: int) -> TrainOptions:
        """How evaluators and judges are trained."""
        return TrainOptions(
            epochs=self.evaluator_epochs,
            batch_size=self.evaluator_batch,
            learning_rate=self.evaluator_rate,
            weight_decay=self.evaluator_decay,
            seed=seed,
        )

    def generator_options(self, seed: int) -> TrainOptions:
        """How generators are trained, the baselines too."""
        return TrainOptions(
            epochs=self.generator_epochs,
            batch_size=self.generator_batch,
            learning_rate=self.generator_rate,
            weight_decay=self.generator_decay,
            seed=seed,
        )


PROFILES: Final[Mapping[str, Profile]] = {
    "quick": Profile(
        name="quick",
        mining_slates=10_000,
        valid_slates=500,
        seeds=1,
        sweep_slates=4_000,
        ablation_slates=10_000,
        sweep_beams=(1, 2, 4, 8),
        sweep_alphas=(0.0, 0.01, 1.0),
        sweep_temperatures=(0.005, 0.02, 0.1, 1.0),
        test_requests=300,
        exhaustive_requests=12,
    ),
    "cpu": Profile(),
    "full": Profile(
        name="full",
        dim=128,
        mining_slates=1_000_000,
        valid_slates=6_040,
        local_search="all",
        seeds=5,
        sweep_seeds=5,
        sweep_slates=1_000_000,
        ablation_slates=1_000_000,
        test_requests=6_040,
        exhaustive_requests=200,
    ),
}
"""`full` names more slates than there are, which means all of them."""

_HELP: Final = {
    "length": "positions to fill",
    "dim": "width of all transformers",
    "evaluator_decay": "weight decay of evaluators and judges",
    "generator_decay": "weight decay of generators",
    "mining_slates": "training requests that sequences are mined for",
    "valid_slates": "validation requests that sequences are mined for",
    "beam": "beam size B of the main rows",
    "local_search": "which of the beam's lists are searched from: best or all",
    "seeds": "seeds of every learnt generator in the main table",
    "sweep_seeds": "seeds of ablations and sweeps",
    "sweep_slates": "training requests of the sweeps",
    "ablation_slates": "training requests of the ablations",
    "test_requests": "test requests, drawn with a fixed seed",
    "random_lists": "random comparison lists per request",
    "exhaustive_requests": "test requests of which all lists are valued",
    "objectives": "α,β,γ mixes, separated by semicolons (default: clicks; where the truth is known also 5,1,1)",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """``--profile``, and one option per size, absent unless given."""
    parser.add_argument("--profile", choices=tuple(PROFILES), default="cpu", help="default: %(default)s")
    group = parser.add_argument_group("sizes", "each overrides the profile's")
    for field in dataclasses.fields(Profile):
        if field.name != "name":
            parse, metavar = _PARSERS[str(field.type)]
            group.add_argument(_option(field.name), type=parse, metavar=metavar, help=_HELP.get(field.name))


def chosen_profile(arguments: argparse.Namespace) -> Profile:
    """The profile with the sizes that were given. Raises `ValueError` naming a size that makes no sense."""
    given = {f.name: getattr(arguments, f.name, None) for f in dataclasses.fields(Profile) if f.name != "name"}
    return dataclasses.replace(PROFILES[arguments.profile], **{k: v for k, v in given.items() if v is not None})


def _integers(text: str) -> tuple[int, ...]:
    return _separated(text, int, "whole numbers")


def _numbers(text: str) -> tuple[float, ...]:
    return _separated(text, float, "numbers")


def _separated(text: str, parse: Callable[[str], _Number], wanted: str) -> tuple[_Number, ...]:
    try:
        return tuple(parse(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be {wanted} separated by commas, not {text!r}") from None


def _mixes(text: str) -> tuple[Any, ...]:
    return tuple(parse_weights(part) for part in text.split(";"))


_PARSERS: Final[Mapping[str, tuple[Callable[[str], Any], str]]] = {
    "int": (int, "N"),
    "float": (float, "X"),
    "SearchedLists": (str, "WHICH"),
    "tuple[int, ...]": (_integers, "N,…"),
    "tuple[float, ...]": (_numbers, "X,…"),
    "tuple[Triple, ...]": (_mixes, "A,B,G;…"),
}
