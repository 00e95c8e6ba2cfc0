"""Measure the share of promised value that comes true in lists shown in random order.

Two views of it. Between lists: does a list that is promised more bring more? Within lists: does an item that is
promised more than the others of its list, where it stands, bring more? A log without lists that had no click, as
Expedia's is, has nothing to say about the first.

Axis letters: n lists, L places of the horizon.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from models.contract.arrays import Bools, Floats
from models.evaluation.randomised.estimators import Estimate, Resampled, Totals

_PAIRS: Final = ("pp", "py", "aa", "ac", "cc", "ay", "cy")
"""Products of what is promised (p), that without list context (a), the difference (c) and what came true (y)."""


def within_products(predicted: Floats, alone: Floats, realised: Floats, there: Bools) -> Floats:
    """Sum products of centred values over the places of each list, [n, products], from values [n, L].

    Each is centred by its mean over the places that are `there`, bool [n, L].
    """
    p, a, y = (_centred(values, there) for values in (predicted, alone, realised))
    columns = {"p": p, "a": a, "c": p - a, "y": y}
    return np.stack([(columns[m] * columns[n]).sum(axis=1) for m, n in _PAIRS], axis=1)


def calibration(
    predicted: Floats, alone: Floats, realised: Floats, within: Floats, *, seed: int
) -> dict[str, Any] | None:
    """Compare values [n] of n lists and `within_products` of their items; intervals are over lists.

    `alone` is what is promised without what the list context adds. ``ratio`` is realised over predicted in total.
    ``slope`` is that of realised on predicted value between lists (1: as promised; 0: the differences that the model
    sees are none), ``context_slope`` that on what the context adds, beside `alone`; ``within_slope`` and
    ``within_context_slope`` are the same between the items of a list. None where nothing happened; a slope is None
    where all that is promised is alike.
    """
    if not realised.any():
        return None
    # Sums of centred values and of their products are all that slopes are made of.
    p, a, y = (values - values.mean() for values in (predicted, alone, realised))
    values = {"p": p, "a": a, "c": p - a, "y": y}
    columns = {"1": np.ones_like(y), "predicted": predicted, "realised": realised, **values}
    columns |= {pair: values[pair[0]] * values[pair[1]] for pair in _PAIRS}
    columns |= {f"within {pair}": products for pair, products in zip(_PAIRS, within.T, strict=True)}
    resampled = Resampled(columns, seed=seed)

    def interval(estimate: Estimate, spread: float, least: float) -> dict[str, Any] | None:
        return asdict(resampled.interval(estimate)) if spread > least else None

    # A slope on values that are all alike is not defined.
    between, inside = (float((p**2).sum()), float(within[:, 0].sum()))
    added, added_inside = float(((p - a) ** 2).sum()), float(within[:, _PAIRS.index("cc")].sum())
    tiny = 1e-12
    return {
        "ratio": asdict(resampled.interval(lambda t: t["realised"] / t["predicted"])),
        "slope": interval(lambda t: _covariance(t, "py") / _covariance(t, "pp"), between, tiny),
        "context_slope": interval(lambda t: _second(t, _covariance), added, tiny * between),
        "within_slope": interval(lambda t: _within(t, "py") / _within(t, "pp"), inside, tiny),
        "within_context_slope": interval(lambda t: _second(t, _within), added_inside, tiny * inside),
    }


def _centred(values: Floats, there: Bools) -> Floats:
    mean = (values * there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    centred: Floats = (values - mean[:, None]) * there
    return centred


def _covariance(t: Totals, pair: str) -> Any:
    """Compute the covariance of two columns over lists, times their number."""
    return t[pair] - t[pair[0]] * t[pair[1]] / t["1"]


def _within(t: Totals, pair: str) -> Any:
    return t[f"within {pair}"]


def _second(t: Totals, product: Callable[[Totals, str], Any]) -> Any:
    """Compute the slope of the outcomes on the context's addition, beside the promise alone."""
    aa, ac, cc, ay, cy = (product(t, pair) for pair in ("aa", "ac", "cc", "ay", "cy"))
    return (aa * cy - ac * ay) / (aa * cc - ac**2)
