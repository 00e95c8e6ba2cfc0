"""Say who may use the service."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

_NOT_VISIBLE: Final = re.compile(r"[^!-~]")


class AccessOptions(BaseModel):
    """Keys that open the service."""

    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="Comma-separated keys, of visible ASCII characters. If set, /v1/* and /admin/* need "
        "`Authorization: Bearer KEY`.",
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
