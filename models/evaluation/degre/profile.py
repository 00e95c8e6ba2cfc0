"""Read the sizes of an experiment from a TOML file.

Three profiles come with the package: ``quick`` takes about an hour on two CPU cores, ``cpu`` under four hours, ``full``
has the paper's sizes for a GPU. Any other file may name some sizes; those that it leaves out are ``cpu``'s.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from models.evaluation.profile_files import add_profile_options, convert_sizes, read_sizes
from models.nets.generator import GeneratorConfig
from models.nets.value import HeadKind, InputBlock, ValueConfig
from models.options import Weights
from models.training.loop import TrainOptions

PROFILES: Final = ("quick", "table", "cpu", "full")
_FOLDER: Final = Path(__file__).parent / "profiles"
_POSITIVE: Final = ("temperature", "sweep_temperatures", "evaluator_rate", "generator_rate")
_LEAST: Final = {"exhaustive_requests": 0, "more_slates": 0, "order_permutations": 2, "random_lists": 2}
"""The least size where it is not 1; a variance takes 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Hold the sizes of models, data, training and measures; ``profiles/cpu.toml`` explains each."""

    name: str
    length: int
    dim: int
    heads: int
    field_dim: int
    evaluator_layers: int
    sort_layers: int
    generator_layers: int
    evaluator_epochs: int
    evaluator_batch: int
    evaluator_rate: float
    evaluator_decay: float
    evaluator_dropout: float
    gated: bool
    generator_epochs: int
    generator_batch: int
    generator_rate: float
    generator_decay: float
    generator_dropout: float
    mining_slates: int
    valid_slates: int
    beam: int
    local_searches: tuple[Literal["best", "all"], ...]
    more_slates: int
    seeds: int
    sweep_seeds: int
    sweep_slates: int
    ablation_beam: int
    ablation_slates: int
    ablation_test_requests: int
    grid_slates: int
    alpha: float
    temperature: float
    sweep_beams: tuple[int, ...]
    sweep_alphas: tuple[float, ...]
    sweep_temperatures: tuple[float, ...]
    test_requests: int
    random_lists: int
    order_requests: int
    order_sets: int
    order_permutations: int
    exhaustive_requests: int
    objectives: tuple[Weights, ...]

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.type in ("int", "tuple[int, ...]"):
                least = _LEAST.get(field.name, 1)
                self._require(field.name, partial(operator.le, least), f"at least {least}")
        self._require("local_searches", bool, "some of best and all", whole=True)
        for name in _POSITIVE:
            self._require(name, lambda x: 0 < x < math.inf, "positive")
        for name in ("alpha", "sweep_alphas"):
            self._require(name, lambda x: 0 <= x < math.inf, "at least 0")
        self._require("objectives", _is_mix, "three numbers of at least 0, not all 0")
        # The rest is checked by the models' and the training loop's own options: now, not hours later.
        self.value_config()
        self.generator_config()
        self.value_options(0)
        self.generator_options(0)

    def _require(self, name: str, fits: Callable[[Any], bool], wanted: str, *, whole: bool = False) -> None:
        value = getattr(self, name)
        for one in value if isinstance(value, tuple) and not whole else (value,):
            if not fits(one):
                raise ValueError(f"{name}: must be {wanted}, not {one}")

    def value_config(self, input_block: InputBlock = "fields", head: HeadKind = "hazard") -> ValueConfig:
        """Return the sizes of DeGRe's evaluator, or of SORT for ``concat``."""
        layers = self.evaluator_layers if input_block == "fields" else self.sort_layers
        sizes: dict[str, Any] = self._sizes(layers, self.evaluator_dropout)
        return ValueConfig(**sizes, input_block=input_block, head=head)

    def generator_config(self) -> GeneratorConfig:
        """Return the sizes of every learnt generator."""
        sizes: dict[str, Any] = self._sizes(self.generator_layers, self.generator_dropout)
        return GeneratorConfig(**sizes)

    def value_options(self, seed: int) -> TrainOptions:
        """Return the training options of evaluators and judges."""
        return self._training("evaluator", seed)

    def generator_options(self, seed: int) -> TrainOptions:
        """Return the training options of generators, the baselines included."""
        return self._training("generator", seed)

    def _sizes(self, layers: int, dropout: float) -> dict[str, Any]:
        shared = {"dim": self.dim, "heads": self.heads, "list_length": self.length, "field_dim": self.field_dim}
        return {**shared, "layers": layers, "dropout": dropout}

    def _training(self, model: str, seed: int) -> TrainOptions:
        names = {"epochs": "epochs", "batch_size": "batch", "learning_rate": "rate", "weight_decay": "decay"}
        sizes: dict[str, Any] = {option: getattr(self, f"{model}_{name}") for option, name in names.items()}
        return TrainOptions(**sizes, seed=seed)


def load_profile(asked: str, changes: Mapping[str, Any] | None = None) -> Profile:
    """Read a profile by name or file, with `changes`.

    Raises `ValueError` naming file and key.
    """
    path = _FOLDER / f"{asked}.toml" if asked in PROFILES else Path(asked)
    sizes = read_sizes(_FOLDER / "cpu.toml", PROFILES) | read_sizes(path, PROFILES) | {"name": path.stem}
    profile = _profile(sizes, str(path))
    return _profile(sizes | dict(changes), "--set") if changes else profile


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--profile`` and ``--set``."""
    add_profile_options(parser, PROFILES, default="cpu", examples="dim=32 or sweep_beams=[1,2]")


def _profile(sizes: Mapping[str, Any], origin: str) -> Profile:
    unknown = sorted(sizes.keys() - {field.name for field in dataclasses.fields(Profile)})
    if unknown:
        raise ValueError(f"{origin}: {unknown[0]}: is not a size of a profile")
    return convert_sizes(sizes, Profile, origin)


def _is_mix(weights: Weights) -> bool:
    return all(0 <= weight < math.inf for weight in weights) and any(weights)
