"""Tiny untrained checkpoints of either family, and options to export them with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from export.bundle import BundleOptions
from export.families.degre import Degre
from export.families.sort_gen import SortGen
from models.contract.manifest import DiversityDefaults, Limits, QueueSpec
from models.nets.checkpoint import Checkpoint, GeneratorCheckpoint
from models.nets.generator import GeneratorConfig
from models.nets.value import ValueConfig
from tests.models.planners.examples import SPEC, UNITS, random_generator, random_model

CONFIG = ValueConfig(dim=16, layers=1, heads=2, list_length=4, field_dim=4)
LIMITS = Limits(list_length=4, queues=2, head_width=2)
OPTIONS = BundleOptions(
    name="demo",
    version="1",
    limits=LIMITS,
    queues=(QueueSpec("click", "ctr"), QueueSpec("gmv", "ctr*cvr*price")),
    fallback="alpha*ctr + gamma*ctr*cvr*price",
    objectives={"click": 5.0, "conversion": 1.0, "gmv": 1.0},
    diversity=DiversityDefaults(trade_off=0.8, window=3),
)

DEGRE_OPTIONS = replace(
    OPTIONS,
    limits=Limits(list_length=4, queues=1, queue_length=30),
    queues=(QueueSpec("formula", "alpha*ctr"),),
    objectives={"click": 2.0, "conversion": 1.0, "gmv": 0.0},
)


def checkpoint(seed: int = 0) -> Checkpoint:
    return Checkpoint(random_model(SPEC, CONFIG, seed), UNITS, {"data": {"source": "none"}})


def sort_gen(seed: int = 0) -> SortGen:
    return SortGen(checkpoint(seed))


def generator_checkpoint(seed: int = 0, *, conditioned: bool = False) -> GeneratorCheckpoint:
    sizes = GeneratorConfig(dim=16, layers=1, heads=2, list_length=4, field_dim=4, conditioned=conditioned)
    evaluator = replace(CONFIG, input_block="fields", cosines=True)
    return GeneratorCheckpoint(
        random_generator(SPEC, sizes, seed),
        random_model(SPEC, evaluator, seed),
        UNITS,
        {"click": 2.0, "conversion": 1.0, "gmv": 0.0},
        {"data": {"source": "none"}},
    )


def degre(seed: int = 0, *, conditioned: bool = False) -> Degre:
    return Degre(generator_checkpoint(seed, conditioned=conditioned))


def options(**changes: Any) -> BundleOptions:
    return replace(OPTIONS, **changes)
