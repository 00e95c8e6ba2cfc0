"""Choose the requests of a list file that sequences are mined for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from models.contract.spec import FeatureSpec
from models.data.lists import ListRecord, Split, read_splits


def chosen_records(data: Path, slates: int | None, valid_slates: int, seed: int) -> list[ListRecord]:
    """Draw training and validation requests, in the file's order; more extend fewer.

    Raises `ValueError` if there are none for training.
    """
    splits = read_splits(data)
    if not splits["train"]:
        raise ValueError(f"{data}: has no lists of split 'train'")
    wanted: dict[Split, int] = {"train": len(splits["train"]) if slates is None else slates, "valid": valid_slates}
    chosen = list[ListRecord]()
    for stream, (split, count) in enumerate(wanted.items()):
        order = np.random.default_rng([seed, stream]).permutation(len(splits[split]))
        chosen += [splits[split][row] for row in np.sort(order[:count]).tolist()]
    return chosen


def check_fields(spec: FeatureSpec, records: Sequence[ListRecord]) -> None:
    """Raise `ValueError` naming a field of the evaluator that no list has."""
    present = {
        "user": _names(r.user for r in records),
        "context": _names(r.context for r in records),
        "item": _names(c.features for r in records for c in r.candidates),
        "scores": _names(c.scores for r in records for c in r.candidates),
    }
    for group, names in present.items():
        for field in getattr(spec, group):
            if field.name not in names:
                raise ValueError(
                    f"the evaluator reads {group}.{field.name}, which no list has; was it trained on others?"
                )


def _names(tables: Iterable[Iterable[str]]) -> set[str]:
    return {name for table in tables for name in table}
