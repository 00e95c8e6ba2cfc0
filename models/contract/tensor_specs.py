"""Describe the inputs and outputs of a bundle's graphs, as `bundle.json` holds them.

Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.contract.spec import SpecError, as_mapping, check_keys, scalar


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Describe a graph's input or output: NumPy dtype and shape; strings are dynamic axes."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class RuledGraph:
    """Describe the graph of requests with rules: its groups G, inputs and outputs."""

    groups: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def to_json(self) -> dict[str, Any]:
        """Write plain JSON types."""
        inputs, outputs = tensors_to_json(self.inputs), tensors_to_json(self.outputs)
        return {"groups": self.groups, "inputs": inputs, "outputs": outputs}

    @classmethod
    def from_json(cls, data: object, where: str) -> RuledGraph:
        """Read `to_json`'s form. Raises `SpecError` naming the wrong key."""
        table = as_mapping(data, where)
        check_keys(table, {"groups", "inputs", "outputs"}, where)
        groups = scalar(table["groups"], "int", f"{where}.groups")
        if groups < 1:
            raise SpecError(f"{where}.groups: must be at least 1, not {groups}")
        return cls(groups, *(tensors(table, key, where) for key in ("inputs", "outputs")))


def tensors_to_json(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    """Write plain JSON types."""
    return [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape)} for t in specs]


def tensors(table: Mapping[str, Any], key: str, where: str = "bundle") -> tuple[TensorSpec, ...]:
    """Read the form of `tensors_to_json` from `key`. Raises `SpecError` naming the wrong key."""
    return tuple(_tensor(t, f"{where}.{key}[{i}]") for i, t in enumerate(array(table, key, where)))


def _tensor(data: object, where: str) -> TensorSpec:
    table = as_mapping(data, where)
    check_keys(table, {"name", "dtype", "shape"}, where)
    if not isinstance(table["shape"], list) or not all(isinstance(n, (int, str)) for n in table["shape"]):
        raise SpecError(f"{where}.shape: must be an array of sizes or axis names")
    return TensorSpec(text(table, "name", where), text(table, "dtype", where), tuple(table["shape"]))


def text(table: Mapping[str, Any], key: str, where: str = "bundle") -> str:
    """Read a string. Raises `SpecError` naming the key."""
    if not isinstance(table[key], str):
        raise SpecError(f"{where}.{key}: must be a string")
    return str(table[key])


def array(table: Mapping[str, Any], key: str, where: str = "bundle") -> list[Any]:
    """Read an array. Raises `SpecError` naming the key."""
    if not isinstance(table[key], list):
        raise SpecError(f"{where}.{key}: must be an array")
    return list(table[key])
