"""Say who may use the service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from service.options.values import NamedPath

_NOT_VISIBLE: Final = re.compile(r"[^!-~]")


class AccessOptions(BaseModel):
    """Keys that open the service."""

    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="Comma-separated keys, of visible ASCII characters. If set, /v1/* and /admin/* need "
        "`Authorization: Bearer KEY`.",
    )
    api_keys_file: NamedPath | None = Field(
        None,
        description="TOML file with named keys instead of `LISTWRIGHT_API_KEYS`, each with an optional limit of "
        "requests per second; read at start and on SIGHUP.",
    )
    admin_keys_file: NamedPath | None = Field(
        None,
        description="The same for the admin listener, which then takes only these keys. Missing: it takes those of "
        "the public listener.",
    )
    key_failures_per_minute: int = Field(
        20,
        ge=1,
        description="Most attempts with a wrong key from one address in a minute, in one process; more get 429. A "
        "valid key from the same address is always taken.",
    )

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

    @field_validator("api_keys_file")
    @classmethod
    def _is_alone(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        # A key that is taken out of the file must not go on through a variable that somebody forgot.
        if value is not None and info.data.get("api_keys"):
            raise ValueError("LISTWRIGHT_API_KEYS is set as well; put its keys into the file and unset it")
        return value
