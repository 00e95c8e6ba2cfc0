"""Read every option of the service from `LISTWRIGHT_*` variables and command-line flags.

The class below is the one definition: environment names, flags, `--help` and docs/settings.md all come from it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from models.contract.catalogue.manifest import CATALOGUE_FOLDER
from service.environment import PREFIX, leave_out_links, unknown_variables, user_cache_folder

SECRETS: Final = ("api_keys",)  # They have no flag: every user can read command lines.
NO_DEFAULT: Final = "none"
"""Value of `default_model` for no default model; no bundle can have this name."""

_NOT_VISIBLE: Final = re.compile(r"[^!-~]")
_FOLDER: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_BUNDLE: Final = re.compile(rf"{_FOLDER}(@{_FOLDER})?")
Provider = Literal["auto", "cpu", "cuda"]
DeadlineMode = Literal["enforce", "observe"]
LogLevel = Literal["debug", "info", "warning", "error"]
Milliseconds = Annotated[float, Field(gt=0, le=60_000)]
Port = Annotated[int, Field(ge=0, le=65535)]


class SettingsError(ValueError):
    """A setting that is wrong or unknown; the message names it."""


class Settings(BaseSettings):
    """The service's settings; frozen."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    bundles: Path = Field(
        Path("bundles"),
        description="Folder with the bundles, as `<name>/<version>/bundle.json`. "
        "Where it is not set and there is no folder of this name, the embedded demo bundle is served.",
    )
    catalogue: Path | None = Field(
        None,
        description="Folder with catalogues of items, as `<fingerprint>/<version>/catalogue.json`, the first 12 digits "
        "of a feature spec's fingerprint. Missing: `catalogue` in the bundles folder, if there is one.",
    )
    catalogue_copy: bool = Field(
        False,
        description="Copy catalogues into memory that cannot be changed, instead of mapping their files: for stores "
        "that cannot promise that files stay as they are. Linux only.",
    )
    default_model: str | None = Field(
        None,
        description="Model for requests that name none. Needed if there are several at start; `none`: every request "
        "must name its model. Missing: the only one there is at start, for good, or, if there is none, the first to "
        "come.",
    )
    host: str = Field("127.0.0.1", description="Address that the public listener binds to.")
    port: Port = Field(8000, description="Port of the public listener; 0 picks a free one and prints it.")
    uds: Path | None = Field(
        None, description="Path of a Unix socket for the public listener, instead of an address and a port."
    )
    admin_host: str = Field("127.0.0.1", description="Address of the admin listener; keep it on loopback.")
    admin_port: Port | None = Field(
        None, description="Port of the admin listener. Missing: the public port + 1, or a free one if that is 0."
    )
    admin_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Comma-separated host names under which the admin listener answers, besides those of loopback and "
        "`admin_host`. Others get 421, which keeps web pages out (DNS rebinding).",
    )
    workers: int = Field(1, ge=1, le=256, description="Processes that answer requests: on CPU one per core, on CUDA 1.")
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="Comma-separated keys, of visible ASCII characters. If set, /v1/* and /admin/* need "
        "`Authorization: Bearer KEY`.",
    )
    provider: Provider = Field(
        "auto",
        description="Provider of ONNX Runtime: `cpu`, `cuda` (an error at start if it does not work), or `auto`.",
    )
    intra_op_threads: int = Field(1, ge=1, le=256, description="ONNX Runtime threads for one run on CPU.")
    max_batch: int = Field(8, ge=1, le=1024, description="Most requests in one run of the engine.")
    cache_folder: str | None = Field(
        None,
        description="Folder for graphs that are optimised for this host, so that they load faster the next time. "
        "Missing: `listwright` in the user's cache folder; empty: no cache.",
    )
    cuda_graphs: bool = Field(
        True,
        description="On CUDA: capture one graph per shape at warm-up and replay it, which launches kernels faster.",
    )
    gpu_mem_limit_mb: int = Field(0, ge=0, description="On CUDA: most MiB of one model's memory arena; 0 for no limit.")
    budget_ms: Milliseconds = Field(19.0, description="Latency budget of one request, in milliseconds.")
    deadline_mode: DeadlineMode = Field(
        "enforce",
        description="`enforce`: the score formula answers if the model cannot be in time, and requests are shed while "
        "a queue stands. `observe`: both are only counted (`rerank_would_degrade_total`).",
    )
    queue_target_ms: Milliseconds = Field(
        5.0, description="A queue stands, and requests are shed, if its shortest delay stays above this."
    )
    queue_interval_ms: Milliseconds = Field(
        50.0, description="Time for which the shortest delay must stay above the target."
    )
    engine_hang_seconds: float = Field(
        5.0,
        gt=0,
        description="A run of the engine that takes longer is taken to hang: the process is not ready, drains, and "
        "ends with an error; a worker is replaced.",
    )
    load_timeout_seconds: float = Field(
        120.0,
        gt=0,
        description="Most time for a bundle to be tried in a process of its own, and again to be loaded and warmed.",
    )
    max_in_flight: int = Field(
        64, ge=1, le=100_000, description="Most requests in progress at once; more get 503 before their body is read."
    )
    keep_versions: int = Field(
        1,
        ge=1,
        le=100,
        description="Most live versions of a model: at start the newest ones, later those published last.",
    )
    shadow: str | None = Field(
        None,
        description="Model whose lists are compared with the served ones, for a sample of the requests and after the "
        "response: `NAME` for its current version, or `NAME@VERSION`.",
    )
    shadow_share: float = Field(
        0.01, ge=0, le=1, description="Share of the model-made lists that is compared with the shadow's."
    )
    max_body_bytes: int = Field(
        2 * 1024 * 1024,
        ge=1024,
        description="Largest request body, before and after decompression; a larger one gets 413.",
    )
    max_unfinished_mb: int = Field(
        64, ge=1, description="Most MiB of requests that have come in part, in one process; more get 503."
    )
    max_unfinished_per_peer_mb: int = Field(
        32, ge=1, description="Most MiB of those from one address; a proxy counts as one."
    )
    max_connections: int = Field(
        4096, ge=1, description="Most open connections of one process; more get 503 and are closed."
    )
    keep_alive_seconds: float = Field(
        75.0,
        gt=0,
        description="A connection without a request is closed after so long. It should be longer than the proxy's own "
        "limit in front: Google's balancers want 620.",
    )
    max_candidates: int = Field(2000, ge=1, description="Most candidates in one request; more get 422.")
    read_timeout_seconds: float = Field(
        5.0,
        gt=0,
        description="Most time for a client to send its headers, else it is cut off; its body, else it gets 408; and "
        "to take any byte of an answer, else it is cut off.",
    )
    retry_after_seconds: int = Field(1, ge=1, description="`Retry-After` of a 503, in seconds.")
    shutdown_delay_seconds: float = Field(
        0.0, ge=0, description="After SIGTERM: time between becoming not ready and closing the listener."
    )
    drain_seconds: int = Field(10, ge=0, description="After SIGTERM: most time for requests in progress to finish.")
    drain_quiet_seconds: float = Field(
        0.5, ge=0, description="After SIGTERM: a kept-alive connection is closed after so much silence."
    )
    warnings: bool = Field(
        True,
        description="Answers say what the model could not use: fields that are missing, fields that it does not have, "
        "values that it does not know. The counters of it do not depend on this.",
    )
    pages: bool = Field(True, description="Serve `/`, `/docs` and `/playground`; false (or `off`): 404.")
    catalogue_live: SecretStr | None = Field(
        None,
        description="Redis with values of items that change by the minute: `redis://HOST:PORT/DB`, `rediss://…` (TLS) "
        "or `unix://PATH`. Every user can read command lines, so a URL with a password belongs in the variable.",
    )
    catalogue_live_ms: Milliseconds = Field(
        2.0, description="Most time of one request for live values, in milliseconds; then it does without them."
    )
    catalogue_live_ttl_seconds: float = Field(
        5.0, gt=0, le=3600, description="Longest time for which each process keeps a live value instead of asking."
    )
    catalogue_live_prefix: str = Field("listwright:", description="What the keys of live values begin with.")
    batch_budget_ms: Milliseconds = Field(
        250.0, description="Latency budget of each request of `POST /v1/rerank/batch`, in milliseconds."
    )
    log_level: LogLevel = Field("info", description="Least severe level of log lines (to stderr).")
    log_json: bool = Field(True, description="One JSON object per log line; false: plain text.")

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        keys = tuple(key.strip() for key in value.split(",") if key.strip())
        if not keys:  # A secret that came out empty must not open the service.
            raise ValueError("is set but holds no key; leave it unset for a service without keys")
        return keys

    @field_validator("api_keys")
    @classmethod
    def _can_be_sent(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for i, key in enumerate(value, 1):
            if found := _NOT_VISIBLE.search(key.get_secret_value()):
                raise ValueError(
                    f"character {found.start() + 1} of key {i} cannot be sent in a header: a key is visible ASCII "
                    "without spaces"
                )
        return value

    @field_validator("admin_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(name.strip().lower() for name in value.split(",") if name.strip())

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

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment without the variables that Kubernetes sets for a Service."""
        leave_out_links(env_settings)
        return super().settings_customise_sources(
            settings_cls, init_settings, env_settings, dotenv_settings, file_secret_settings
        )

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

    @property
    def catalogue_root(self) -> Path:
        """Folder of the catalogues; it need not be there unless a setting names it."""
        return self.bundles / CATALOGUE_FOLDER if self.catalogue is None else self.catalogue

    @property
    def graph_cache(self) -> Path | None:
        """Folder for optimised graphs; None for no cache."""
        if self.cache_folder is None:
            return user_cache_folder()
        return Path(self.cache_folder).expanduser() if self.cache_folder else None

    @property
    def shadow_bundle(self) -> tuple[str, str | None] | None:
        """Name and version in `shadow`."""
        if self.shadow is None:
            return None
        name, _, version = self.shadow.partition("@")
        return name, version or None

    @property
    def budget_seconds(self) -> float:
        return self.budget_ms / 1e3

    @property
    def batch_budget_seconds(self) -> float:
        return self.batch_budget_ms / 1e3


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the environment, with `overrides` above it. Raises `SettingsError` naming each fault."""
    if unknown := unknown_variables(os.environ, Settings.model_fields):
        raise SettingsError(f"{'; '.join(unknown)}; docs/settings.md lists all")
    try:
        return Settings(**dict(overrides or {}))
    except ValidationError as error:
        raise SettingsError("; ".join(_describe(dict(e)) for e in error.errors())) from None


def flag(name: str) -> str:
    """Return the command-line flag of a setting."""
    return "--" + name.replace("_", "-")


def _describe(error: dict[str, Any]) -> str:
    name = str(error["loc"][0])
    message = str(error["msg"]).removeprefix("Value error, ")
    also = "" if name in SECRETS else f" ({flag(name)})"
    return f"{PREFIX}{name.upper()}{also}: {message}"
