"""Convert Expedia hotel searches (Kaggle, ICDM 2013) to list records.

`price_usd` is the price of one night and one room: among booked rows the median of ``gross_bookings_usd / (price_usd ·
nights · rooms)`` is about 1.14 in every country with enough bookings (taxes and fees). So no country quotes whole
stays, although the competition's notes say that some might. The candidate's price is the stay, ``price_usd · nights ·
rooms``, and so is the GMV of a booked row, which keeps GMV in the unit that the planner sums; ``gmv="gross"`` takes
`gross_bookings_usd` instead (noisier: single rows are off by 0.1 to 40 times). Nightly prices above `MAX_NIGHTLY` are
data errors in the full file and are cut to it.

`position` orders the list and `random_bool` goes to the metadata; neither is a feature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np

from models.contract.arrays import Floats, Ints
from models.data.records import Split
from models.datasets.csv.form import CsvChoices
from models.datasets.embeddings import attribute_embeddings, describe_embedding
from models.datasets.impressions import FeatureColumns, Impressions, check_distinct, group_rows, rank_share, relative
from models.datasets.priors import DESCRIPTION, TEST, conditional, cross_fit, cross_fit_folds
from models.datasets.source import ListSource
from models.datasets.splits import VALID_SHARE, check_fold, fold_split, share_split
from models.datasets.table import Table, read_csv

Gmv = Literal["stay", "gross"]
MAX_NIGHTLY: Final = 5000.0

_COMPETITORS: Final = range(1, 9)
_COMPARED: Final = ("rate", "inv", "rate_percent_diff")
_COLUMNS: Final = (
    "srch_id", "date_time", "site_id", "visitor_location_country_id", "visitor_hist_starrating", "visitor_hist_adr_usd",
    "prop_country_id", "prop_id", "prop_starrating", "prop_review_score", "prop_brand_bool", "prop_location_score1",
    "prop_location_score2", "prop_log_historical_price", "position", "price_usd", "promotion_flag",
    "srch_destination_id", "srch_length_of_stay", "srch_booking_window", "srch_adults_count", "srch_children_count",
    "srch_room_count", "srch_saturday_night_bool", "srch_query_affinity_score", "orig_destination_distance",
    "random_bool", "click_bool", "booking_bool", "gross_bookings_usd",
    *(f"comp{i}_{part}" for i in _COMPETITORS for part in _COMPARED),
)  # fmt: skip
_USER: Final = {"past_stars": "visitor_hist_starrating", "past_nightly_price": "visitor_hist_adr_usd"}
_CONTEXT: Final = {
    "nights": "srch_length_of_stay", "days_ahead": "srch_booking_window", "adults": "srch_adults_count",
    "children": "srch_children_count", "rooms": "srch_room_count", "saturday_night": "srch_saturday_night_bool",
}  # fmt: skip
_EMBEDDED: Final = (
    "nightly_price", "stars", "review", "brand", "location_1", "location_2", "historic_price", "promotion", "distance",
)  # fmt: skip


def read_impressions(
    path: Path, *, gmv: Gmv = "stay", form: CsvChoices | None = None
) -> tuple[Impressions, Ints, list[str]]:
    """Read searches, booked rows, and ids of searches in random order. Raises `TableError`."""
    table = read_csv(path, _COLUMNS, form)
    order, starts = group_rows(table.codes("srch_id"), table.number("position", low=1, whole=True))
    check_distinct(table, order, starts, "prop_id")
    nightly = np.minimum(table.number("price_usd", low=0), MAX_NIGHTLY)[order]
    nights = table.number("srch_length_of_stay", low=1, whole=True)[order]
    stay = np.round(nightly * nights * table.number("srch_room_count", low=1, whole=True)[order], 2)
    booked = table.flag("booking_bool")[order]
    gross = table.number("gross_bookings_usd", low=0, optional=True)[order]
    amount = stay if gmv == "stay" else np.where(np.isnan(gross), stay, gross)
    request_ids = table.ordered("srch_id", order[starts[:-1]])

    def numbers(columns: Mapping[str, str]) -> FeatureColumns:
        return {name: _number(table, order, column) for name, column in columns.items()}

    impressions = Impressions(
        request_ids=request_ids,
        starts=starts,
        item_ids=table.ordered("prop_id", order),
        price=stay,
        clicks=table.flag("click_bool")[order],
        purchases=booked,
        gmv=booked * amount,
        user={"visitor_country": table.ordered("visitor_location_country_id", order), **numbers(_USER)},
        context={
            "site": table.ordered("site_id", order),
            "destination": table.ordered("srch_destination_id", order),
            **numbers(_CONTEXT),
        },
        item=_item(table, order, starts, nightly),
    )
    random = table.flag("random_bool")[order[starts[:-1]]]
    return impressions, booked, [r for r, flag in zip(request_ids, random.tolist(), strict=True) if flag]


def load(
    path: Path,
    *,
    fold: int,
    folds: int,
    seed: int,
    gmv: Gmv = "stay",
    randomised_test: bool = False,
    form: CsvChoices | None = None,
) -> ListSource:
    """Load the searches as list records; fold `fold` of `folds` is test.

    With `randomised_test` the test lists are instead those shown in random order, so that models fitted to the others
    have only seen a ranker's lists (`listwright evaluate randomised`). Raises `TableError` for a broken row.
    """
    check_fold(fold, folds)
    log, booked, random = read_impressions(path, gmv=gmv, form=form)
    if randomised_test:
        splits = _random_order_is_test(log.request_ids, random, seed=seed)
        rule = f"lists shown in random order are test; of the rest {VALID_SHARE:.0%} is valid by hash of srch_id"
    else:
        splits = [fold_split(r, fold=fold, folds=folds, seed=seed) for r in log.request_ids]
        rule = f"fold {fold} of {folds} by hash of srch_id is test; of the rest {VALID_SHARE:.0%} is valid"
    # Neither scores nor embeddings are fitted to test lists.
    groups = log.along_rows(cross_fit_folds(log.request_ids, [s == "test" for s in splits], seed=seed))
    matrix = log.numbers()
    click, booking = (cross_fit(lambda _: matrix, labels, groups, seed=seed) for labels in (log.clicks, booked))
    scores = {"ctr": click, "cvr": conditional(booking, click)}
    numbers = {name: np.asarray(log.item[name], np.float64) for name in _EMBEDDED}
    countries = {"country": [str(c) for c in log.item["country"]]}
    embeddings = attribute_embeddings(numbers, countries, groups != TEST)
    metadata = {
        "source": "expedia",
        **({} if randomised_test else {"fold": fold, "folds": folds}),
        "seed": seed,
        "split": rule,
        "price": f"price_usd (cut at {MAX_NIGHTLY:g}) · nights · rooms",
        "gmv": "price of a booked row" if gmv == "stay" else "gross_bookings_usd",
        "prior": f"{DESCRIPTION}; cvr = P(booking) / P(click)",
        "embedding": describe_embedding([*_EMBEDDED, "country"], "the lists outside the test split"),
        "random_order": random,
    }
    return ListSource(log.records(splits, scores, embeddings), len(splits), metadata)


def _random_order_is_test(request_ids: Sequence[str], random: Sequence[str], *, seed: int) -> list[Split]:
    """Assign the split of each search: test if shown in random order.

    Raises `ValueError` where that leaves nothing to test on, or to learn from.
    """
    known = frozenset(random)
    if not 0 < len(known) < len(request_ids):
        raise ValueError(
            f"--randomised-test: {len(known)} of {len(request_ids)} searches are in random order (random_bool); "
            "there must be some, and others"
        )
    return ["test" if r in known else share_split(r, seed=seed, valid=VALID_SHARE, test=0.0) for r in request_ids]


def _item(table: Table, order: Ints, starts: Ints, nightly: Floats) -> FeatureColumns:
    number = partial(_number, table, order)
    log_price = np.log(np.maximum(nightly, 1.0))
    review, location = number("prop_review_score"), number("prop_location_score2")
    # The competition's notes: 0 stands for unknown in stars and historic price.
    stars, historic = (
        np.where(values > 0, values, np.nan)
        for values in (number("prop_starrating"), number("prop_log_historical_price"))
    )
    return {
        "country": table.ordered("prop_country_id", order),
        "nightly_price": nightly,
        "stars": stars,
        "review": review,
        "brand": number("prop_brand_bool"),
        "location_1": number("prop_location_score1"),
        "location_2": location,
        "historic_price": historic,
        "price_over_historic": log_price - historic,
        "promotion": number("promotion_flag"),
        "query_affinity": number("srch_query_affinity_score"),
        "distance": number("orig_destination_distance"),
        **_competitors(table, order),
        "price_in_list": relative(log_price, starts),
        "price_rank": rank_share(nightly, starts),
        "stars_in_list": relative(stars, starts),
        "review_in_list": relative(review, starts),
        "location_rank": rank_share(location, starts),
    }


def _competitors(table: Table, order: Ints) -> FeatureColumns:
    """Count competitors that are cheaper, dearer or sold out, and average their differences.

    There are eight; differences are in percent.
    """
    rate, sold_out, percent = (
        np.stack([_number(table, order, f"comp{i}_{part}") for i in _COMPETITORS]) for part in _COMPARED
    )
    signed = np.nan_to_num(np.clip(percent, 0.0, 100.0) * np.sign(rate))
    compared = (~np.isnan(rate)).sum(axis=0)
    return {
        "competitors": compared.astype(np.float64),
        "competitors_cheaper": (rate == -1).sum(axis=0).astype(np.float64),
        "competitors_dearer": (rate == 1).sum(axis=0).astype(np.float64),
        "competitors_sold_out": (sold_out == 1).sum(axis=0).astype(np.float64),
        "competitors_percent": np.round(signed.sum(axis=0) / np.maximum(compared, 1), 4),
    }


def _number(table: Table, order: Ints, name: str) -> Floats:
    return table.number(name, optional=True)[order]
