"""Small logs whose truth is known, and value models that know as much of it as a test wants.

An item right behind one of its own category loses `effect` of its click's logit; nothing else depends on the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import torch
from scipy.special import expit

from models.data.batches import encode_lists
from models.data.records import Candidate, ListRecord, Split
from models.judging.gate import HeldOut
from models.nets.context import COUNT_SCALE
from models.nets.value import ListValueModel, ValueConfig
from models.training.value_fit import new_model, start_from_rates
from tests.models.specs import fit_spec

SHOWN: Final = 4
CONFIG: Final = ValueConfig(
    dim=8, layers=1, heads=2, list_length=SHOWN, field_dim=2, dropout=0.0, context="linear", context_dim=4
)
Order = Literal["random", "scores", "truth"]


def shop_record(
    index: int, *, seed: int, effect: float = 0.0, order: Order = "random", noise: float = 0.0, split: Split = "train"
) -> ListRecord:
    """A list of four, shown in random order, by the scores, or by what the scores only know up to `noise`."""
    rng = np.random.default_rng([seed, index])
    true = rng.uniform(-2.0, 1.0, SHOWN)
    ctr, cvr = expit(true + noise * rng.normal(size=SHOWN)), rng.uniform(0.2, 0.8, SHOWN)
    category = rng.integers(2, size=SHOWN)
    shown = {"random": rng.permutation(SHOWN), "scores": np.argsort(-ctr), "truth": np.argsort(-true)}[order]
    repeats = np.concatenate([[False], category[shown][1:] == category[shown][:-1]])
    clicks = (rng.random(SHOWN) < expit(true[shown] - effect * repeats)).astype(int)
    purchases = clicks * (rng.random(SHOWN) < cvr[shown])
    return ListRecord(
        request_id=f"{split}-{seed}-{index}",
        candidates=tuple(
            Candidate(f"i{i}", {"ctr": float(ctr[i]), "cvr": float(cvr[i])}, 10.0, {"category": f"c{category[i]}"})
            for i in range(SHOWN)
        ),
        exposed=tuple(shown.tolist()),
        clicks=tuple(clicks.tolist()),
        purchases=tuple(purchases.tolist()),
        gmv=tuple((10.0 * purchases).tolist()),
        split=split,
    )


def shop_records(
    count: int,
    *,
    seed: int = 0,
    effect: float = 0.0,
    order: Order = "random",
    noise: float = 0.0,
    split: Split = "train",
) -> list[ListRecord]:
    """`count` lists of one log."""
    told = {"seed": seed, "effect": effect, "order": order, "noise": noise, "split": split}
    return [shop_record(i, **told) for i in range(count)]  # type: ignore[arg-type]


def believing(records: Sequence[ListRecord], believed: float) -> HeldOut:
    """A model whose correction is that a repeated category costs a click `believed` of its logit, and these lists."""
    spec = fit_spec(records)
    lists = encode_lists(records, spec, SHOWN)
    model = new_model(spec, CONFIG, lists, seed=0)
    start = start_from_rates(model, lists, listwise=0.5)
    believe(model, believed)
    return HeldOut.of(model.eval(), start, lists)


def believe(model: ListValueModel, believed: float, *, objective: int = 0) -> None:
    """Set the linear context part of a hazard; the only category's last kind of feature is the third."""
    linear = model.hazard_heads[objective].context
    assert isinstance(linear, torch.nn.Linear)
    with torch.no_grad():
        linear.weight[0, 2] = -believed / COUNT_SCALE
