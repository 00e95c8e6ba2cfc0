"""Load a bundle's folder as a model, and find every fault before it serves.

Order of checks: manifest, formulas, checksums, the graph against the manifest, golden requests against their answers.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from models.contract.features import Encoder
from models.contract.formulas import FormulaError, compile_formula
from models.contract.manifest import (
    GOLDEN_FILE,
    KEPT_SORT,
    MANIFEST_FILE,
    MODEL_FILE,
    SORT_SLOTS,
    Manifest,
)
from models.contract.spec import SpecError
from models.contract.tensor_specs import TensorSpec
from service.bundles.golden import replay
from service.bundles.model import BundleError, Model
from service.inference.onnx.choose import load_engine
from service.inference.onnx.session import GraphFacts, SessionConfig

_log = logging.getLogger(__name__)

_ITEMS: Final = ("item_ids", "item_numbers", "item_scores", "priors", "price", "embeddings", "valid", SORT_SLOTS)
_INPUTS: Final = frozenset(("user_ids", "user_numbers", *_ITEMS, "objective_weights", "trade_off", "window"))
_OUTPUTS: Final = frozenset(("order", "value", "penalty", "score", "runner_up"))


def load_bundle(
    folder: Path, config: SessionConfig, *, golden: bool = True, begin: Callable[[str], None] = lambda _: None
) -> Model:
    """Load and check the bundle in `folder`. Raises `BundleError` naming the fault.

    `golden` says whether to replay the recorded requests; `begin` is told each stage that can take long or crash.
    """
    begin("checking its files")
    try:
        manifest = Manifest.read(folder)
    except SpecError as error:
        raise BundleError(str(error)) from None
    check_formulas(manifest)
    check_files(manifest, folder)
    begin(f"loading {MODEL_FILE}")
    try:
        engine = load_engine(folder / MODEL_FILE, config, model_sha256=manifest.files[MODEL_FILE])
    except Exception as error:
        raise BundleError(f"{MODEL_FILE}: ONNX Runtime cannot load it: {error}") from error
    check_graph(manifest, engine.facts)
    if golden:
        begin(f"replaying {GOLDEN_FILE}")
        replay(manifest, engine, folder / GOLDEN_FILE)
    if engine.provider == "cpu" and manifest.provenance.get("precision") == "fp16":
        _log.warning("%s is in float16, which is slower than float32 on CPU; it is meant for GPUs", folder)
    model = Model(manifest, Encoder(manifest.spec), engine)
    model.fields  # noqa: B018 - made here, off the event loop: a large vocabulary takes time
    return model


def identity(manifest: Manifest) -> dict[str, str]:
    """Return a digest of each file of a bundle, which tells it from any other."""
    content = json.dumps(manifest.to_json(), sort_keys=True).encode()
    return {**manifest.files, MANIFEST_FILE: hashlib.sha256(content).hexdigest()}


def check_place(manifest: Manifest, folder: Path) -> None:
    """Check that a bundle stands under its own name and version. Raises `BundleError`."""
    own, place = f"{manifest.name}/{manifest.version}", f"{folder.parent.name}/{folder.name}"
    if own != place:
        raise BundleError(f"{MANIFEST_FILE}: says {own}, but stands in {place}")


def check_formulas(manifest: Manifest) -> None:
    """Compile every formula in the manifest. Raises `BundleError`."""
    named = [(f"queues.{q.name}", q.score) for q in manifest.queues] + [("fallback", manifest.fallback)]
    for where, text in named:
        try:
            compile_formula(text)
        except FormulaError as error:
            raise BundleError(f"bundle.{where}: {text!r} {error}") from None


def check_files(manifest: Manifest, folder: Path) -> None:
    """Compare every file's SHA-256 with the manifest's. Raises `BundleError`."""
    for name in (MODEL_FILE, GOLDEN_FILE):
        if name not in manifest.files:
            raise BundleError(f"bundle.files.{name}: is missing")
    for name, expected in manifest.files.items():
        path = folder / name
        if path.resolve().parent != folder.resolve():
            raise BundleError(f"bundle.files.{name}: is not in the bundle's own folder")
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BundleError(f"{name}: cannot be read: {error.strerror}") from None
        if found != expected:
            size = path.stat().st_size
            raise BundleError(f"{name}: SHA-256 is {found} ({size} bytes), but the manifest says {expected}")


def check_graph(manifest: Manifest, graph: GraphFacts) -> None:
    """Compare the graph with the manifest and the service's inputs. Raises `BundleError`."""
    if graph.fingerprint != manifest.spec.fingerprint:
        own = manifest.spec.fingerprint
        raise _fault(f"was exported for the feature spec {graph.fingerprint!r}, but the manifest has {own!r}")
    _check_tensors("input", manifest.inputs, graph.inputs)
    _check_tensors("output", manifest.outputs, graph.outputs)
    names = {t.name for t in graph.inputs}
    if unknown := sorted(names - _INPUTS):
        raise _fault(f"asks for the input {unknown[0]!r}, which this service does not make")
    if missing := sorted(_OUTPUTS - {t.name for t in graph.outputs}):
        raise _fault(f"has no output {missing[0]!r}")
    _check_sort(manifest, graph)


def _check_sort(manifest: Manifest, graph: GraphFacts) -> None:
    """Check that the graph takes the sort's list and reports it, or does neither."""
    takes = next((t for t in graph.inputs if t.name == SORT_SLOTS), None)
    says = next((t for t in graph.outputs if t.name == KEPT_SORT), None)
    if (takes is None) != (says is None):
        there, lacking = (f"input {SORT_SLOTS!r}", KEPT_SORT) if says is None else (f"output {KEPT_SORT!r}", SORT_SLOTS)
        raise _fault(f"has the {there} without {lacking!r}")
    if takes is None or says is None:
        return
    length = manifest.limits.list_length
    if takes.dtype != "int64" or len(takes.shape) != 2 or takes.shape[1] != length:
        found = f"{takes.dtype} {list(takes.shape)}"
        raise _fault(f"input {SORT_SLOTS!r} must be int64 with {length} slots a row, not {found}")
    if says.dtype != "bool" or len(says.shape) != 1:
        raise _fault(f"output {KEPT_SORT!r} must be one bool a row, not {says.dtype} {list(says.shape)}")


def _check_tensors(kind: str, expected: Sequence[TensorSpec], found: Sequence[TensorSpec]) -> None:
    """Compare names, element types and shapes. Raises `BundleError`."""
    graph = {t.name: t for t in found}
    names = {t.name for t in expected}
    for name in sorted(names ^ graph.keys()):
        holder, other = ("manifest", "graph") if name in names else ("graph", "manifest")
        raise _fault(f"the {holder} has an {kind} {name!r}, the {other} has not")
    for tensor in expected:
        own, where = graph[tensor.name], f"{kind} {tensor.name!r}"
        if tensor.dtype != own.dtype:
            raise _fault(f"{where} is {own.dtype}, but the manifest says {tensor.dtype}")
        if not _same_shape(tensor.shape, own.shape):
            raise _fault(f"{where} has shape {list(own.shape)}, but the manifest says {list(tensor.shape)}")


def _same_shape(a: Sequence[int | str], b: Sequence[int | str]) -> bool:
    """Tell whether ranks are equal, and sizes wherever both are numbers."""
    return len(a) == len(b) and all(
        x == y or isinstance(x, str) or isinstance(y, str) for x, y in zip(a, b, strict=True)
    )


def _fault(problem: str) -> BundleError:
    return BundleError(f"{MODEL_FILE}: {problem}")
