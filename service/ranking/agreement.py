"""Measure the agreement of two lists.

Items are any hashable values, no list holds one twice, and neither may be empty.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from models.contract.arrays import Ints


def kendall_tau(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Return Kendall's τ-b, −1…1, over all items that either list holds.

    An item that a list lacks is tied behind its last one. τ-b is the form with ties (M. G. Kendall, The treatment of
    ties in ranking problems, Biometrika 33, 1945): agreeing less opposed pairs, over the geometric mean of the pairs
    that each list sets in an order. Placing absent items behind the list is how top-k lists are compared by Fagin,
    Kumar and Sivakumar (SIAM J. Discrete Math. 17, 2003).

    1: the same list, also where one item leaves no pair; −1: the reverse. Two lists of n items without one in common
    have −2n/(3n − 1), since how one list sees two items that only the other holds is not known. Raises `ValueError` for
    an empty list.
    """
    if not first or not second:
        raise ValueError("an empty list agrees or disagrees with nothing")
    if list(first) == list(second):
        return 1.0
    union = list(dict.fromkeys((*first, *second)))
    one, other = _pairs(first, union), _pairs(second, union)
    ordered = math.sqrt(int((one * one).sum()) * int((other * other).sum()))
    return max(-1.0, min(1.0, int((one * other).sum()) / ordered))


def overlap(first: Sequence[Hashable], second: Sequence[Hashable], k: int) -> float:
    """Return the share 0…1 of the first `k` items that two lists share; k ≥ 1."""
    return len(set(first[:k]) & set(second[:k])) / k


def _pairs(items: Sequence[Hashable], union: Sequence[Hashable]) -> Ints:
    """Compare the places of all pairs of `union` [u, u]: ±1, or 0."""
    place = {item: i for i, item in enumerate(items)}
    places = np.array([place.get(item, len(items)) for item in union], np.int64)
    signs: Ints = np.sign(places[None, :] - places[:, None])
    return signs
