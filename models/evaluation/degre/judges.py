"""Value lists by value models, by the simulator's truth, and by judges, their means.

A planner must not be judged by the model that it searched. The primary judge is the evaluator's architecture with
another seed, trained on the half of the lists that the evaluator never saw; beside it stand the evaluator itself,
another architecture, an ensemble, and, where the data is simulated, the truth.

Axis letters: R requests, K lists of a request, L positions, N candidates, O objectives, M objective mixes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.contract.arrays import AnyFloats, Floats32, Ints
from models.contract.spec import OBJECTIVES
from models.data.slates import SlateArrays
from models.datasets.simulator import SimulatedRequest, Simulator, SimulatorConfig
from models.nets.value import ListValueModel
from models.planners.search.exhaustive import all_lists
from models.planners.search.prefix import all_outcomes, list_outcomes
from models.planners.worth import Triple, Worth

_TRUE_LISTS: Final = 20_000
EVALUATOR: Final = "evaluator"
TRUTH: Final = "truth"
MIXED: Final[Triple] = (5.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Judge:
    """Name a mean of valuers, the `members`, as the value of a list."""

    name: str
    title: str
    members: tuple[str, ...]


PRIMARY: Final = Judge("primary", "primary", ("primary",))
OWN: Final = Judge("own", "own evaluator", (EVALUATOR,))
ARCHITECTURE: Final = Judge("architecture", "SORT", ("sort",))
ENSEMBLE: Final = Judge("ensemble", "ensemble of four", ("primary", "sort", "ensemble-fields", "ensemble-concat"))
TRUE: Final = Judge("truth", "truth", (TRUTH,))
JUDGES: Final = (PRIMARY, OWN, ARCHITECTURE, ENSEMBLE, TRUE)


class ModelValuer:
    """Value lists of the test requests by a trained list value model."""

    def __init__(self, model: ListValueModel, slates: SlateArrays, length: int, device: torch.device) -> None:
        self._model = model.to(device).eval()
        self._batch = features(slates, device)
        self._length = length
        self._device = device

    def outcomes(self, rows: Ints, lists: Ints) -> AnyFloats:
        """Expect (clicks, conversions, GMV) [R, K, 3] of whole lists [R, K, L] of requests `rows` [R].

        0 for a list without items (all −1).
        """
        final = list_outcomes(self._model, self._rows(rows), torch.from_numpy(lists).to(self._device))[:, :, -1]
        values: AnyFloats = final.cpu().numpy()
        return values

    def every_outcome(self, row: int) -> AnyFloats:
        """Expect the same of all ordered lists of one request, in the order of `exhaustive.all_lists`."""
        values: AnyFloats = all_outcomes(self._model, self._rows(np.array([row])), self._length).cpu().numpy()
        return values

    def _rows(self, rows: Ints) -> dict[str, Tensor]:
        chosen = torch.from_numpy(rows).to(self._device)
        return {name: values[chosen] for name, values in self._batch.items()}


class TruthValuer:
    """Value lists of the test requests by the simulator's closed form."""

    def __init__(self, metadata: Mapping[str, Any], request_ids: Sequence[str], length: int) -> None:
        """Find the requests.

        Raises `ValueError` unless `metadata` is a simulated list file's and has their ids.
        """
        self._simulator = Simulator(SimulatorConfig.from_metadata(metadata))
        self._requests = [self._simulator.find(i) for i in request_ids]
        self._length = length

    def outcomes(self, rows: Ints, lists: Ints) -> AnyFloats:
        """Expect as `ModelValuer.outcomes` does."""
        return np.stack([self._values(self._requests[row], some) for row, some in zip(rows, lists, strict=True)])

    def every_outcome(self, row: int) -> AnyFloats:
        """Expect as `ModelValuer.every_outcome` does."""
        request = self._requests[row]
        return self._values(request, all_lists(len(request.items), self._length))

    def _values(self, request: SimulatedRequest, lists: Ints) -> AnyFloats:
        values = np.zeros((len(lists), len(OBJECTIVES)))
        there = np.flatnonzero((lists >= 0).all(axis=1))
        for start in range(0, len(there), _TRUE_LISTS):
            some = there[start : start + _TRUE_LISTS]
            values[some] = self._simulator.list_value(request, lists[some])[:, -1]
        return values


Valuer = ModelValuer | TruthValuer


def features(slates: SlateArrays, device: torch.device) -> dict[str, Tensor]:
    """Return the feature tensors of requests without labels, which planners may not see."""
    return {name: torch.from_numpy(values).to(device) for name, values in slates.features.items()}


def mix_values(outcomes: AnyFloats, mixes: Sequence[Triple], units: Triple) -> Floats32:
    """Weigh outcomes [..., 3] under each objective mix, in click units, [M, ...]."""
    raw = torch.from_numpy(np.asarray(outcomes, np.float64))
    return np.stack([Worth(mix, units)(raw).numpy() for mix in mixes]).astype(np.float32)
