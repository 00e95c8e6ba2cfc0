"""Check API keys in constant time: `Authorization: Bearer KEY`.

Without keys in the settings, everyone may use the service.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import Header
from pydantic import SecretStr

from service.contract.problems import UNAUTHORIZED, Problem

_SCHEME: Final = "bearer"


class ApiKeys:
    """Keys that open the service."""

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        self._keys = [key.get_secret_value().encode() for key in keys]

    def check(self, authorization: Annotated[str | None, Header(include_in_schema=False)] = None) -> str | None:
        """Return the name of the key in the header; None where none is needed. Routes may depend on it.

        Raises `Problem` (401) for a header without a valid key.
        """
        if not self._keys:
            return None
        scheme, _, given = (authorization or "").partition(" ")
        presented = given.strip().encode("utf-8", "surrogateescape")
        # Every key is compared, so that the time taken does not say which one was close.
        matches = [hmac.compare_digest(presented, key) for key in self._keys]
        if scheme.lower() != _SCHEME or not any(matches):
            raise Problem(
                UNAUTHORIZED, "send Authorization: Bearer KEY with a valid key", headers={"www-authenticate": "Bearer"}
            )
        return f"key-{matches.index(True) + 1}"
