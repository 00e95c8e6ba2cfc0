"""A tiny untrained checkpoint and the options to export it with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from export.bundle import BundleOptions
from models.checkpoint import Checkpoint
from models.manifest import Diversity, Limits, QueueSpec
from models.value import ValueConfig
from tests.planners.examples import SPEC, UNITS, random_model

CONFIG = ValueConfig(dim=16, layers=1, heads=2, list_length=4, field_dim=4)
LIMITS = Limits(list_length=4, queues=2, head_width=2)
OPTIONS = BundleOptions(
    name="demo",
    version="1",
    limits=LIMITS,
    queues=(QueueSpec("click", "ctr"), QueueSpec("gmv", "ctr*cvr*price")),
    fallback="alpha*ctr + gamma*ctr*cvr*price",
    objectives={"click": 5.0, "conversion": 1.0, "gmv": 1.0},
    diversity=Diversity(trade_off=0.8, window=3),
)


def checkpoint(seed: int = 0) -> Checkpoint:
    return Checkpoint(random_model(SPEC, CONFIG, seed), UNITS, {"data": {"source": "none"}})


def options(**changes: Any) -> BundleOptions:
    return replace(OPTIONS, **changes)
