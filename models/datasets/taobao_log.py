"""Read the files of Taobao Ad (Tianchi data set 56): ads, profiles and impressions.

Axis letters: A ads, P profiles, U users, n impressions, T lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from models.contract.arrays import Bools, Floats, Ints
from models.datasets.csv.form import CsvChoices
from models.datasets.sixes import LENGTH
from models.datasets.table import ColumnKind, read_columns

ATTRIBUTES: Final = ("cate_id", "campaign_id", "customer", "brand")
LEVELS: Final = (
    "cms_segid", "cms_group_id", "final_gender_code", "age_level", "pvalue_level", "shopping_level", "occupation",
    "new_user_class_level",
)  # fmt: skip
_OPTIONAL: Final = ("brand", *LEVELS)


@dataclass(frozen=True, slots=True, eq=False)
class Ads:
    """Hold `ids` [A], `attributes` [A, 4] in the order of `ATTRIBUTES`, −1 where missing, `price` [A]."""

    ids: Ints
    attributes: Ints
    price: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Profiles:
    """Hold `ids` [P], rising, and `levels` [P, 8] in the order of `LEVELS`, −1 where missing."""

    ids: Ints
    levels: Ints

    def of(self, users: Ints) -> Ints:
        """Look up the levels [U, 8] of `users` [U], all −1 without a profile."""
        place = np.searchsorted(self.ids, users).clip(max=len(self.ids) - 1)
        return np.where((self.ids[place] == users)[:, None], self.levels[place], -1)


@dataclass(frozen=True, slots=True, eq=False)
class AdImpressions:
    """Hold each user's first impression of each ad, by user and time.

    `users` [U] are ids, rising; `user`, `ad` (a place in `Ads`), `click` and `scene` [n]; `scenes` are the texts of
    ``pid`` that `scene` numbers.
    """

    users: Ints
    user: Ints
    ad: Ints
    click: Ints
    scene: Ints
    scenes: list[str]

    @property
    def sizes(self) -> Ints:
        """Count the impressions of each user, [U]."""
        return np.bincount(self.user, minlength=len(self.users))

    def of_users(self, chosen: Ints) -> AdImpressions:
        """Keep the impressions of the users at the places `chosen`, numbered anew."""
        kept = np.zeros(len(self.users), bool)
        kept[chosen] = True
        rows = kept[self.user]
        number = np.cumsum(kept) - 1
        user, ad, click, scene = (values[rows] for values in (self.user, self.ad, self.click, self.scene))
        return AdImpressions(self.users[kept], number[user], ad, click, scene, self.scenes)


def read_ads(path: Path, form: CsvChoices | None = None) -> Ads:
    """Read ``ad_feature.csv``. Raises `TableError`."""
    table = read_columns(path, {**_integers("adgroup_id", *ATTRIBUTES), "price": "number"}, form)
    return Ads(table.ids("adgroup_id"), np.column_stack([table[name] for name in ATTRIBUTES]), table["price"])


def read_profiles(path: Path, form: CsvChoices | None = None) -> Profiles:
    """Read ``user_profile.csv``. Raises `TableError`."""
    table = read_columns(path, _integers("userid", *LEVELS), form)
    order = np.argsort(table.ids("userid"))
    return Profiles(table["userid"][order], np.column_stack([table[name] for name in LEVELS])[order])


def read_impressions(path: Path, ads: Ads, form: CsvChoices | None = None) -> AdImpressions:
    """Read ``raw_sample.csv``. Raises `TableError`."""
    names = _integers("user", "time_stamp", "adgroup_id", "nonclk", "clk")
    table = read_columns(path, {**names, "pid": "text"}, form)
    table.refuse("clk", table["clk"] > 1, "must be 0 or 1")
    table.refuse("nonclk", table["nonclk"] != 1 - table["clk"], "must be 1 less clk")
    order = np.argsort(ads.ids)
    ad = order[np.searchsorted(ads.ids, table["adgroup_id"], sorter=order).clip(max=len(order) - 1)]
    table.refuse("adgroup_id", ads.ids[ad] != table["adgroup_id"], "is not in ad_feature.csv")
    users, user = np.unique(table["user"], return_inverse=True)
    in_time = np.lexsort((table["time_stamp"], user))  # Stable, so ties keep the file's order.
    pairs = user[in_time] * len(ads.ids) + ad[in_time]
    rows = in_time[np.sort(np.unique(pairs, return_index=True)[1])]
    return AdImpressions(users, user[rows], ad[rows], table["clk"][rows], table["pid"][rows], table.words["pid"])


def some_users(log: AdImpressions, count: int, least: int, *, seed: int) -> AdImpressions:
    """Draw at most `count` users with at least `least` impressions. Raises `ValueError`."""
    if count < 1:
        raise ValueError(f"--users must be at least 1, not {count}")
    able = np.flatnonzero(log.sizes >= least)
    drawn = np.random.default_rng([seed, 2]).choice(able, min(count, len(able)), replace=False)
    return log.of_users(drawn)


def draw_unseen(log: AdImpressions, user: Ints, *, seed: int) -> Ints:
    """Draw `LENGTH` ads per list that its user [T] never saw, [T, 6].

    All are drawn at once, and again where one was seen or stands twice, until none is. Raises `ValueError` if a user
    has seen nearly all.
    """
    pool, ad = np.unique(log.ad, return_inverse=True)
    left = len(pool) - int(log.sizes.max())
    if left < LENGTH:
        raise ValueError(f"a user has seen all but {left} ads, so {LENGTH} unseen ones cannot be drawn")
    # One code per pair of user and ad, so that a binary search finds the pairs seen.
    seen = np.sort(log.user * len(pool) + ad)
    rng = np.random.default_rng([seed, 0])
    drawn = rng.integers(len(pool), size=(len(user), LENGTH))
    pending = np.arange(len(user))
    while len(pending):
        rows = drawn[pending]
        wrong = _repeated(rows) | _contains(seen, user[pending, None] * len(pool) + rows)
        rows[wrong] = rng.integers(len(pool), size=int(wrong.sum()))
        drawn[pending] = rows
        pending = pending[wrong.any(axis=1)]
    return pool[drawn]


def _integers(*names: str) -> dict[str, ColumnKind]:
    return {name: "optional integer" if name in _OPTIONAL else "integer" for name in names}


def _repeated(rows: Ints) -> Bools:
    """Mark the values [T, 6] that stand further left in their row as well."""
    columns = [(rows[:, :j] == rows[:, j : j + 1]).any(axis=1) for j in range(rows.shape[1])]
    return np.column_stack(columns)


def _contains(ordered: Ints, values: Ints) -> Bools:
    place = np.searchsorted(ordered, values).clip(max=len(ordered) - 1)
    found: Bools = ordered[place] == values
    return found
