"""Value every next item of many lists at once: a step of the searches.

Axis letters: R requests, W lists of a request, N candidates, K next items, L positions, O objectives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.data.batches import Batch
from models.nets.value import ListValueModel
from models.planners.search.prefix import PrefixTree
from models.planners.search.prefix_store import Alternatives, Prefixes
from models.planners.worth import Valuation


@dataclass(frozen=True)
class Expansions:
    """Hold next items and the value of each list with them.

    `items` are int64 [R, W, K] and `values` [R, W, K] V̂ of the list with each, −∞ where an item may not come.
    `soft_labels` [R, W, N]: DeGRe's eq. 9 over those that may, 0 elsewhere. `alternatives` are of R · W prefixes.
    """

    items: Tensor
    values: Tensor
    soft_labels: Tensor
    alternatives: Alternatives


class Expander:
    """Expand lists of the requests of a batch, whose rows are `requests` int64 [R].

    With `top_k`, a list is expanded by those K of its remaining candidates that are worth most at the head of a list,
    under the same model: one pass over single items, which costs as much as the first step of a search.
    """

    def __init__(self, model: ListValueModel, batch: Batch, worth: Valuation, top_k: int | None = None) -> None:
        """Take a `batch` of `SlateArrays`' feature tensors. Raises `ValueError` if `top_k` is not positive."""
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {top_k}")
        self.tree = PrefixTree(model, batch)
        self.valid = batch["valid"]
        self.worth = worth
        self.requests = torch.arange(len(self.valid), device=self.valid.device)
        limited = top_k is not None and top_k < self.valid.shape[1]
        self._top_k = top_k if limited else None
        self._alone = self._head_values() if limited else None

    def start(self, lists: int) -> tuple[Prefixes, Tensor]:
        """Start `lists` empty lists per request; returns their candidates too, bool [R, lists, N]."""
        left = self.valid[:, None].expand(-1, lists, -1)
        return self.tree.roots(self.requests.repeat_interleave(lists)), left

    def shortlist(self, requests: Tensor, left: Tensor) -> Tensor:
        """Truncate the candidates `left` bool [M, ..., N] to lists of `requests` int64 [M]."""
        if self._alone is None:
            return left
        alone = self._alone[requests].view(len(requests), *[1] * (left.ndim - 2), -1)
        scores = alone.expand_as(left).masked_fill(~left, -torch.inf)
        best = torch.sort(scores, dim=-1, descending=True, stable=True).indices[..., : self._top_k]
        return left & torch.zeros_like(left).scatter(-1, best, True)

    def expand(self, prefixes: Prefixes, left: Tensor) -> Expansions:
        """Expand each of R · W prefixes by each candidate `left` to it, bool [R, W, N]."""
        items = left_first(left)
        alternatives = self.tree.extend(prefixes, items.flatten(0, 1))
        values = self.worth(alternatives.outcomes.view(*items.shape, -1))
        values = values.masked_fill(~left.gather(2, items), -torch.inf)
        shares = torch.softmax(values, dim=-1).nan_to_num(0.0)  # 0 / 0 where nothing is left
        soft = values.new_zeros(left.shape).scatter(2, items, shares)
        return Expansions(items, values, soft, alternatives)

    def _head_values(self) -> Tensor:
        """Compute V̂ of the list of each candidate alone, [R, N]."""
        everything = torch.arange(self.valid.shape[1], device=self.valid.device).expand(self.valid.shape)
        return self.worth(self.tree.extend(self.tree.roots(self.requests), everything).outcomes)


def left_first(left: Tensor) -> Tensor:
    """List candidates `left` bool [..., N] first, int64 [..., K], K ≥ 1 the most left."""
    most = max(1, int(left.sum(-1).max()))
    return torch.sort(left.to(torch.int8), dim=-1, descending=True, stable=True).indices[..., :most]
