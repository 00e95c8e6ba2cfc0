"""Define an API key: a name and the digest of its secret."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from msgspec import Struct
from pydantic import SecretStr

MOST_KEYS: Final = 64
KEY_NAME: Final = r"^[a-z0-9][a-z0-9_-]{0,31}$"
NO_KEY: Final = "none"
"""Name of the key of requests that came without one, or with one that is not known."""


class ApiKey(Struct, frozen=True, gc=False):
    """One key.

    `sha256` is the digest of its secret, in hexadecimal; `requests_per_second` its limit, if it has one.
    """

    name: str
    sha256: str
    requests_per_second: float | None = None

    def __repr__(self) -> str:
        """Leave the digest out: a short secret could be found from it."""
        return f"ApiKey({self.name!r})"


class KeysError(ValueError):
    """Keys that may not serve; the message names the place, and never shows a key."""


def digest(secret: str) -> str:
    """Return the digest of a key's secret."""
    return sha256(secret.encode()).hexdigest()


def numbered(secrets: Sequence[SecretStr]) -> tuple[ApiKey, ...]:
    """Name the keys of a variable by their places: ``key-1``, ``key-2``."""
    return tuple(ApiKey(f"key-{i}", digest(secret.get_secret_value())) for i, secret in enumerate(secrets, 1))
