"""Compute the chances of a click and a purchase at every place of a list, in closed form.

The item at place j meets the *items* before it, and not their outcomes:

    P(click_j)          = decay_j · σ(relevance_j + κ·(complement·C_j − redundancy·R_j + click_anchoring·A_j))
    P(purchase_j|click) = σ(appeal_j + κ·(anchoring·A_j − substitution·R_j))

    R_j = 1 − Π_{k<j} (1 − w_jk·similarity_jk)               similar items before j, and those of its brand, saturate
    C_j = 1 − Π_{k<j} (1 − w_jk·[category of j follows that of k])   "a case after a phone", directed
    A_j = tanh(w-weighted mean log price before j − log price of j)  cheap looks cheaper after dear
    w_jk = memory^(j−k−1),  decay_j = exp(−decay·j)

Because outcomes do not depend on outcomes, expected clicks, purchases and GMV of any list are sums of products.

Axis letters: n lists, m places.
"""

from __future__ import annotations

import numpy as np

from models.contract.arrays import Floats, Ints
from models.datasets.simulator_config import SimulatorConfig


def list_chances(
    config: SimulatorConfig,
    lists: Ints,
    *,
    relevance: Floats,
    appeal: Floats,
    price: Floats,
    similarity: Floats,
    follows: Floats,
) -> tuple[Floats, Floats]:
    """Compute P(click) and P(purchase | click) at every place of lists [n, m], each [n, m].

    The other arrays run along the candidates that the lists index; similarity and follows are ``[later, earlier]``.
    """
    c, m = config, lists.shape[1]
    redundancy = _saturation(similarity, lists, c.memory)
    complement = _saturation(follows, lists, c.memory)
    anchor = _anchor(np.log(price)[lists], _memory(m, c.memory))
    context = c.complement * complement - c.redundancy * redundancy + c.click_anchoring * anchor
    click_logit = relevance[lists] + c.kappa * context
    buy_logit = appeal[lists] + c.kappa * (c.anchoring * anchor - c.substitution * redundancy)
    return np.exp(-c.decay * np.arange(m)) * sigmoid(click_logit), sigmoid(buy_logit)


def check_lists(lists: Ints, n: int) -> None:
    """Raise `ValueError` unless lists [n, m] are integers that name candidates below `n`, each once."""
    if lists.ndim != 2 or not np.issubdtype(lists.dtype, np.integer):
        raise ValueError(f"lists must be integers [n, m], not {lists.dtype} of shape {lists.shape}")
    if lists.size and (lists.min() < 0 or lists.max() >= n):
        raise ValueError(f"lists must hold candidate indices between 0 and {n - 1}")
    ordered = np.sort(lists, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise ValueError("a list holds a candidate twice")


def sigmoid(logits: Floats) -> Floats:
    """Compute 1 / (1 + exp(−x)), without SciPy, which the demo does not have."""
    probability: Floats = 1 / (1 + np.exp(-np.maximum(logits, -700.0)))  # Below, the exponential overflows.
    return probability


def _saturation(effect: Floats, lists: Ints, memory: float) -> Floats:
    """Compute 1 − Π_{k<j} (1 − memory^(j−k−1)·effect_jk) at every place j of lists [n, m].

    Each pass takes all pairs at one distance, places first, so that the pairs of a pass lie side by side.
    """
    places = np.ascontiguousarray(lists.T)
    left = np.ones(places.shape)
    row, flat = places * effect.shape[1], np.ascontiguousarray(effect).reshape(-1)
    for gap in range(1, len(places)):
        met = flat.take(row[gap:] + places[:-gap])
        met *= -(memory ** (gap - 1))
        met += 1.0
        left[gap:] *= met
    return np.subtract(1.0, left, out=left).T


def _memory(m: int, memory: float) -> Floats:
    """Weigh position k as seen from position j, [m, m]: ``memory^(j-k-1)`` for k < j, else 0."""
    gap = np.arange(m)[:, None] - np.arange(m)[None, :]
    weights: Floats = np.where(gap > 0, memory ** np.maximum(gap - 1, 0).astype(np.float64), 0.0)
    return weights


def _anchor(log_price: Floats, weight: Floats) -> Floats:
    """Compute each item's price advantage over those before it, in (-1, 1), [n, m]; 0 first."""
    total = weight.sum(axis=1)
    reference = log_price @ weight.T / np.where(total > 0, total, 1.0)
    return np.where(total > 0, np.tanh(reference - log_price), 0.0)
