"""A DeGRe bundle with random weights, over the tiny bundle's feature spec and under its name."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from export.bundle import BundleOptions, write_bundle
from export.families.degre import Degre
from models.contract.manifest import DiversityDefaults, Limits, QueueSpec
from models.nets.checkpoint import GeneratorCheckpoint
from models.nets.generator import GeneratorConfig
from models.nets.value import ValueConfig
from tests.models.planners.examples import random_generator, random_model
from tests.service.tiny_bundle import SPEC

PLACES = 20
"""Candidates that each queue has room for if a request names as many as it may."""

MIX = {"click": 5.0, "conversion": 1.0, "gmv": 1.0}
_UNITS = {"click": 0.05, "conversion": 0.001, "gmv": 0.5}
_OPTIONS = BundleOptions(
    name="tiny",
    version="1",
    limits=Limits(list_length=5, queues=3, queue_length=PLACES),
    queues=(QueueSpec("click", "ctr"), QueueSpec("conversion", "ctr*cvr"), QueueSpec("gmv", "ctr*cvr*price")),
    fallback="alpha*ctr + beta*ctr*cvr + gamma*ctr*cvr*price",
    objectives=MIX,
    diversity=DiversityDefaults(trade_off=0.8, window=4),
)


@lru_cache
def degre_model(*, conditioned: bool) -> Degre:
    sizes = GeneratorConfig(dim=16, layers=1, heads=2, list_length=5, field_dim=4, conditioned=conditioned)
    evaluator = ValueConfig(dim=16, layers=1, heads=2, list_length=5, field_dim=4, input_block="fields")
    models = random_generator(SPEC, sizes, seed=0), random_model(SPEC, evaluator, seed=1)
    return Degre(GeneratorCheckpoint(*models, _UNITS, MIX))


def write_degre_bundle(root: Path, *, conditioned: bool = True, rules: bool = False) -> Path:
    """Write ``root/tiny/1`` and return it; with `rules` it has a graph for them."""
    options = replace(_OPTIONS, rules=rules)
    return write_bundle(root, degre_model(conditioned=conditioned), options, requests=7).folder
