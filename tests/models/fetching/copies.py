"""Make bundles to fetch, and fetch them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from models.contract.manifest import DEMO_BUNDLE, Manifest
from models.fetching.fetch import Fetch
from service.bundles.folder import BundleFolder
from service.bundles.load import check_files


def bundle(root: Path, version: str, name: str = "demo", **changes: Any) -> Path:
    """Write the demo bundle under another version, its manifest changed at will."""
    folder = root / name / version
    shutil.copytree(DEMO_BUNDLE, folder)
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**manifest, "name": name, "version": version, **changes}))
    return folder


def fetched(root: Path, *urls: str, retries: int = 2, newest: int = 1, keep: int | None = None) -> list[str]:
    """Fetch without problems, and return what was said."""
    said: list[str] = []
    fetch = Fetch(root, newest, keep, retries, say=said.append)
    fetch.run(urls)
    assert fetch.problems == []
    assert [path.name for path in root.iterdir() if path.name.startswith(".")] == []
    return said


def problems(root: Path, url: str, retries: int = 2) -> list[str]:
    """Fetch with problems, and return them; nothing partial is left."""
    fetch = Fetch(root, retries=retries, say=lambda _: None)
    fetch.run([url])
    assert [path.name for path in root.iterdir() if path.name.startswith(".")] == []
    return fetch.problems


def whole(root: Path, version: str, name: str = "demo") -> bool:
    """Tell whether the service finds a version of the demo, and its checksums agree."""
    folder = BundleFolder(root).folder(name, version)
    check_files(Manifest.read(folder), folder)
    return True


def same(a: Path, b: Path) -> bool:
    """Tell whether two folders have the same files."""
    inside = [{p.relative_to(r): p.read_bytes() for p in r.rglob("*") if p.is_file()} for r in (a, b)]
    return inside[0] == inside[1]
