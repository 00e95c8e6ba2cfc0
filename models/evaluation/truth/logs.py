"""Draw the logs of a point: the declared world with other values of some knobs.

Points that differ in nothing but the number of training lists have the same test and validation requests, so that a
learning curve compares like with like.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from models.data.records import ListRecord
from models.datasets.declared_world import declared_world
from models.datasets.simulated_logs import load
from models.datasets.source import ListSource
from models.evaluation.truth.profile import WorldSizes

_PER_REQUEST: Final = 15
"""Lists that are drawn for each request of a split of a tenth: enough, though users are split by chance."""


def point_logs(world: WorldSizes, requests: int) -> ListSource:
    """Draw the lists of a world, with enough for tests and validation.

    These are at least `requests` each, however few lists are for training. Beyond the world's number of lists only
    those of test and validation are kept.
    """
    drawn = max(world.lists, _PER_REQUEST * requests)
    config = declared_world(
        kappa=world.kappa,
        candidates=world.candidates,
        prior_noise=world.prior_noise,
        price_spread=world.price_spread,
    )
    source = load(config, seed=world.seed, lists=drawn, length=world.length, exploration=world.exploration)
    metadata = {**source.metadata, "training_lists_among_first": world.lists}
    return replace(source, records=_kept(source.records, world.lists), metadata=metadata)


def _kept(records: Iterator[ListRecord], lists: int) -> Iterator[ListRecord]:
    return (record for index, record in enumerate(records) if index < lists or record.split != "train")
