"""Convert trivago click-outs (RecSys Challenge 2019) to list records.

The file has one row per hotel shown in a list that got a click-out. A click-out leaves for the booking site, so it is
this log's click; bookings, and with them purchases and GMV, are not recorded. Lists are split by user. How often others
clicked an item is counted over other users' lists only and never over the test fold's.

`position` orders the list and is no feature; `step` (how far into the session) is.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

import numpy as np

from models.contract.arrays import Floats, Ints
from models.datasets.embeddings import attribute_embeddings, describe_embedding
from models.datasets.impressions import FeatureColumns, Impressions, check_distinct, group_rows, rank_share, relative
from models.datasets.priors import CROSS_FIT_FOLDS, DESCRIPTION, TEST, FoldCounts, cross_fit
from models.datasets.source import ListSource
from models.datasets.splits import VALID_SHARE, check_fold, cross_fit_folds, fold_split
from models.datasets.table import Table, read_csv

_COLUMNS: Final = (
    "list_id", "user_id", "step", "platform", "city", "device", "current_filters", "position", "item_id", "price",
    "clickouts",
)  # fmt: skip
_EMBEDDED: Final = ("log_price", "price_in_list", "price_rank", "shown")
_PRIOR_CLICKS: Final = 1.0
_PRIOR_SHOWN: Final = 20.0
"""What an item that was never seen is taken to have had: one click-out in twenty showings, near the log's mean."""


def load(path: Path, *, fold: int, folds: int, seed: int) -> ListSource:
    """Load the lists as records; `fold` of `folds`, by user, is test. Raises `TableError`."""
    check_fold(fold, folds)
    log, users = read_impressions(path)
    splits = [fold_split(u, fold=fold, folds=folds, seed=seed) for u in users]
    is_test = np.array([s == "test" for s in splits])[log.request]
    inner = np.array(cross_fit_folds(users, folds=CROSS_FIT_FOLDS, seed=seed), np.int64)[log.request]
    groups = np.where(is_test, TEST, inner)
    # Neither scores, counts nor embeddings are fitted to test lists.
    popularity = _Popularity(log, groups)
    ctr = cross_fit(lambda k: _matrix(log, popularity.excluding(k)), log.clicks, groups, seed=seed)
    item = {**log.item, **popularity.excluding(None)}
    log = dataclasses.replace(log, item=item)
    numbers = {name: np.asarray(item[name], np.float64) for name in _EMBEDDED}
    embeddings = attribute_embeddings(numbers, {}, ~is_test)
    metadata = {
        "source": "trivago",
        "fold": fold,
        "folds": folds,
        "seed": seed,
        "split": f"fold {fold} of {folds} by hash of user_id is test; of the rest {VALID_SHARE:.0%} is valid",
        "price": "as shown, one night",
        "popularity": "counted over other cross-fitting folds of users and never over the test fold",
        "prior": f"{DESCRIPTION}; folds by user",
        "embedding": describe_embedding(_EMBEDDED, "the lists outside the test fold"),
    }
    return ListSource(log.records(splits, {"ctr": ctr}, embeddings), len(splits), metadata)


def read_impressions(path: Path) -> tuple[Impressions, list[str]]:
    """Read the lists of a file and each one's user. Raises `TableError`."""
    table = read_csv(path, _COLUMNS)
    order, starts = group_rows(table.key("list_id"), table.number("position", low=1, whole=True))
    check_distinct(table, order, starts, "item_id")
    price = table.number("price", low=0)[order]
    log_price: Floats = np.log(np.maximum(price, 1.0))
    first = order[starts[:-1]]
    item: dict[str, Floats] = {
        "log_price": _round(log_price),
        "price_in_list": _round(relative(log_price, starts)),
        "price_rank": _round(rank_share(price, starts)),
    }
    impressions = Impressions(
        request_ids=table.ordered("list_id", first),
        starts=starts,
        item_ids=table.ordered("item_id", order),
        price=price,
        clicks=(table.number("clickouts", low=0, whole=True)[order] > 0).astype(np.int64),
        context=_context(table, order),
        item=item,
    )
    return impressions, table.ordered("user_id", first)


def _context(table: Table, order: Ints) -> FeatureColumns:
    written, cities = table.text("current_filters"), table.text("city")
    filters = [written[i] for i in order.tolist()]
    return {
        "platform": table.ordered("platform", order),
        "device": table.ordered("device", order),
        "city": [cities[i] for i in order.tolist()],
        "step": table.number("step", low=0)[order],
        "filters": np.array([len(f.split("|")) if f else 0 for f in filters], np.float64),
        "sorted_by_price": np.array(["Sort by Price" in f.split("|") for f in filters], np.float64),
    }


class _Popularity:
    """Count showings and click-outs per item, over the lists of other folds."""

    def __init__(self, log: Impressions, groups: Ints) -> None:
        keys = np.unique(np.array(log.item_ids), return_inverse=True)[1].astype(np.int64)
        self._counts = FoldCounts(keys, groups, np.column_stack([np.ones(len(keys)), log.clicks]))

    def excluding(self, held_out: int | None) -> dict[str, Floats]:
        shown, clicked = self._counts.excluding(held_out).T
        rate = (clicked + _PRIOR_CLICKS) / (shown + _PRIOR_SHOWN)
        return {"shown": _round(np.log1p(shown)), "click_rate": _round(rate)}


def _matrix(log: Impressions, popularity: dict[str, Floats]) -> Floats:
    numeric = [c for part in (log.context, log.item) for c in part.values() if isinstance(c, np.ndarray)]
    return np.column_stack([*numeric, *popularity.values()])


def _round(values: Floats) -> Floats:
    rounded: Floats = np.round(values, 6)
    return rounded
