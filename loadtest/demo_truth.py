"""Compute what a list is truly worth for one of the demo's requests.

They come from the simulator, where that is known in closed form. Needs NumPy only, as the demo does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from models.contract.spec import OBJECTIVES
from models.datasets.simulator import Simulator, SimulatorConfig

DEMO_WORLD: Final = SimulatorConfig(candidates=20)
"""The world of `demo_requests.json`; see `make train-demo`."""


class DemoTruth:
    """Draw the demo's world once, and value lists in it."""

    def __init__(self) -> None:
        self._world = Simulator(DEMO_WORLD)

    def value(self, request: Mapping[str, Any], places: Sequence[int]) -> dict[str, float]:
        """Return the expected clicks, purchases and GMV of a list.

        `places` are indices into the request's candidates, best first. Raises `ValueError` for a request of another
        world.
        """
        drawn = self._world.find(str(request["request_id"]))
        known = {f"i{item}": i for i, item in enumerate(drawn.items.tolist())}
        ids = [str(candidate["id"]) for candidate in request["candidates"]]
        if set(ids) != set(known):
            raise ValueError(f"request {request['request_id']!r} is none of the demo's world")
        shown = np.array([[known[ids[place]] for place in places]], np.int64)
        worth = self._world.list_value(drawn, shown)[0, -1]
        return dict(zip(OBJECTIVES, worth.tolist(), strict=True))
