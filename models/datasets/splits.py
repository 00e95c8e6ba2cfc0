"""Split by the hash of a key, such as a user or a search.

All rows of one key stand on the same side. The same key, seed and count give the same bucket on every machine.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from models.data.records import Split

VALID_SHARE: Final = 0.12
"""The share of what is not test that is held out for early stopping."""

_RESOLUTION: Final = 2**32


def bucket(key: str, count: int, *, seed: int, purpose: str = "") -> int:
    """Hash `key` into one of `count` buckets. Different purposes (test fold, validation, …) are independent draws."""
    if count < 1:
        raise ValueError(f"the number of buckets must be at least 1, not {count}")
    digest = blake2b(f"{seed}\0{purpose}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count


def share_split(key: str, *, seed: int, valid: float = 0.1, test: float = 0.1) -> Split:
    """Split `key` by shares; the rest beside valid and test is train."""
    if min(valid, test) < 0 or valid + test >= 1:
        raise ValueError(f"the shares of valid ({valid}) and test ({test}) must leave something for train")
    place = bucket(key, _RESOLUTION, seed=seed, purpose="share") / _RESOLUTION
    if place < test:
        return "test"
    return "valid" if place < test + valid else "train"


def fold_split(key: str, *, fold: int, folds: int, seed: int) -> Split:
    """Split `key` by disjoint folds: `fold` is test, a share of the rest valid."""
    check_fold(fold, folds)
    if bucket(key, folds, seed=seed, purpose="fold") == fold:
        return "test"
    place = bucket(key, _RESOLUTION, seed=seed, purpose="valid") / _RESOLUTION
    return "valid" if place < VALID_SHARE else "train"


def check_fold(fold: int, folds: int) -> None:
    """Raise `ValueError` unless ``0 <= fold < folds`` and there are at least two folds."""
    if folds < 2:
        raise ValueError(f"--folds must be at least 2, not {folds}")
    if not 0 <= fold < folds:
        raise ValueError(f"--fold must be between 0 and {folds - 1}, not {fold}")
