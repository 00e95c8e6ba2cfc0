"""Define the features that training and serving share: their fields and the encoding of each.

A `FeatureSpec` is frozen and has a canonical JSON form, whose SHA-256 is its *fingerprint*. A checkpoint, an
ONNX graph and a bundle all carry it, so a model can never be fed features that were encoded another way.

Standard library only; `features.py` turns records into arrays by it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, Literal, TypeVar, cast, get_args

OBJECTIVES: Final = ("click", "conversion", "gmv")
"""The business objectives, in the order of every array's last axis and of α, β, γ (SORT-Gen, eq. 1)."""

Transform = Literal["identity", "log1p", "logit"]
T = TypeVar("T")


class SpecError(ValueError):
    """Report a contract that is malformed or contradicts itself; the message names the key."""


@dataclass(frozen=True, slots=True)
class Category:
    """Define a field with a small closed vocabulary. Row 0 means unknown or missing."""

    kind: ClassVar[str] = "category"
    name: str
    vocabulary: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.vocabulary)) != len(self.vocabulary):
            raise SpecError(f"{self.name}.vocabulary: has repeated values")

    @property
    def rows(self) -> int:
        """Count the field's embedding rows: one per value and one for unknown."""
        return len(self.vocabulary) + 1


@dataclass(frozen=True, slots=True)
class Hashed:
    """Define an id-like field, hashed into buckets (CRC-32 of ``name=value``). Row 0 means missing."""

    kind: ClassVar[str] = "hashed"
    name: str
    buckets: int

    def __post_init__(self) -> None:
        if self.buckets < 1:
            raise SpecError(f"{self.name}.buckets: must be at least 1, not {self.buckets}")

    @property
    def rows(self) -> int:
        """Count the field's embedding rows: one per bucket and one for missing."""
        return self.buckets + 1


@dataclass(frozen=True, slots=True)
class Number:
    """Define a real number: transformed, standardised as ``(x - mean) / std``, clipped to ±`clip`.

    `default` is in the field's own unit and stands in for a missing value. `logit` is for probabilities.
    """

    kind: ClassVar[str] = "number"
    name: str
    mean: float = 0.0
    std: float = 1.0
    default: float = 0.0
    transform: Transform = "identity"
    clip: float = 8.0

    def __post_init__(self) -> None:
        for key in ("mean", "std", "default", "clip"):
            if not math.isfinite(getattr(self, key)):
                raise SpecError(f"{self.name}.{key}: must be finite")
        if self.std <= 0 or self.clip <= 0:
            raise SpecError(f"{self.name}: std and clip must be positive")
        if self.transform not in get_args(Transform):
            raise SpecError(f"{self.name}.transform: unknown transform {self.transform!r}")


Field = Category | Hashed | Number
Categorical = Category | Hashed
_GROUPS: Final = ("user", "context", "item", "scores")
_KINDS: Final[Mapping[str, type[Field]]] = {c.kind: c for c in (Category, Hashed, Number)}


