"""Convert Taobao Ad (Tianchi data set 56) to lists of six (`sixes.py`).

Unseen ads are those that the log shows, but never to this user, drawn with the seed. The log has no purchases, and ads
have no attributes but ids and a price, so there are no embeddings.

A list cannot hold an ad twice, so an ad that a user saw several times counts at its first impression. A list's context
is the place on the site (``pid``) of its first impression.

The prior ``ctr`` is P(click | shown), from the user's earlier impressions and other users' clicks. A score never
depends on a label of its own list, nor of a test list.

Axis letters: T lists, U users, n impressions, r rows: the candidates of all lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from models.contract.arrays import Floats, Ints
from models.data.records import Candidate
from models.datasets import taobao_log
from models.datasets.csv.form import CsvChoices
from models.datasets.priors import DESCRIPTION, smoothed_rate
from models.datasets.sixes import LENGTH, RequestParts, Sixes, cut_sixes
from models.datasets.source import ListSource
from models.datasets.taobao_log import ATTRIBUTES, LEVELS, AdImpressions, Ads

_COUNTED: Final = ("cate_id", "customer")
_ORDINAL: Final = ("final_gender_code", "age_level", "pvalue_level", "shopping_level", "new_user_class_level")
_SMOOTHING: Final = 20.0
_RATE: Final = 0.05
"""What click rates are drawn towards: about that of display ads. The log's own rate would hold each list's labels."""


def load(folder: Path, *, seed: int, users: int | None = None, form: CsvChoices | None = None) -> ListSource:
    """Load the sixes of at most `users` users, drawn with the seed, as list records.

    None takes all users. Raises `TableError` for a missing file or a broken row, `ValueError` where there is too little
    to make lists of.
    """
    ads = taobao_log.read_ads(folder / "ad_feature.csv", form)
    profiles = taobao_log.read_profiles(folder / "user_profile.csv", form)
    log = taobao_log.read_impressions(folder / "raw_sample.csv", ads, form)
    if users is not None:
        log = taobao_log.some_users(log, users, LENGTH, seed=seed)
    if log.sizes.max(initial=0) < LENGTH:
        raise ValueError(f"no user was shown {LENGTH} different ads")
    sixes = cut_sixes(log.sizes, log.ad, log.click, lambda user: taobao_log.draw_unseen(log, user, seed=seed))
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

    def request(t: int) -> RequestParts:
        name = str(log.users[sixes.user[t]])
        user = {"user": name, **_known(LEVELS, levels[sixes.user[t]])}
        return f"u{name}-{sixes.ordinal[t]}", user, {"pid": log.scenes[log.scene[sixes.start[t]]]}

    records = sixes.records(scores, partial(_candidate, ads), request, seed=seed)
    return ListSource(records, len(sixes.user), metadata)


def _candidate(ads: Ads, ad: int, score: float) -> Candidate:
    name = str(ads.ids[ad])
    features = {"adgroup_id": name, **_known(ATTRIBUTES, ads.attributes[ad])}
    return Candidate(name, {"ctr": score}, float(ads.price[ad]), features)


def _known(names: tuple[str, ...], values: Ints) -> Mapping[str, str]:
    """Write out the values that are not missing: ids and levels are categories."""
    return {name: str(value) for name, value in zip(names, values.tolist(), strict=True) if value >= 0}


def prior_scores(sixes: Sixes, log: AdImpressions, ads: Ads, levels: Ints, *, seed: int) -> Floats:
    """Predict P(click) of ads shown, then unseen, [T, 12]; `levels` [U, 8] are the users'."""
    ad = sixes.candidates
    keys = [ad, *(_numbered(ads, name)[ad] for name in _COUNTED)]
    steady = _steady(sixes, log, ads, levels)
    users = [str(user) for user in log.users.tolist()]
    return sixes.prior_scores(users, steady, keys, rate=_RATE, strength=_SMOOTHING, seed=seed)


def _steady(sixes: Sixes, log: AdImpressions, ads: Ads, levels: Ints) -> Floats:
    """Compute the features that depend on no fold, [r, F].

    They are the user's past, all of it and in the ad's category, the profile and the price. A test list is its user's
    last, so no past holds one.
    """
    ad, category = sixes.candidates.ravel(), _numbered(ads, "cate_id")
    user, before = (np.repeat(values, 2 * LENGTH) for values in (sixes.user, sixes.start))
    profile = levels[:, [LEVELS.index(name) for name in _ORDINAL]].astype(np.float64)
    profile[profile < 0] = np.nan
    categories = int(category.max()) + 1

    def in_category(user: Ints, ad: Ints) -> Ints:
        return user * categories + category[ad]

    everything = _past(log.user, log.click, user, before)
    alike = _past(in_category(log.user, log.ad), log.click, in_category(user, ad), before)
    rates = [smoothed_rate(counts, rate=_RATE, strength=_SMOOTHING) for counts in (everything, alike)]
    return np.column_stack([*rates, profile[user], np.log1p(ads.price[ad])])


def _numbered(ads: Ads, attribute: str) -> Ints:
    """Number the values of an attribute from 0, [A]."""
    numbers: Ints = np.unique(ads.attributes[:, ATTRIBUTES.index(attribute)], return_inverse=True)[1]
    return numbers


def _past(keys: Ints, click: Ints, key: Ints, before: Ints) -> Floats:
    """Count earlier impressions with the same key, and their clicks, [r, 2].

    Earlier means before the place `before` [r] in the log; `key` [r] is the one to match. `keys` and `click` [n] run
    along the log. Sorting by key keeps places in order, so that a binary search counts them. The whole log's products
    of key and place stay below 2^59.
    """
    order = np.argsort(keys, kind="stable")
    places = keys[order] * len(keys) + order
    clicks = np.concatenate([[0], np.cumsum(click[order])])
    first, last = np.searchsorted(places, key * len(keys)), np.searchsorted(places, key * len(keys) + before)
    return np.column_stack([last - first, clicks[last] - clicks[first]]).astype(np.float64)
