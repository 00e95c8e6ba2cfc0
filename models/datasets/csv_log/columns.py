"""Say which CSV column has which role, by the user's choice or by common names."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

ROLES: Final = (
    "request", "item", "position", "click", "purchase", "price", "gmv", "user", "session", "time", "split",
)  # fmt: skip
REQUIRED: Final = ("request", "item")

DEFAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "request": ("request", "request_id", "list_id", "query_id", "search_id"),
    "item": ("item", "item_id", "product_id"),
    "position": ("position",),
    "click": ("click", "clicked", "clicks"),
    "purchase": ("purchase", "purchased", "purchases"),
    "price": ("price",),
    "gmv": ("gmv",),
    "user": ("user", "user_id"),
    "session": ("session", "session_id"),
    "time": ("time", "timestamp"),
    "split": ("split",),
}
"""Columns of these names, in any case, take a role that was not given."""

_OUTCOMES: Final = ("request", "position", "click", "purchase", "gmv", "split")
"""Roles that can be no feature and no score: they name the list or tell its outcome."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Hold the fields that the user listed, by group: their names to CSV columns."""

    scores: Mapping[str, str] = field(default_factory=dict)
    item: Mapping[str, str] = field(default_factory=dict)
    user: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)

    def features(self) -> Iterator[tuple[str, str, str]]:
        """Yield group, name and column of every feature."""
        for group in ("item", "user", "context"):
            yield from ((group, name, column) for name, column in getattr(self, group).items())


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Hold the column of each role that the log has, and the fields."""

    roles: Mapping[str, str]
    fields: Fields

    @property
    def columns(self) -> tuple[str, ...]:
        """List every column that is read, once."""
        features = [column for _, _, column in self.fields.features()]
        return tuple(dict.fromkeys([*self.roles.values(), *self.fields.scores.values(), *features]))

    def ignored(self, header: Sequence[str]) -> list[str]:
        """List the columns of the header that are not read."""
        return [name for name in header if name not in self.columns]


def parse_pairs(option: str, text: str, *, bare: bool) -> dict[str, str]:
    """Read ``"name=column,…"``; a `bare` column is its own name.

    A pair with a comma in it stands in double quotes. Raises `ValueError` naming the option.
    """
    pairs: dict[str, str] = {}
    parts = next(csv.reader([text], skipinitialspace=True), [])
    for part in filter(None, map(str.strip, parts)):
        name, separator, column = (p.strip() for p in part.partition("="))
        if not name or (not separator and not bare):
            raise ValueError(f"{option}: must be name=column pairs with commas between them, not {part!r}")
        if name in pairs:
            raise ValueError(f"{option}: {name!r} is given twice")
        pairs[name] = column if separator else name
    return pairs


def map_columns(header: Sequence[str], given: Mapping[str, str], fields: Fields) -> ColumnMap:
    """Combine what was given with the defaults.

    A role that is given as "" has no column. Raises `ValueError` for a role that does not exist or is missing, two
    roles in one column, or an outcome that is listed as a feature or score.
    """
    for role in given:
        if role not in ROLES:
            raise ValueError(f"--map: there is no {role!r}; the keys are {', '.join(ROLES)}")
    roles = {role: given[role] if role in given else _default(role, header) for role in ROLES}
    named = {role: column for role, column in roles.items() if column}
    for role in REQUIRED:
        if role not in named:
            tried = ", ".join(DEFAULTS[role])
            raise ValueError(f"--map: name the column of {role}, as in --map {role}=COLUMN (there is no {tried})")
    owners: dict[str, str] = {}
    for role, column in named.items():
        if column in owners:
            raise ValueError(f"--map: {owners[column]} and {role} are both column {column!r}")
        owners[column] = role
    listed = [(f"--{group}-features", column, "feature") for group, _, column in fields.features()]
    for option, column, what in [*(("--scores", column, "score") for column in fields.scores.values()), *listed]:
        if owners.get(column) in _OUTCOMES:
            raise ValueError(f"{option}: column {column!r} is the {owners[column]} and can be no {what}")
    return ColumnMap(named, fields)


def _default(role: str, header: Sequence[str]) -> str:
    return next((name for alias in DEFAULTS[role] for name in header if name.lower() == alias), "")
