"""Search the sequences of some requests under an evaluator (DeGRe, §4.2).

The searches are in `planners.search`; this module calls them for passes of requests and keeps the result.

Axis letters: R requests of a pass, S sequences of a request, L positions, N candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from models.contract.arrays import Floats32, Ints
from models.data.batches import Batch
from models.data.slates import SlateArrays
from models.mining import shards
from models.mining.shards import MinedArrays
from models.nets.value import ListValueModel
from models.planners.search.beam import beam_search
from models.planners.search.local_search import improve, soft_labels
from models.planners.search.prefix import list_outcomes
from models.planners.worth import CLICKS_ONLY, RequestWorth, Triple, Worth

LocalSearch = Literal["none", "best", "all"]
_EXPANSIONS: Final = 16384
"""Expansions of one step of the beam, of all requests of a pass together: bounds the memory that caches take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningOptions:
    """Choose the search and the weights of its sequences.

    `length` is L (None: the evaluator's horizon), `width` B, `local_search` the lists of the beam that are improved,
    `top_k` the pre-truncation (`search.expansions`). `objectives` are α, β, γ; None draws them for every request,
    uniformly among all shares, with `seed`, for conditioned generators. `weight_temperature` is τ_w of eq. 10.
    """

    length: int | None = None
    width: int = 8
    local_search: LocalSearch = "none"
    top_k: int | None = None
    objectives: Triple | None = CLICKS_ONLY
    weight_temperature: float = 0.02
    seed: int = 0
    shard_size: int = 1024

    def __post_init__(self) -> None:
        for name in ("length", "width", "top_k", "shard_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.local_search not in get_args(LocalSearch):
            raise ValueError(
                f"local_search must be one of {', '.join(get_args(LocalSearch))}, not {self.local_search!r}"
            )
        if not 0 < self.weight_temperature < math.inf:
            raise ValueError(f"weight_temperature must be positive, not {self.weight_temperature}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, not {self.seed}")


@dataclass(frozen=True, eq=False)
class Miner:
    """Search with an evaluator as the options say."""

    model: ListValueModel
    options: MiningOptions
    length: int
    units: Triple
    device: torch.device

    def mine(self, slates: SlateArrays, weights: Floats32, advance: Callable[[int], object]) -> MinedArrays:
        """Mine the rows of one shard; `advance` is told the sequences of every pass."""
        parts = []
        for rows in self._passes(slates):
            found = self._search(slates.take(rows), weights[rows])
            parts.append([x.float().cpu().numpy() if x.is_floating_point() else x.cpu().numpy() for x in found])
            advance(len(rows) * self.options.width)
        sequences, step_values, soft, shares = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return MinedArrays(slates, sequences, soft, step_values, shares, weights)

    def _passes(self, slates: SlateArrays) -> Iterator[Ints]:
        size = max(1, _EXPANSIONS // (self.options.width * slates.candidates))
        everything = np.arange(len(slates))
        return (everything[start : start + size] for start in range(0, len(slates), size))

    def _search(self, slates: SlateArrays, weights: Floats32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Search sequences [R, S, L], with their step values, soft labels [R, S, L, N] and weights [R, S]."""
        options, batch = self.options, slates.tensors(self.device)
        worth: Worth | RequestWorth
        if options.objectives is None:
            worth = RequestWorth(torch.from_numpy(weights).to(self.device), self.units)
        else:
            worth = Worth(options.objectives, self.units)
        beams = beam_search(self.model, batch, worth, self.length, options.width, options.top_k)
        found = (beams.lists, beams.step_values, beams.soft_labels)
        if options.local_search != "none":
            found = self._improved(batch, worth, found)
        sequences, step_values, soft = _best_first(*found)
        there = sequences[:, :, 0] >= 0
        shares = shards.sequence_weights(step_values[:, :, -1], there, options.weight_temperature)
        return sequences, step_values, soft, shares

    def _improved(
        self, batch: Batch, worth: Worth | RequestWorth, found: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Replace the lists that are searched from by the ends of their searches."""
        searched = 1 if self.options.local_search == "best" else found[0].shape[1]
        top_k = self.options.top_k
        lists = improve(self.model, batch, worth, found[0][:, :searched], top_k=top_k)
        values = worth(list_outcomes(self.model, batch, lists)).masked_fill(lists < 0, 0)
        labels = soft_labels(self.model, batch, worth, lists, top_k=top_k)
        new = (lists, values, labels)
        sequences, step_values, soft = (torch.cat([a, b[:, searched:]], dim=1) for a, b in zip(new, found, strict=True))
        return sequences, step_values, soft


def _best_first(sequences: Tensor, step_values: Tensor, soft: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sort sequences by final value, and blank repeated ones."""
    same = (sequences[:, :, None] == sequences[:, None]).all(dim=-1)
    repeated = same.tril(diagonal=-1).any(dim=-1)
    gone = repeated | (sequences[:, :, 0] < 0)
    value = step_values[:, :, -1].masked_fill(gone, -torch.inf)
    order = torch.sort(value, dim=1, descending=True, stable=True).indices
    rows = torch.arange(len(order), device=order.device)[:, None]
    gone = gone[rows, order][..., None]
    return (
        sequences[rows, order].masked_fill(gone, -1),
        step_values[rows, order].masked_fill(gone, 0),
        soft[rows, order].masked_fill(gone[..., None], 0),
    )
