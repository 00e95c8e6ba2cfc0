"""Hold lists that begin alike: their items' keys and values are stored once and shared.

Axis letters: P prefixes, t items and K alternatives of each, D width, O objectives, S state.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Prefixes:
    """Hold P lists of t items each with all that is needed to extend them.

    `requests` int64 [P]; `items` int64 [P, t], their candidates in order; `steps`, for each position the keys and
    values [layers, nodes, 2 · D] of the items that stand there in any list; `nodes` int64 [P, t], which of them are a
    list's own; `states` [P, O, S], each head's chain behind the list; `outcomes` [P, 3], cumulative expected clicks,
    conversions and GMV.
    """

    requests: Tensor
    items: Tensor
    steps: tuple[Tensor, ...]
    nodes: Tensor
    states: Tensor
    outcomes: Tensor

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def length(self) -> int:
        """Count t, the items of each list."""
        return len(self.steps)

    def take(self, rows: Tensor | slice) -> Prefixes:
        """Take the prefixes at `rows`; they share the storage."""
        return Prefixes(
            self.requests[rows], self.items[rows], self.steps, self.nodes[rows], self.states[rows], self.outcomes[rows]
        )

    def cache(self, layer: int) -> list[Tensor]:
        """Gather the keys and values of a layer, [P, 2 · D] for each item."""
        paths = zip(self.steps, self.nodes.unbind(1), strict=True)
        return [step[layer].index_select(0, node) for step, node in paths]


@dataclass(frozen=True)
class Alternatives:
    """Hold K next `items` int64 [P, K] of P prefixes, their `outcomes` [P, K, 3] and `states` [P, K, O, S].

    `own` [layers, P, K, 2 · D] are their keys and values; [layers, P, 0, 2 · D] where none were kept.
    """

    items: Tensor
    outcomes: Tensor
    states: Tensor
    own: Tensor


def grown(parents: Prefixes, items: Tensor, own: Tensor, states: Tensor, outcomes: Tensor) -> Prefixes:
    """Append one item to each prefix; `own` [layers, P, 2 · D] are its keys and values."""
    new = torch.arange(len(parents), device=own.device)
    nodes = torch.cat([parents.nodes, new[:, None]], dim=1)
    lists = torch.cat([parents.items, items[:, None]], dim=1)
    return Prefixes(parents.requests, lists, (*parents.steps, own), nodes, states, outcomes)


def concatenate(parts: list[Prefixes]) -> Prefixes:
    """Join prefixes that differ in their last position's storage only."""
    if len(parts) == 1:
        return parts[0]
    new = torch.arange(sum(map(len, parts)), device=parts[0].nodes.device)
    older = torch.cat([p.nodes[:, :-1] for p in parts])
    return Prefixes(
        torch.cat([p.requests for p in parts]),
        torch.cat([p.items for p in parts]),
        (*parts[0].steps[:-1], torch.cat([p.steps[-1] for p in parts], dim=1)),
        torch.cat([older, new[:, None]], dim=1),
        torch.cat([p.states for p in parts]),
        torch.cat([p.outcomes for p in parts]),
    )
