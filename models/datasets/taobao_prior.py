"""Predict the prior scores of Taobao Ad: P(click | shown).

The features are the user's earlier impressions and other users' clicks. A score never depends on a label of its own
list, nor of a test list.

Axis letters: T lists, U users, n impressions, r rows: the candidates of all lists.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.contract.arrays import Floats, Ints
from models.datasets.priors import FoldCounts, cross_fit
from models.datasets.sixes import Sixes
from models.datasets.taobao_log import ATTRIBUTES, LEVELS, AdImpressions, Ads

_COUNTED: Final = ("cate_id", "customer")
_ORDINAL: Final = ("final_gender_code", "age_level", "pvalue_level", "shopping_level", "new_user_class_level")
_SMOOTHING: Final = 20.0
_RATE: Final = 0.05
"""What click rates are drawn towards: about that of display ads. The log's own rate would hold each list's labels."""


def prior_scores(sixes: Sixes, log: AdImpressions, ads: Ads, levels: Ints, *, seed: int) -> Floats:
    """Predict P(click) of ads shown, then unseen, [T, 12]; `levels` [U, 8] are the users'."""
    ad = sixes.candidates
    labels, shown = sixes.labels()
    fold = sixes.folds([str(user) for user in log.users.tolist()], seed=seed)
    ones_and_clicks = np.column_stack([np.ones(len(labels)), labels])
    kinds = [np.arange(len(ads.ids)), *(_numbered(ads.attributes[:, ATTRIBUTES.index(name)]) for name in _COUNTED)]
    counts = [FoldCounts(kind[ad.ravel()], fold, ones_and_clicks, counted=shown) for kind in kinds]
    steady = _steady(sixes, log, ads, levels, ad)

    def features(held_out: int | None) -> Floats:
        found = [_smoothed(count.excluding(held_out)) for count in counts]
        return np.column_stack([steady, *found])

    return cross_fit(features, labels, fold, seed=seed, learn=shown).reshape(ad.shape)


def _steady(sixes: Sixes, log: AdImpressions, ads: Ads, levels: Ints, ad: Ints) -> Floats:
    """Compute the features that depend on no fold, [r, F].

    They are the user's past, all of it and in the ad's category, the profile and the price. A test list is its user's
    last, so no past holds one.
    """
    category = _numbered(ads.attributes[:, ATTRIBUTES.index("cate_id")])
    user = np.repeat(sixes.user, ad.shape[1])
    before = np.repeat(sixes.start, ad.shape[1])
    profile = levels[:, [LEVELS.index(name) for name in _ORDINAL]].astype(np.float64)
    profile[profile < 0] = np.nan
    everything = _past(log.user, log.click, user, before)
    alike = _past(
        log.user * (category.max() + 1) + category[log.ad],
        log.click,
        user * (category.max() + 1) + category[ad.ravel()],
        before,
    )
    price = np.log1p(ads.price[ad.ravel()])
    return np.column_stack([_smoothed(everything), _smoothed(alike), profile[user], price])


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


def _smoothed(counts: Floats) -> Floats:
    """Turn times seen and clicked [r, 2] into log(1 + seen) and a smoothed click rate."""
    seen, clicked = counts.T
    return np.column_stack([np.log1p(seen), (clicked + _SMOOTHING * _RATE) / (seen + _SMOOTHING)])


def _numbered(values: Ints) -> Ints:
    """Number the values from 0."""
    numbers: Ints = np.unique(values, return_inverse=True)[1]
    return numbers
