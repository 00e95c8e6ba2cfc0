"""Convert trivago click-outs (RecSys Challenge 2019) to list records.

The file has one row per hotel shown in a list that got a click-out. A click-out leaves for the booking site, so it is
this log's click; bookings, and with them purchases and GMV, are not recorded. Lists are split by user. How often others
clicked an item is counted over other users' lists only and never over the test fold's.

`position` orders the list and is no feature; `step` (how far into the session) is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from models.contract.arrays import Ints
from models.datasets.csv.form import CsvChoices
from models.datasets.embeddings import attribute_embeddings, describe_embedding
from models.datasets.impressions import FeatureColumns, Impressions, check_distinct, group_rows, rank_share, relative
from models.datasets.priors import DESCRIPTION, TEST, FoldCounts, cross_fit, cross_fit_folds, smoothed_rate
from models.datasets.source import ListSource
from models.datasets.splits import VALID_SHARE, check_fold, fold_split
from models.datasets.table import Table, read_csv

_COLUMNS: Final = (
    "list_id", "user_id", "step", "platform", "city", "device", "current_filters", "position", "item_id", "price",
    "clickouts",
)  # fmt: skip
_EMBEDDED: Final = ("log_price", "price_in_list", "price_rank", "shown")
_PRIOR_SHOWN: Final = 20.0
_PRIOR_RATE: Final = 1 / 20
"""What an item that was never seen is taken to have had: one click-out in twenty showings, near the log's mean."""


def load(path: Path, *, fold: int, folds: int, seed: int, form: CsvChoices | None = None) -> ListSource:
    """Load the lists as records; `fold` of `folds`, by user, is test. Raises `TableError`."""
    check_fold(fold, folds)
    log, users = read_impressions(path, form)
    splits = [fold_split(u, fold=fold, folds=folds, seed=seed) for u in users]
    groups = log.along_rows(cross_fit_folds(users, [s == "test" for s in splits], seed=seed))
    # Neither scores, counts nor embeddings are fitted to test lists.
    with_popularity = _popularity(log, groups)
    ctr = cross_fit(lambda k: with_popularity(k).numbers(), log.clicks, groups, seed=seed)
    log = with_popularity(None)
    numbers = {name: np.asarray(log.item[name], np.float64) for name in _EMBEDDED}
    embeddings = attribute_embeddings(numbers, {}, groups != TEST)
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


def read_impressions(path: Path, form: CsvChoices | None = None) -> tuple[Impressions, list[str]]:
    """Read the lists of a file and each one's user. Raises `TableError`."""
    table = read_csv(path, _COLUMNS, form)
    order, starts = group_rows(table.codes("list_id"), table.number("position", low=1, whole=True))
    check_distinct(table, order, starts, "item_id")
    price = table.number("price", low=0)[order]
    log_price = np.log(np.maximum(price, 1.0))
    first = order[starts[:-1]]
    item = {
        "log_price": log_price.round(6),
        "price_in_list": relative(log_price, starts).round(6),
        "price_rank": rank_share(price, starts).round(6),
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


def _popularity(log: Impressions, groups: Ints) -> Callable[[int | None], Impressions]:
    """Add counts of showings and click-outs in other folds to the items."""
    keys = np.unique(np.array(log.item_ids), return_inverse=True)[1].astype(np.int64)
    counts = FoldCounts(keys, groups, np.column_stack([np.ones(len(keys)), log.clicks]))

    def excluding(held_out: int | None) -> Impressions:
        rates = smoothed_rate(counts.excluding(held_out), rate=_PRIOR_RATE, strength=_PRIOR_SHOWN)
        popularity = dict(zip(("shown", "click_rate"), rates.round(6).T, strict=True))
        return dataclasses.replace(log, item={**log.item, **popularity})

    return excluding
