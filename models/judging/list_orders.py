"""Order exposed lists anew and compute their NDCG.

Orders are the sort by prior scores and a value model's plan. Training compares the two on lists whose outcome is known.
NDCG on logged lists credits an order only for clicks at their logged place, so it cannot show gains that come from the
list as a whole (`models.judging.gate` explains its use all the same).

Axis letters: n lists, L positions, P places of an order. It holds shown places, best first, −1 past its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch

from models.contract.arrays import AnyFloats, Ints
from models.data.batches import Batch, ListArrays
from models.judging.metrics import discounts
from models.nets.value import ListValueModel
from models.planners.search.beam import beam_search
from models.planners.search.prefix import PrefixTree
from models.planners.worth import Triple, Worth

Orders = Ints
PLACES: Final = 10
"""Places of an order that count, the k of NDCG@k."""
_BATCH: Final = 256


def prior_values(data: ListArrays, worth: Worth) -> AnyFloats:
    """Value every item by the formula over its prior scores, [n, L]; −∞ past the end."""
    logits = torch.from_numpy(data.features["priors"]).double()
    click, buy = torch.sigmoid(logits).unbind(-1)
    price = torch.from_numpy(data.features["price"]).double()
    values: AnyFloats = worth(torch.stack([click, buy, buy * price], dim=-1)).numpy()
    return np.where(data.filled, values, -np.inf)


def sorted_orders(data: ListArrays, worth: Worth, places: int = PLACES) -> Orders:
    """Sort by the objective formula, [n, P], with ties shuffled out of their shown order."""
    values = prior_values(data, worth)
    shuffled = np.random.default_rng(0).random(values.shape)
    order = np.lexsort((shuffled, -values), axis=-1)[:, :places]
    return np.where(np.arange(order.shape[1]) < data.lengths[:, None], order, -1)


def planned_orders(model: ListValueModel, data: ListArrays, worth: Worth, *, device: torch.device) -> Orders:
    """Find the orders [n, P] to serve: greedy plans over the list's items, or the sort.

    The sort is served if no correction of a weighted objective is kept (ρ = 0), and where the model values it higher.
    """
    order = sorted_orders(data, worth)
    if bypassed(model, worth.weights):
        return order
    # Lists of one length go through the beam together, without padding.
    for rows in _of_equal_length(data.lengths):
        part = data.take(rows)
        length = min(int(part.lengths[0]), PLACES)
        batch: Batch = {**part.tensors(device), "valid": torch.from_numpy(part.filled).to(device)}
        found = beam_search(model, batch, worth, length, 1)
        plan, sort = found.lists[:, 0], torch.from_numpy(order[rows, :length]).to(device)
        # The sort's value is needed only where it is another list than the plan.
        differ = (plan != sort).any(dim=1).nonzero()[:, 0]
        outcomes = PrefixTree(model, batch).outcomes(differ, sort[differ])
        better = worth(outcomes[:, -1]) > found.step_values[differ, 0, -1]
        plan[differ[better]] = sort[differ[better]]
        order[rows, :length] = plan.cpu().numpy()
    return order


def bypassed(model: ListValueModel, weights: Triple) -> bool:
    """Tell whether no weighted objective keeps a correction, so that the sort is served.

    GMV follows conversions. Heads without hazards have no share and are never bypassed.
    """
    if model.shares is None:
        return False
    click, buy = model.shares.values()
    return all(share == 0 for share, weight in zip((click, buy, buy), weights, strict=True) if weight > 0)


def ndcg_of(orders: Orders, gains: AnyFloats) -> AnyFloats:
    """Compute NDCG@P of each order [n, P] under gains [n, L] as shown; NaN without gain."""
    weights = discounts(orders.shape[1])
    found = np.where(orders >= 0, np.take_along_axis(gains, np.maximum(orders, 0), axis=1), 0.0) @ weights
    ideal = -np.sort(-gains, axis=1)[:, : orders.shape[1]] @ weights
    return _share(found, ideal)


def random_ndcg(data: ListArrays, gains: AnyFloats, places: int = PLACES) -> AnyFloats:
    """Compute the expected NDCG of a random order of each list, [n]; NaN without gain."""
    width = min(places, gains.shape[1])
    weights = discounts(width)
    reach = np.where(np.arange(width) < data.lengths[:, None], weights, 0.0).sum(axis=1)
    expected = gains.sum(axis=1) / np.maximum(data.lengths, 1) * reach
    ideal = -np.sort(-gains, axis=1)[:, :width] @ weights
    return _share(expected, ideal)


def shown_orders(data: ListArrays, places: int = PLACES) -> Orders:
    """Return the order [n, P] in which the lists were shown."""
    place = np.arange(min(places, data.labels.shape[1]))
    return np.where(place < data.lengths[:, None], place, -1)


def _share(found: AnyFloats, ideal: AnyFloats) -> AnyFloats:
    shares: AnyFloats = np.divide(found, ideal, out=np.full(len(found), np.nan), where=ideal > 0)
    return shares


def _of_equal_length(lengths: Ints) -> Iterator[Ints]:
    """Group rows of equally long lists, at most `_BATCH` at a time, without empty lists."""
    for length in np.unique(lengths[lengths > 0]):
        rows = np.flatnonzero(lengths == length)
        yield from (rows[i : i + _BATCH] for i in range(0, len(rows), _BATCH))
