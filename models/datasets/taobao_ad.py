"""Taobao Ad (Tianchi data set 56: `raw_sample.csv`, `ad_feature.csv`, `user_profile.csv`) as lists of six.

The protocol is that of `movielens.py`. A user's impressions, in order of time with ties as they stand in the file, are
cut into sixes backward from the end; what is left over at the beginning makes no list. The last six is test, the six
before it valid, the rest train. The six ads shown are exposed; six that the log shows, but never to this user, drawn
with the seed, are candidates only. Candidates are shuffled. The log has no purchases, and ads have no attributes but
ids and a price, so there are no embeddings.

A list cannot hold an ad twice, so an ad that a user saw several times counts at its first impression. A list's context
is the place on the site (``pid``) of its first impression. The prior ``ctr`` is P(click | shown), cross-fitted
(`taobao_prior.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from models.contract.arrays import Floats, Ints
from models.data.lists import Candidate, ListRecord, Split
from models.datasets.priors import DESCRIPTION
from models.datasets.source import ListSource
from models.datasets.taobao_log import (
    ATTRIBUTES,
    LEVELS,
    Ads,
    Impressions,
    read_ads,
    read_impressions,
    read_profiles,
    some_users,
)
from models.datasets.taobao_prior import prior_scores
from models.datasets.taobao_sixes import LENGTH, Sixes, cut_sixes

_SPLITS: Final[tuple[Split, ...]] = ("test", "valid", "train")
"""By how many lists of the user follow; two or more make train."""


def load(folder: Path, *, seed: int, users: int | None = None) -> ListSource:
    """The sixes as list records, of at most `users` users drawn with the seed; None takes all.

    Raises `TableError` for a missing file or a broken row, `ValueError` where there is too little to make lists of.
    """
    ads = read_ads(folder / "ad_feature.csv")
    profiles = read_profiles(folder / "user_profile.csv")
    log = read_impressions(folder / "raw_sample.csv", ads)
    if users is not None:
        log = some_users(log, users, LENGTH, seed=seed)
    sixes = cut_sixes(log, seed=seed)
    levels = profiles.of(log.users)
    scores = prior_scores(sixes, log, ads, levels, seed=seed)
    metadata = {
        "source": "taobao-ad",
        "seed": seed,
        "users": users,
        "split": "per user: the last six is test, the six before it valid, the rest train",
        "candidates": f"{LENGTH} shown (exposed) and {LENGTH} that the user never saw (unlabelled), shuffled",
        "repeats": "an ad that a user saw several times counts at its first impression",
        "prior": f"{DESCRIPTION}; folds by user; P(click | shown) from earlier impressions and other users' clicks",
    }
    return ListSource(_records(sixes, log, ads, levels, scores, seed=seed), len(sixes.user), metadata)


def _records(
    sixes: Sixes, log: Impressions, ads: Ads, levels: Ints, scores: Floats, *, seed: int
) -> Iterator[ListRecord]:
    every_ad = np.hstack([sixes.shown, sixes.unseen])
    for t, (user, following) in enumerate(zip(sixes.user.tolist(), sixes.following.tolist(), strict=True)):
        shuffle = np.random.default_rng([seed, 1, t]).permutation(every_ad.shape[1])
        name = str(log.users[user])
        yield ListRecord(
            request_id=f"u{name}-{int(sixes.ordinal[t])}",
            candidates=tuple(
                _candidate(ads, ad, score)
                for ad, score in zip(every_ad[t, shuffle].tolist(), scores[t, shuffle].tolist(), strict=True)
            ),
            exposed=tuple(np.argsort(shuffle)[:LENGTH].tolist()),
            clicks=tuple(sixes.clicks[t].tolist()),
            user={"user": name, **_known(LEVELS, levels[user])},
            context={"pid": log.scenes[int(log.scene[sixes.start[t]])]},
            split=_SPLITS[min(following, 2)],
        )


def _candidate(ads: Ads, ad: int, score: float) -> Candidate:
    name = str(ads.ids[ad])
    features = {"adgroup_id": name, **_known(ATTRIBUTES, ads.attributes[ad])}
    return Candidate(name, {"ctr": score}, float(ads.price[ad]), features)


def _known(names: tuple[str, ...], values: Ints) -> Mapping[str, str]:
    """The values that are not missing, as text: ids and levels are categories."""
    return {name: str(value) for name, value in zip(names, values.tolist(), strict=True) if value >= 0}
