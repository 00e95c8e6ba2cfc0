"""Render the manifests with Kustomize, each overlay and each component."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from tests.deploy.files import ROOT

KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
KUBECTL: Final = shutil.which("kubectl")
WITHOUT_KUBECTL: Final = "kubectl, whose Kustomize renders manifests, is not installed"

Manifest = Mapping[str, Any]

COMBINED: Final[Mapping[str, dict[str, Any]]] = {
    "base with bundles-volume": {"components": ["bundles-volume"]},
    "base with bundles-fetch and scenes": {
        "components": ["bundles-fetch", "scenes"],
        "configMapGenerator": [
            {"name": "listwright-bundles", "literals": ["url=s3://example-bundles/demo/1"]},
            {"name": "listwright-scenes", "files": ["scenes.toml"]},
        ],
    },
}
"""Kustomizations as a user would write them, for what no overlay has."""

NAMES: Final = ("base", "overlays/cpu", "overlays/gpu", "overlays/canary", *COMBINED)


@cache
def rendered(name: str) -> tuple[Manifest, ...]:
    """The objects of one of `NAMES`. Raises `RuntimeError` with the message of Kustomize."""
    if name not in COMBINED:
        return _kustomize(KUBERNETES / name)
    with tempfile.TemporaryDirectory() as folder:
        own = {**COMBINED[name]}
        own["resources"] = [_from(folder, "base")]
        own["components"] = [_from(folder, f"components/{part}") for part in own["components"]]
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(own))
        (Path(folder) / "scenes.toml").write_text("[scenes.home]\ntop_n = 4\n")
        return _kustomize(Path(folder))


def _from(folder: str, part: str) -> str:
    """The way to a part of the manifests, which Kustomize wants relative."""
    return os.path.relpath(KUBERNETES / part, Path(folder).resolve())


def _kustomize(folder: Path) -> tuple[Manifest, ...]:
    if KUBECTL is None:
        raise RuntimeError(WITHOUT_KUBECTL)
    done = subprocess.run([KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode or done.stderr:
        raise RuntimeError(f"{folder}: {done.stderr.strip()}")
    return tuple(yaml.safe_load_all(done.stdout))


def one(name: str, kind: str) -> Manifest:
    """The only object of a kind."""
    (found,) = (manifest for manifest in rendered(name) if manifest["kind"] == kind)
    return found


def pod(name: str) -> Manifest:
    """The specification of the Deployment's pods."""
    spec: Manifest = one(name, "Deployment")["spec"]["template"]["spec"]
    return spec


def container(name: str, kind: str = "containers") -> Manifest:
    """The container of the service, or the one of `initContainers`."""
    (found,) = pod(name)[kind]
    return dict(found)


def environment(name: str) -> dict[str, str]:
    """The service's variables."""
    return {variable["name"]: variable["value"] for variable in container(name)["env"]}
