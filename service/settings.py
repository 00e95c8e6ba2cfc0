"""Read every option of the service from `LISTWRIGHT_*` variables and command-line flags.

Each option is defined once, in a group (`service/options/`); environment names, flags, `--help` and docs/settings.md
all come from there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.environment import PREFIX, leave_out_links, unknown_variables
from service.options.access import AccessOptions
from service.options.bundles import BundleOptions
from service.options.engine import EngineOptions
from service.options.listeners import ListenerOptions
from service.options.requests import RequestOptions
from service.options.telemetry import TelemetryOptions

SECRETS: Final = ("api_keys",)  # They have no flag: every user can read command lines.


class SettingsError(ValueError):
    """A setting that is wrong or unknown; the message names it."""


# The last group's fields come first.
class Settings(
    TelemetryOptions, RequestOptions, EngineOptions, AccessOptions, ListenerOptions, BundleOptions, BaseSettings
):
    """The service's settings; frozen."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    @property
    def slow_seconds(self) -> float:
        """Time from which a request is logged as slow."""
        return self.budget_seconds if self.log_slow_ms is None else self.log_slow_ms / 1e3

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
