"""Name what is served: models, catalogues of items and live values."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from pydantic import BaseModel, Field, SecretStr, field_validator

from models.contract.catalogue.manifest import CATALOGUE_FOLDER
from service.options.values import Milliseconds, NamedPath, Seconds, Share

NO_DEFAULT: Final = "none"
"""Value of `default_model` for no default model; no bundle can have this name."""

_FOLDER: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_BUNDLE: Final = re.compile(rf"{_FOLDER}(@{_FOLDER})?")


class BundleOptions(BaseModel):
    """Models, catalogues of items and live values."""

    bundles: NamedPath = Field(
        Path("bundles"),
        description="Folder with the bundles, as `<name>/<version>/bundle.json`. "
        "Where it is not set and there is no folder of this name, the embedded demo bundle is served.",
    )
    catalogue: NamedPath | None = Field(
        None,
        description="Folder with catalogues of items, as `<fingerprint>/<version>/catalogue.json`, the first 12 digits "
        "of a feature spec's fingerprint. Missing: `catalogue` in the bundles folder, if there is one.",
    )
    catalogue_copy: bool = Field(
        False,
        description="Copy catalogues into memory that cannot be changed, instead of mapping their files: for stores "
        "that cannot promise that files stay as they are. Linux only.",
    )
    catalogue_live: SecretStr | None = Field(
        None,
        description="Redis with values of items that change by the minute: `redis://HOST:PORT/DB`, `rediss://…` (TLS) "
        "or `unix://PATH`. Every user can read command lines, so a URL with a password belongs in the variable.",
    )
    catalogue_live_ms: Milliseconds = Field(
        2.0, description="Most time of one request for live values, in milliseconds; then it does without them."
    )
    catalogue_live_ttl_seconds: Seconds = Field(
        5.0, le=3600, description="Longest time for which each process keeps a live value instead of asking."
    )
    catalogue_live_prefix: str = Field("listwright:", description="What the keys of live values begin with.")
    default_model: str | None = Field(
        None,
        description="Model for requests that name none. Needed if there are several at start; `none`: every request "
        "must name its model. Missing: the only one there is at start, for good, or, if there is none, the first to "
        "come.",
    )
    keep_versions: int = Field(
        1,
        ge=1,
        le=100,
        description="Most live versions of a model: at start the newest ones, later those published last.",
    )
    load_timeout_seconds: Seconds = Field(
        120.0,
        description="Most time for a bundle to be tried in a process of its own, and again to be loaded and warmed.",
    )
    shadow: str | None = Field(
        None,
        description="Model whose lists are compared with the served ones, for a sample of the requests and after the "
        "response: `NAME` for its current version, or `NAME@VERSION`.",
    )
    shadow_share: Share = Field(0.01, description="Share of the model-made lists that is compared with the shadow's.")

    @field_validator("bundles", "catalogue")
    @classmethod
    def _folder_exists(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_dir():
            raise ValueError(f"no such folder: {value}")
        return value

    @field_validator("catalogue_copy")
    @classmethod
    def _can_be_sealed(cls, value: bool) -> bool:
        if value and not hasattr(os, "memfd_create"):
            raise ValueError("this platform has no memory that can be sealed (memfd_create), as Linux has")
        return value

    @field_validator("default_model")
    @classmethod
    def _names_a_model(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(_FOLDER, value):
            raise ValueError(f"must be the name of a bundle's folder, or {NO_DEFAULT!r}")
        return value

    @field_validator("shadow")
    @classmethod
    def _names_a_bundle(cls, value: str | None) -> str | None:
        if value is not None and not _BUNDLE.fullmatch(value):
            raise ValueError("must be NAME or NAME@VERSION, as the bundle's folders are called")
        return value

    @property
    def catalogue_root(self) -> Path:
        """Folder of the catalogues; it need not be there unless a setting names it."""
        return self.bundles / CATALOGUE_FOLDER if self.catalogue is None else self.catalogue

    @property
    def shadow_bundle(self) -> tuple[str, str | None] | None:
        """Name and version in `shadow`."""
        if self.shadow is None:
            return None
        name, _, version = self.shadow.partition("@")
        return name, version or None
