"""Cut the logs of users into lists of six, the protocol of DeGRe's public table.

A user's entries, in order of time with ties as they stand in the file, are cut into sixes backward from the end; what
is left over at the beginning makes no list. The last six is test, the six before it valid, the rest train. The six
items of the entries are exposed; six that the user never met are candidates only. Candidates are shuffled, since
clicked ones would otherwise stand first.

Axis letters: T lists, U users, n log entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.contract.arrays import AnyFloats, Bools, Floats, Ints
from models.contract.scalars import Scalar
from models.data.records import Candidate, ListRecord, Split
from models.datasets.priors import FoldCounts, cross_fit, cross_fit_folds, smoothed_rate

LENGTH: Final = 6
_SPLITS: Final[tuple[Split, ...]] = ("test", "valid", "train")
"""The split by how many lists of the user follow; two or more make train."""

RequestParts = tuple[str, Mapping[str, Scalar], Mapping[str, Scalar]]
"""The request id, user and context of a list."""


@dataclass(frozen=True, slots=True, eq=False)
class Sixes:
    """Hold T lists, by user and time.

    `user` [T]; `start` [T] is the place of the list's first entry in the log and `ordinal` [T] its place among its
    user's; `following` [T] counts the user's lists that come after it; `shown` and `unseen` [T, 6] are items, `clicks`
    [T, 6].
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
        """Mark the last list of each user, [T]."""
        last: Bools = self.following == 0
        return last

    @property
    def candidates(self) -> Ints:
        """Put the items shown before the unseen ones, [T, 12]."""
        return np.hstack([self.shown, self.unseen])

    def prior_scores(
        self, users: Sequence[str], steady: AnyFloats, keys: Sequence[Ints], *, rate: float, strength: float, seed: int
    ) -> Floats:
        """Predict P(click) of the candidates, [T, 12], cross-fitted by the ids of `users`.

        The features are `steady` [T · 12, F] and, for each of `keys` [T, 12], the clicks on the same key in other
        folds (`smoothed_rate`).
        """
        clicks = np.hstack([self.clicks, np.zeros_like(self.unseen)]).ravel()
        shown = np.tile(np.arange(2 * LENGTH) < LENGTH, len(self.user))
        owners = [users[u] for u in self.user.tolist()]
        fold = np.repeat(cross_fit_folds(owners, self.is_test, seed=seed), 2 * LENGTH)
        ones_and_clicks = np.column_stack([np.ones(len(clicks)), clicks])
        counts = [FoldCounts(key.ravel(), fold, ones_and_clicks, counted=shown) for key in keys]

        def features(held_out: int | None) -> Floats:
            rates = [smoothed_rate(c.excluding(held_out), rate=rate, strength=strength) for c in counts]
            return np.column_stack([steady, *rates])

        return cross_fit(features, clicks, fold, seed=seed, learn=shown).reshape(-1, 2 * LENGTH)

    def records(
        self,
        scores: Floats,
        candidate: Callable[[int, float], Candidate],
        request: Callable[[int], RequestParts],
        *,
        seed: int,
    ) -> Iterator[ListRecord]:
        """Make list records, candidates shuffled with the seed.

        `scores` [T, 12] are those of `candidates`; `candidate` makes one from item and score, and `request` tells of
        list t.
        """
        items = self.candidates
        for t, following in enumerate(self.following.tolist()):
            order = np.random.default_rng([seed, 1, t]).permutation(items.shape[1])
            request_id, user, context = request(t)
            yield ListRecord(
                request_id=request_id,
                candidates=tuple(map(candidate, items[t, order].tolist(), scores[t, order].tolist())),
                exposed=tuple(np.argsort(order)[:LENGTH].tolist()),
                clicks=tuple(self.clicks[t].tolist()),
                user=user,
                context=context,
                split=_SPLITS[min(following, 2)],
            )


def cut_sixes(sizes: Ints, item: Ints, click: Ints, draw: Callable[[Ints], Ints]) -> Sixes:
    """Cut a log into sixes.

    The log runs by user and time: `sizes` [U] counts the entries of each user, `item` and `click` [n] are theirs.
    `draw` finds six unseen items [T, 6] for the users [T] of the lists.
    """
    lists = sizes // LENGTH
    user = np.repeat(np.arange(len(sizes)), lists)
    nth = np.arange(len(user)) - np.repeat(np.cumsum(lists) - lists, lists)
    ordinal = (sizes % LENGTH)[user] + LENGTH * nth
    start = (np.cumsum(sizes) - sizes)[user] + ordinal
    span = start[:, None] + np.arange(LENGTH)
    return Sixes(user, start, ordinal, lists[user] - 1 - nth, item[span], click[span], draw(user))
