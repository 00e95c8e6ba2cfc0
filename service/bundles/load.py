"""Load a bundle's folder as a model, and find every fault before it serves.

Order of checks: manifest, formulas, checksums, graphs against the manifest, golden requests against their answers.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

from models.contract.features import Encoder
from models.contract.formulas import FormulaError, compile_formula
from models.contract.manifest import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    RULED_FILE,
    RULED_GOLDEN_FILE,
    Manifest,
)
from models.contract.spec import SpecError
from service.bundles.golden import replay
from service.bundles.graphs import check_graph, check_ruled_graph
from service.bundles.model import BundleError, Model
from service.inference.engine import Engine
from service.inference.onnx.choose import OnnxEngine, load_engine
from service.inference.onnx.session import SessionConfig
from service.inference.onnx.two_graphs import TwoGraphs, share_of_memory

_log = logging.getLogger(__name__)


def load_bundle(
    folder: Path, config: SessionConfig, *, golden: bool = True, begin: Callable[[str], None] = lambda _: None
) -> Model:
    """Load and check the bundle in `folder`. Raises `BundleError` naming the fault.

    `golden` says whether to replay the recorded requests; `begin` is told each stage that can take long or crash.
    """
    begin("checking its files")
    manifest = read_manifest(folder)
    engine = _load_graphs(manifest, folder, config, begin)
    if golden:
        begin(f"replaying {GOLDEN_FILE}")
        replay(manifest, engine, folder / GOLDEN_FILE)
    if golden and manifest.ruled is not None:
        begin(f"replaying {RULED_GOLDEN_FILE}")
        replay(manifest, engine, folder / RULED_GOLDEN_FILE, sides=manifest.ruled)
    if engine.provider == "cpu" and manifest.provenance.get("precision") == "fp16":
        _log.warning("%s is in float16, which is slower than float32 on CPU; it is meant for GPUs", folder)
    return make_model(manifest, engine)


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest, and check its formulas and all files.

    Raises `BundleError` naming the fault.
    """
    try:
        manifest = Manifest.read(folder)
    except SpecError as error:
        raise BundleError(str(error)) from None
    check_formulas(manifest)
    check_files(manifest, folder)
    return manifest


def make_model(manifest: Manifest, engine: Engine) -> Model:
    """Make a model, with all that is made once.

    A large vocabulary takes time, so not on an event loop.
    """
    model = Model(manifest, Encoder(manifest.spec), engine)
    model.fields  # noqa: B018 - it is kept
    return model


def _load_graphs(
    manifest: Manifest, folder: Path, config: SessionConfig, begin: Callable[[str], None]
) -> OnnxEngine | TwoGraphs:
    """Load and check the one graph or the two. Raises `BundleError`."""
    ruled = manifest.ruled
    own = config if ruled is None else share_of_memory(config)
    begin(f"loading {MODEL_FILE}")
    engine = _load_graph(MODEL_FILE, manifest, folder, own)
    check_graph(manifest, engine.facts)
    if ruled is None:
        return engine
    begin(f"loading {RULED_FILE}")
    second = _load_graph(RULED_FILE, manifest, folder, own)
    check_ruled_graph(manifest, ruled, second.facts)
    return TwoGraphs(engine, second)


def _load_graph(name: str, manifest: Manifest, folder: Path, config: SessionConfig) -> OnnxEngine:
    """Load one graph. Raises `BundleError`."""
    try:
        return load_engine(folder / name, config, model_sha256=manifest.files[name])
    except Exception as error:  # ONNX Runtime's errors have no common base.
        raise BundleError(f"{name}: ONNX Runtime cannot load it: {error}") from error


def identity(manifest: Manifest) -> dict[str, str]:
    """Return a digest of each file of a bundle, which tells it from any other."""
    content = json.dumps(manifest.to_json(), sort_keys=True).encode()
    return {**manifest.files, MANIFEST_FILE: hashlib.sha256(content).hexdigest()}


def digest(manifest: Manifest) -> str:
    """Return one digest of all files of a bundle."""
    return hashlib.sha256(json.dumps(identity(manifest), sort_keys=True).encode()).hexdigest()


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
    for name in (RULED_FILE, RULED_GOLDEN_FILE):
        if manifest.ruled is not None and name not in manifest.files:
            raise BundleError(f"bundle.files.{name}: is missing, but bundle.ruled describes a graph for rules")
        if manifest.ruled is None and (name in manifest.files or (folder / name).exists()):
            raise BundleError(f"bundle.ruled: is missing, but the bundle has {name}")
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
