"""Impressions cut into lists of six, each with six ads of the log that its user never saw.

It knows the log's arrays only, neither its files nor list records.

Axis letters: T lists, U users, n impressions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.contract.arrays import Bools, Ints
from models.datasets.taobao_log import Impressions

LENGTH: Final = 6


@dataclass(frozen=True, slots=True, eq=False)
class Sixes:
    """T lists, by user and time.

    `user` [T]; `start` [T] is the place of the list's first impression in the log and `ordinal` [T] its place among
    its user's; `following` [T] is how many lists of the user come after it; `shown` and `unseen` [T, 6] are ads,
    `clicks` [T, 6].
    """

    user: Ints
    start: Ints
    ordinal: Ints
    following: Ints
    shown: Ints
    clicks: Ints
    unseen: Ints

    @property
    def is_test(self) -> Bools:
        """The last list of each user."""
        last: Bools = self.following == 0
        return last


def cut_sixes(log: Impressions, *, seed: int) -> Sixes:
    """The lists of all users. Raises `ValueError` if there is none, or too few ads to draw unseen ones from."""
    sizes = log.sizes
    lists = sizes // LENGTH
    user = np.repeat(np.arange(len(sizes)), lists)
    if not len(user):
        raise ValueError(f"no user was shown {LENGTH} different ads")
    nth = np.arange(len(user)) - np.repeat(np.cumsum(lists) - lists, lists)
    ordinal = (sizes % LENGTH)[user] + LENGTH * nth
    start = (np.cumsum(sizes) - sizes)[user] + ordinal
    span = start[:, None] + np.arange(LENGTH)
    unseen = draw_unseen(log, user, seed=seed)
    return Sixes(user, start, ordinal, lists[user] - 1 - nth, log.ad[span], log.click[span], unseen)


def draw_unseen(log: Impressions, user: Ints, *, seed: int) -> Ints:
    """`LENGTH` different ads of the log for each of `user` [T], none of which that user ever saw, [T, 6].

    All are drawn at once, and again where one is seen or stands twice, until none is. Raises `ValueError` if a user has
    seen nearly all.
    """
    pool, ad = np.unique(log.ad, return_inverse=True)
    left = len(pool) - int(log.sizes.max())
    if left < LENGTH:
        raise ValueError(f"a user has seen all but {left} ads, so {LENGTH} unseen ones cannot be drawn")
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


def _repeated(rows: Ints) -> Bools:
    """Which values [T, 6] stand further left in their row as well."""
    columns = [(rows[:, :j] == rows[:, j : j + 1]).any(axis=1) for j in range(rows.shape[1])]
    return np.column_stack(columns)


def _contains(ordered: Ints, values: Ints) -> Bools:
    place = np.searchsorted(ordered, values).clip(max=len(ordered) - 1)
    found: Bools = ordered[place] == values
    return found
