"""Make the folder that the demo serves: bundle, scenes and catalogue."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from models.contract.catalogue.manifest import CATALOGUE_FOLDER, fingerprint_folder
from models.contract.manifest import Manifest


def has_catalogue(bundle: Path, manifest: Manifest) -> bool:
    """Tell whether a catalogue for its features stands beside the bundle."""
    return _catalogue(bundle, manifest).is_dir()


@contextlib.contextmanager
def demo_folder(bundle: Path, manifest: Manifest, scenes: Path | None = None) -> Iterator[Path]:
    """Copy a bundle, its catalogue and scenes to a folder that ends with the context."""
    with tempfile.TemporaryDirectory(prefix="listwright-demo-") as folder:
        root = Path(folder)
        shutil.copytree(bundle, root / manifest.name / manifest.version)
        if scenes is not None:
            shutil.copy(scenes, root / "scenes.toml")
        if has_catalogue(bundle, manifest):
            own = _catalogue(bundle, manifest)
            shutil.copytree(own, root / CATALOGUE_FOLDER / own.name)
        yield root


def _catalogue(bundle: Path, manifest: Manifest) -> Path:
    return fingerprint_folder(bundle.parents[1] / CATALOGUE_FOLDER, manifest.spec.fingerprint)
