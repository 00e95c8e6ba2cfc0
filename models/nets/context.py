"""Compute list-context features: compare an item with those before it in the list.

Per categorical item field: the number of earlier items with the same value, the number among the last three, and
whether the last one has it. Per number and prior score: the difference to the mean of the earlier items, and the
distance to the last. With embeddings: the largest and the mean cosine to the earlier items, and the cosine to the last.
All are 0 for the first item of a list, and follow from its items and the feature spec alone.

Equal values say that items are alike, but not that one goes well behind another. So `Affinity` learns how well each
value of a categorical field follows each other one, directed; it is summed over the same earlier items as the counts.

A transformer can learn all of this from the tokens, given enough lists; small logs do not hold enough (docs/results.md
has the ablation). `planners/graphs/context.py` computes the same in the exported graph.

Axis letters: J later items, T earlier ones, C categorical fields, F numbers and scores, E embedding width, X factors of
an affinity, Z features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from models.contract.spec import FeatureSpec

RECENT: Final = 3
"""How many of the last items count as recent."""
COUNT_SCALE: Final = 1 / 3
"""What counts of equal values are multiplied by, so that they are about as large as standardised numbers."""


@dataclass(frozen=True, slots=True)
class ContextLayout:
    """Count the context features by kind, in this order.

    `fields`: categorical fields, with three features each, all fields' first kind first. `numbers`: numbers and scores,
    with two features each. `affinities`: categorical fields with affinities, with features as those of `fields`.
    `cosines`: whether items have embeddings, with three features.
    """

    fields: int
    numbers: int
    affinities: int
    cosines: bool

    @classmethod
    def of(cls, spec: FeatureSpec, *, cosines: bool, affinity: int) -> ContextLayout:
        """Lay out the features for items of this spec; affinities of rank 0 are none."""
        fields, numbers = len(spec.item_categoricals), len(spec.item_numbers) + len(spec.scores)
        return cls(fields, numbers, fields if affinity else 0, cosines)

    @property
    def width(self) -> int:
        """Count all features, Z."""
        return 3 * self.fields + 2 * self.numbers + 3 * self.affinities + 3 * self.cosines

    @property
    def pair_columns(self) -> int:
        """Count the features that compare two items: values, differences and distances, affinities, the cosine."""
        return self.fields + 2 * self.numbers + self.affinities + self.cosines


class Factors(NamedTuple):
    """Hold the factors of n items' values, [..., n, C, X] each.

    `later` are those of an item that is compared with items before it, `earlier` those of an item before.
    """

    later: Tensor
    earlier: Tensor


class Items(NamedTuple):
    """Hold the values of n items that context features compare.

    `ids` int64 [..., n, C], `numbers` [..., n, F] and `unit` [..., n, E]. An id is negative where the value is missing
    or unknown. `unit` are embeddings of length 1, or zeros; None without. So are the `factors` of affinities.
    """

    ids: Tensor
    numbers: Tensor
    unit: Tensor | None
    factors: Factors | None = None

    @classmethod
    def of(cls, batch: Mapping[str, Tensor], spec: FeatureSpec, *, cosines: bool) -> Items:
        """Take the items from a batch of `models.contract.features` arrays, [B, n, ...]."""
        ids = batch["item_ids"]
        unknown = torch.tensor(
            list(accumulate((f.rows for f in spec.item_categoricals), initial=0))[:-1], device=ids.device
        )
        known = torch.where(ids == unknown, -1, ids)
        numbers = torch.cat([batch["item_numbers"], batch["item_scores"]], dim=-1)
        return cls(known, numbers, batch["embeddings"] if cosines else None)

    def take(self, *index: Tensor) -> Items:
        """Select items by `index`, which indexes the axes before the last."""
        unit = None if self.unit is None else self.unit[index]
        factors = None if self.factors is None else Factors(*(factor[index] for factor in self.factors))
        return Items(self.ids[index], self.numbers[index], unit, factors)


class Affinity(nn.Module):
    """Learn how well a value follows another of the same categorical field.

    M[v, w] = A[v] · B[w] for a later item's value v and an earlier item's value w, of `rank` factors. An unknown or
    missing value has no affinity to any. B starts at zero, and so do all affinities.
    """

    def __init__(self, spec: FeatureSpec, rank: int) -> None:
        super().__init__()
        rows = sum(field.rows for field in spec.item_categoricals)
        self.later = nn.Embedding(rows, rank)
        self.earlier = nn.Embedding(rows, rank)
        nn.init.normal_(self.later.weight, std=rank**-0.5)
        nn.init.zeros_(self.earlier.weight)

    def forward(self, ids: Tensor) -> Factors:
        """Look up the factors of items by their ids [..., n, C], as in `Items`."""
        known = (ids >= 0).unsqueeze(-1)
        return Factors(*(table(ids.clamp(min=0)) * known for table in (self.later, self.earlier)))


def context_features(later: Items, earlier: Items, age: Tensor) -> Tensor:
    """Compare `later` items [..., J] with `earlier` ones [..., T]: features [..., J, Z].

    `age` int64 [J or 1, T] is the number of places from an earlier item to a later one. An item of age 0 or less does
    not stand before the later one and is ignored.
    """
    weights = _weights(age, later.numbers.dtype)
    every, _, last = weights
    count = every.sum(-1, keepdim=True)  # [J or 1, 1]
    mean = every / count.clamp(min=1)
    offset = later.numbers * (count > 0) - mean @ earlier.numbers
    distance = (later.numbers * last.sum(-1, keepdim=True) - last @ earlier.numbers).abs()
    features = [_equal_values(later.ids, earlier.ids, weights), offset, distance]
    if later.factors is not None and earlier.factors is not None:
        features.append(_affinities(later.factors.later, earlier.factors.earlier, weights))
    if later.unit is not None and earlier.unit is not None:
        cosine = later.unit @ earlier.unit.transpose(-1, -2)  # [..., J, T]
        features.append(_cosine_features(cosine, every, mean, last))
    return torch.cat(features, dim=-1)


def own_context(items: Items) -> Tensor:
    """Compare every item of a list with those before it: [..., T, Z] from items [..., T]."""
    place = torch.arange(items.numbers.shape[-2], device=items.numbers.device)
    return context_features(items, items, place[:, None] - place)


def _weights(age: Tensor, dtype: torch.dtype) -> Tensor:
    """Weigh every earlier item, the recent ones, and the last one by 1: [3, J or 1, T]."""
    before = age >= 1
    return torch.stack([before, before & (age <= RECENT), age == 1]).to(dtype)


def _equal_values(later: Tensor, earlier: Tensor, weights: Tensor) -> Tensor:
    """Count the earlier items that share a later one's value, scaled: [..., J, 3 · C].

    The ids are [..., J, C] and [..., T, C]. All pairs are compared once, with fields as the leading axis, so that the
    sums over earlier items are matrix products.
    """
    known = later.masked_fill(later < 0, -2)  # no earlier id is −2, so what is unknown equals nothing
    rows, columns = (ids.transpose(-1, -2).contiguous() for ids in (known, earlier))
    same = rows.unsqueeze(-1) == columns.unsqueeze(-2)  # [..., C, J, T]
    return COUNT_SCALE * torch.einsum("kjt,...cjt->...jkc", weights, same.to(weights)).flatten(-2)


def _affinities(later: Tensor, earlier: Tensor, weights: Tensor) -> Tensor:
    """Sum affinities to earlier items, scaled as counts are: [..., J, 3 · C].

    The factors are [..., J, C, X] and [..., T, C, X].
    """
    pairs = later.transpose(-3, -2) @ earlier.transpose(-3, -2).transpose(-1, -2)  # [..., C, J, T]
    return COUNT_SCALE * torch.einsum("kjt,...cjt->...jkc", weights, pairs).flatten(-2)


def _cosine_features(cosine: Tensor, every: Tensor, mean: Tensor, last: Tensor) -> Tensor:
    """Compute the largest, mean and last cosine: [..., J, 3] from [..., J, T]."""
    if not cosine.shape[-1]:
        return cosine.new_zeros(*cosine.shape[:-1], 3)
    largest = cosine.masked_fill(every == 0, -1.0).amax(-1) * (every.sum(-1) > 0)
    return torch.stack([largest, (cosine * mean).sum(-1), (cosine * last).sum(-1)], dim=-1)
