"""Draw the logs of a point: the declared world with other values of some knobs.

Points that differ in nothing but the number of training lists have the same test and validation requests, so that a
learning curve compares like with like.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from models.data.records import ListRecord
from models.datasets.declared_world import declared_world
from models.datasets.given_items import with_items_of
from models.datasets.simulated_logs import load
from models.datasets.simulator_config import SimulatorConfig
from models.datasets.source import ListSource
from models.evaluation.truth.profile import WorldSizes

_PER_REQUEST: Final = 15
"""Lists that are drawn for each request of a split of a tenth: enough, though users are split by chance."""


def point_logs(world: WorldSizes, requests: int) -> ListSource:
    """Draw the lists of a world, with enough for tests and validation.

    These are at least `requests` each, however few lists are for training. Beyond the world's number of lists only
    those of test and validation are kept. Raises `ValueError` for a file of items that makes no world.
    """
    drawn = max(world.lists, _PER_REQUEST * requests)
    config, origin = _world(world)
    source = load(config, seed=world.seed, lists=drawn, length=world.length, exploration=world.exploration)
    metadata = {**source.metadata, **origin, "training_lists_among_first": world.lists}
    return replace(source, records=_kept(source.records, world.lists), metadata=metadata)


def _world(world: WorldSizes) -> tuple[SimulatorConfig, dict[str, Any]]:
    """Return the configuration of a world, and where its items come from."""
    config = declared_world(
        kappa=world.kappa,
        candidates=world.candidates,
        prior_noise=world.prior_noise,
        price_spread=world.price_spread,
        items=world.items,
    )
    if world.items_from is None:
        return config, {}
    assert world.category_feature is not None
    features = {"category_feature": world.category_feature, "brand_feature": world.brand_feature}
    given = with_items_of(
        config, world.items_from, category_feature=world.category_feature, brand_feature=world.brand_feature
    )
    return given, {"items_from": Path(world.items_from).name, **features}


def _kept(records: Iterator[ListRecord], lists: int) -> Iterator[ListRecord]:
    return (record for index, record in enumerate(records) if index < lists or record.split != "train")
