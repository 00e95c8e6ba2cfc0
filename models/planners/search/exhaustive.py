"""Find the best of all n! / (n − m)! lists: a ceiling for small cases."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import permutations
from math import perm
from typing import Final

import numpy as np

from models.contract.arrays import Floats, Ints
from models.planners.references.sort_gen import Preferences

ListValues = Callable[[Ints], Floats]
"""``values(lists [k, m])``: what each list is worth, [k, 3] in raw units."""

MOST_LISTS: Final = 5_000_000
"""More are refused: they would take gigabytes."""


@lru_cache(maxsize=8)
def all_lists(n: int, m: int) -> Ints:
    """List every ordered choice of m out of n candidates, [n! / (n − m)!, m]. Read-only.

    Raises `ValueError` where there are more than `MOST_LISTS`.
    """
    if perm(n, m) > MOST_LISTS:
        raise ValueError(f"{n} candidates have {perm(n, m):,} lists of {m}, and at most {MOST_LISTS:,} are compared")
    lists = np.array(list(permutations(range(n), m)), np.int64)
    lists.setflags(write=False)
    return lists


def best_list(values: ListValues, n: int, m: int, preferences: Preferences) -> Ints:
    """Find the list of highest value (SORT-Gen, eq. 1); the first one on ties."""
    lists = all_lists(n, m)
    best: Ints = lists[int(np.argmax(preferences.step_value(values(lists))))]
    return best
