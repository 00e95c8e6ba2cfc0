"""Replay a bundle's recorded requests, to prove that the graph still answers as at export.

`golden.npz`, and `golden_ruled.npz` of the graph of requests with rules, hold ``input.<name>`` and ``output.<name>``
arrays over G requests, and may hold ``output.margin`` [G, L]: how far the best choice of each step was ahead of the
second, in units of `score`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np

from models.contract.arrays import AnyArray, Arrays
from models.contract.manifest import KEPT_SORT, LOOSEST_REPLAY, SORT_SLOTS, Manifest
from models.contract.tensor_specs import RuledGraph
from service.bundles.graphs import same_shape
from service.bundles.model import BundleError
from service.inference.engine import Engine

_NEAR_TIE: Final = 1e-5
_TOLERANCE: Final = 1e-3
_COMPARED: Final = ("value", "penalty", "score")


def replay(manifest: Manifest, engine: Engine, path: Path, *, sides: RuledGraph | None = None) -> int:
    """Run every golden request as a batch of one; return their number, at least 1.

    `sides` are the inputs and outputs of the graph that they are for, if it is not the manifest's plain one.

    Orders must be equal, except from a step on whose recorded margin is a near tie; values up to there must agree to
    1e-3. Whether the sort's list was kept must be as recorded, unless the list is the sort's either way. A bundle of
    reduced precision states in its manifest by how much they may differ. Raises `BundleError` naming file, request and
    step.
    """
    limits = _limits(manifest)
    try:
        return _replay(sides or manifest, engine, path, limits)
    except BundleError as error:
        raise BundleError(f"{path.name}: {error}") from error.__cause__


def _replay(sides: Manifest | RuledGraph, engine: Engine, path: Path, limits: _Limits) -> int:
    """Replay the requests of a file. Raises `BundleError` that does not name it."""
    inputs, outputs = _read(sides, path)
    margins = outputs.pop("margin", None)
    for g in range(len(inputs["valid"])):
        request = {name: array[g : g + 1] for name, array in inputs.items()}
        try:
            found = engine.run(request)
        except Exception as error:
            raise BundleError(f"request {g} cannot be run: {error}") from error
        expected, own = {n: a[g] for n, a in outputs.items()}, {n: found[n][0] for n in outputs}
        _compare(g, expected, own, margins, limits)
        if KEPT_SORT in outputs:
            _compare_kept(g, expected, own, request)
    return len(inputs["valid"])


@dataclass(frozen=True, slots=True)
class _Limits:
    """Margin of a near tie, and the tolerance of values."""

    tie: float
    tolerance: float


def _limits(manifest: Manifest) -> _Limits:
    """Read the limits that the exporter found. Raises `BundleError` if they excuse anything."""
    given = manifest.provenance.get("golden", {"tie": _NEAR_TIE, "tolerance": _TOLERANCE})
    names = {field.name for field in fields(_Limits)}
    if not isinstance(given, Mapping) or given.keys() != names:
        raise BundleError(f"bundle.provenance.golden: must have exactly the keys {', '.join(sorted(names))}")
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= LOOSEST_REPLAY:
            problem = f"must be a number above 0 and at most {LOOSEST_REPLAY:g}"
            raise BundleError(f"bundle.provenance.golden.{name}: {problem}")
    return _Limits(**given)


def _read(sides: Manifest | RuledGraph, path: Path) -> tuple[Arrays, Arrays]:
    """Read the recorded inputs and outputs. Raises `BundleError`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"cannot be read: {error}") from None
    inputs = {t.name: _take(arrays, f"input.{t.name}") for t in sides.inputs}
    outputs = {t.name: _take(arrays, f"output.{t.name}") for t in sides.outputs}
    if "output.margin" in arrays:
        outputs["margin"] = _margins(arrays["output.margin"], outputs["order"].shape)
    lengths = {array.shape[:1] for array in (*inputs.values(), *outputs.values())}
    if len(lengths) != 1 or lengths <= {(), (0,)}:
        raise BundleError("must hold the same number of requests, at least 1, in every array")
    for tensor in sides.inputs:
        if not same_shape(tensor.shape, inputs[tensor.name].shape):
            problem = f"{list(inputs[tensor.name].shape)}, but the manifest says {list(tensor.shape)}"
            raise BundleError(f"input.{tensor.name} has shape {problem}")
    return inputs, outputs


def _margins(margins: AnyArray, shape: tuple[int, ...]) -> AnyArray:
    """Check that every step has a margin; a NaN would excuse any order."""
    if margins.shape != shape or np.isnan(np.asarray(margins, np.float64)).any():
        raise BundleError(f"output.margin must hold a number for every step, {list(shape)} in all")
    return margins


def _take(arrays: Arrays, name: str) -> AnyArray:
    if name not in arrays:
        raise BundleError(f"has no array {name!r}")
    return arrays[name]


def _compare(g: int, expected: Arrays, found: Arrays, margins: AnyArray | None, limits: _Limits) -> None:
    """Compare order and values of one request. Raises `BundleError`."""
    for name, array in expected.items():
        if array.shape != found[name].shape:
            raise BundleError(f"request {g}: {name} has shape {found[name].shape}, not {array.shape}")
    same = expected["order"] == found["order"]
    until = len(same) if same.all() else int(same.argmin())
    if until < len(same) and (margins is None or float(np.asarray(margins, np.float64)[g, until]) >= limits.tie):
        own, recorded = found["order"][until], expected["order"][until]
        raise BundleError(f"request {g}: step {until} chose slot {own}, but {recorded} is recorded")
    chosen = np.asarray(expected["order"], np.int64)[:until] >= 0
    for name in _COMPARED:
        a, b = expected[name][:until][chosen], found[name][:until][chosen]
        close = np.isclose(a, b, rtol=limits.tolerance, atol=limits.tolerance)
        if not close.all():
            step = int(np.argwhere(~close)[0, 0])
            fault = f"{name} of step {step} is {b[step]}, but {a[step]} is recorded"
            raise BundleError(f"request {g}: {fault}")


def _compare_kept(g: int, expected: Arrays, found: Arrays, request: Arrays) -> None:
    """Compare whether the sort's list was kept. Raises `BundleError`.

    A plan that equals the sort's list may be called either: both have the same value, but for rounding.
    """
    own, recorded = bool(found[KEPT_SORT]), bool(expected[KEPT_SORT])
    same = np.array_equal(found["order"], expected["order"])  # Else the orders parted at a near tie.
    if own != recorded and same and not np.array_equal(found["order"], request[SORT_SLOTS][0]):
        raise BundleError(f"request {g}: {KEPT_SORT} is {own}, but {recorded} is recorded")
