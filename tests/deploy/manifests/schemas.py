"""Validate objects against the schemas that Kubernetes has published for each of its versions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import jsonschema
import kubernetes_validate
from kubernetes_validate.utils import all_versions

from tests.deploy.manifests.monitoring import SCHEMAS

OLDEST: Final = (1, 29)


def versions() -> tuple[str, ...]:
    """All versions of Kubernetes from the oldest that is supported, oldest first, as ``1.29``."""
    found = {tuple(map(int, version.split(".")[:2])) for version in all_versions()}
    return tuple(f"{major}.{minor}" for major, minor in sorted(found) if (major, minor) >= OLDEST)


def fault(manifest: Mapping[str, Any], version: str) -> str | None:
    """What is wrong with an object in a version of Kubernetes; unknown fields are."""
    if manifest["kind"] in SCHEMAS and manifest["apiVersion"].startswith("monitoring.coreos.com/"):
        return _structure(manifest)
    return _fault(json.dumps(manifest, sort_keys=True), version)


@cache
def _fault(manifest: str, version: str) -> str | None:
    """The same; overlays share most objects, and a schema takes a while to be read."""
    try:
        kubernetes_validate.validate(json.loads(manifest), f"{version}.0", strict=True)
    except kubernetes_validate.ValidationError as error:
        return _described(error)
    except kubernetes_validate.SchemaNotFoundError as error:
        return str(error.message)
    return None


def _structure(manifest: Mapping[str, Any]) -> str | None:
    try:
        jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])
    except jsonschema.ValidationError as error:
        return _described(error)
    return None


def _described(error: Any) -> str:
    return f"{'.'.join(map(str, error.path))}: {error.message[:300]}"
