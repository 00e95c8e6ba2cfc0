"""Build the catalogue that a service needs for requests which name its items."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from loadtest.requests.fake import FakeItems
from loadtest.requests.items import all_items, build_for
from models.contract.manifest import Manifest


@cache
def catalogue_of(bundle: Path, items: int, *, seed: int, embedding_width: int = 0) -> Path:
    """Build a catalogue of made-up items for a bundle's spec, and return its root.

    The folder, which ``listwright serve --catalogue`` takes, is gone with this process. Raises `CatalogueError`.
    """
    root = Path(tempfile.mkdtemp(prefix="listwright-catalogue-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    spec = Manifest.read(bundle).spec
    build_for(all_items(FakeItems(spec, items, seed=seed, embedding_width=embedding_width)), spec, root)
    return root


def serving_options(catalogue: Path | None) -> tuple[str, ...]:
    """Return the options of ``listwright serve`` for a folder of catalogues, if there is one."""
    return () if catalogue is None else ("--catalogue", str(catalogue))
