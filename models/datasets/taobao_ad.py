"""Convert Taobao Ad (Tianchi data set 56) to lists of six (`sixes.py`).

Unseen ads are those that the log shows, but never to this user, drawn with the seed. The log has no purchases, and ads
have no attributes but ids and a price, so there are no embeddings.

A list cannot hold an ad twice, so an ad that a user saw several times counts at its first impression. A list's context
is the place on the site (``pid``) of its first impression. The prior ``ctr`` is P(click | shown), cross-fitted
(`taobao_prior.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from models.contract.arrays import Ints
from models.data.lists import Candidate
from models.datasets import taobao_log
from models.datasets.priors import DESCRIPTION
from models.datasets.sixes import LENGTH, RequestParts, cut_sixes
from models.datasets.source import ListSource
from models.datasets.taobao_log import ATTRIBUTES, LEVELS, Ads
from models.datasets.taobao_prior import prior_scores


def load(folder: Path, *, seed: int, users: int | None = None) -> ListSource:
    """Load the sixes of at most `users` users, drawn with the seed, as list records.

    None takes all users. Raises `TableError` for a missing file or a broken row, `ValueError` where there is too little
    to make lists of.
    """
    ads = taobao_log.read_ads(folder / "ad_feature.csv")
    profiles = taobao_log.read_profiles(folder / "user_profile.csv")
    log = taobao_log.read_impressions(folder / "raw_sample.csv", ads)
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