@dataclass(frozen=True)
class FeatureSpec:
    """Group the fields of a request as the papers do (SORT-Gen §3.1.1; DeGRe §4.1).

    `scores` are the upstream ranker's estimates (``ctr``, ``cvr``, …). `price`, where there is one, is both a
    feature and the factor that turns a conversion into GMV.
    """

    user: tuple[Field, ...] = ()
    context: tuple[Field, ...] = ()
    item: tuple[Field, ...] = ()
    scores: tuple[Number, ...] = ()
    price: Number | None = None

    def __post_init__(self) -> None:
        for group in _GROUPS:
            names = [f.name for f in getattr(self, group)]
            if len(set(names)) != len(names):
                raise SpecError(f"{group}: has repeated field names")

    @cached_property
    def user_categoricals(self) -> tuple[Categorical, ...]:
        """List the columns of `user_ids`: the user's, then the context's."""
        return tuple(f for f in self.user + self.context if not isinstance(f, Number))

    @cached_property
    def user_numbers(self) -> tuple[Number, ...]:
        """List the columns of `user_numbers`: the user's, then the context's."""
        return tuple(f for f in self.user + self.context if isinstance(f, Number))

    @cached_property
    def item_categoricals(self) -> tuple[Categorical, ...]:
        """List the columns of `item_ids`."""
        return tuple(f for f in self.item if not isinstance(f, Number))

    @cached_property
    def item_numbers(self) -> tuple[Number, ...]:
        """List the columns of `item_numbers`: the item's own, then the price if any."""
        return self.own_item_numbers if self.price is None else (*self.own_item_numbers, self.price)

    @cached_property
    def own_item_numbers(self) -> tuple[Number, ...]:
        """List the item's own numbers, without the price."""
        return tuple(f for f in self.item if isinstance(f, Number))

    def to_json(self) -> dict[str, Any]:
        """Write the canonical form: plain JSON types, keys in declaration order."""
        groups = {group: [_field_to_json(f) for f in getattr(self, group)] for group in _GROUPS}
        return {**groups, "price": None if self.price is None else _field_to_json(self.price)}

    @classmethod
    def from_json(cls, data: object) -> FeatureSpec:
        """Read `to_json`'s form; raises `SpecError` naming a missing, unknown or wrongly typed key."""
        table = as_mapping(data, "spec")
        check_keys(table, {*_GROUPS, "price"}, "spec")
        groups = {g: _fields(table[g], f"spec.{g}") for g in _GROUPS}
        price = None if table["price"] is None else _field(table["price"], "spec.price")
        for where, field in [("scores", f) for f in groups["scores"]] + [("price", price)]:
            if field is not None and not isinstance(field, Number):
                raise SpecError(f"spec.{where}: {field.name} must be a number field")
        return cls(**cast(Any, groups), price=cast("Number | None", price))

    @cached_property
    def fingerprint(self) -> str:
        """Hash the canonical JSON: SHA-256, in hex."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


def _field_to_json(field: Field) -> dict[str, Any]:
    values = dataclasses.asdict(field)
    return {"kind": field.kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}


def _fields(data: object, where: str) -> tuple[Field, ...]:
    if not isinstance(data, list):
        raise SpecError(f"{where}: must be an array")
    return tuple(_field(f, f"{where}[{i}]") for i, f in enumerate(data))


def _field(data: object, where: str) -> Field:
    table = dict(as_mapping(data, where))
    kind = table.pop("kind", None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise SpecError(f"{where}.kind: must be one of {sorted(_KINDS)}, not {kind!r}")
    return record(_KINDS[kind], table, where)


# The four helpers below read JSON into frozen dataclasses strictly; `manifest.py` uses them too.


def as_mapping(data: object, where: str) -> Mapping[str, Any]:
    """Take `data` as a JSON object. Raises `SpecError` naming `where` if it is something else."""
    if not isinstance(data, Mapping):
        raise SpecError(f"{where}: must be an object")
    return data


def check_keys(table: Mapping[str, Any], names: set[str], where: str, optional: Sequence[str] = ()) -> None:
    """Raise `SpecError` naming the first key of `table` that is missing or unknown."""
    for key in sorted(names - set(optional) - set(table)):
        raise SpecError(f"{where}.{key}: is missing")
    for key in sorted(set(table) - names):
        raise SpecError(f"{where}.{key}: unknown key")


def record(cls: type[T], data: object, where: str) -> T:
    """Read a flat frozen dataclass from a JSON object; raises `SpecError` naming a wrong key."""
    table = as_mapping(data, where)
    fields = {f.name: f for f in dataclasses.fields(cast(Any, cls))}
    optional = [n for n, f in fields.items() if f.default is not dataclasses.MISSING]
    check_keys(table, set(fields), where, optional)
    return cls(**{key: scalar(value, str(fields[key].type), f"{where}.{key}") for key, value in table.items()})


def scalar(value: object, annotation: str, where: str) -> Any:
    """Check `value` against an annotation's text: str, bool, int, float, tuple of strings."""
    if annotation.startswith("tuple[str"):
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise SpecError(f"{where}: must be an array of strings")
        return tuple(value)
    if annotation == "float" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _float(value, where)
    if annotation == "int" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if annotation == "bool" and isinstance(value, bool):
        return value
    if annotation not in ("float", "int", "bool") and isinstance(value, str):
        return value
    raise SpecError(f"{where}: must be of type {annotation}, not {type(value).__name__}")


def _float(value: int | float, where: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise SpecError(f"{where}: is too large for a float") from None
