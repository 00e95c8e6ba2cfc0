"""Define a model that may serve, with its manifest, encoder and engine."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property

from models.contract.features import Encoder
from models.contract.manifest import Manifest
from service.contract.field_values import FieldReader
from service.inference.engine import Engine


class BundleError(ValueError):
    """A bundle that may not serve; the message names the file or key."""


class Interrupted(Exception):
    """A switch failed for a reason that says nothing about what was to serve."""


@dataclass(frozen=True)
class Model:
    """Immutable, so that a request which has begun with one version ends with it."""

    manifest: Manifest
    encoder: Encoder
    engine: Engine
    loaded_at: float = field(default_factory=time.time)

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> str:
        return self.manifest.version

    @cached_property
    def inputs(self) -> frozenset[str]:
        """Names of the arrays that the graph takes; not every spec needs all."""
        return frozenset(tensor.name for tensor in self.manifest.inputs)

    @cached_property
    def ruled_inputs(self) -> frozenset[str]:
        """Names of the arrays that the graph of requests with rules takes; empty without one."""
        ruled = self.manifest.ruled
        return frozenset() if ruled is None else frozenset(tensor.name for tensor in ruled.inputs)

    @cached_property
    def fields(self) -> FieldReader:
        """Reader of the fields of requests to this model."""
        return FieldReader(self.manifest, self.encoder)
