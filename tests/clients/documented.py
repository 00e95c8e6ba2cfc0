"""What docs/api.md shows of clients, and README's request."""

from __future__ import annotations

import re
from typing import Any, Final

from tests.test_readme import API, README, block

OPTIONS: Final = ("--budget-ms", "30000")
"""Of the service that clients ask: time enough on any machine."""

KEY: Final = "a-key-of-the-test"
ENVIRONMENT: Final = {"LISTWRIGHT_API_KEYS": KEY}

README_REQUEST: Final[dict[str, Any]] = block(README, "request")
README_IDS: Final[list[str]] = [item["id"] for item in block(README, "response")["items"]]

COLUMNS_REQUEST: Final[dict[str, Any]] = block(API, "request columns")
COLUMNS_IDS: Final[list[str]] = [item["id"] for item in block(API, "answer columns")["items"]]

RULED_REQUESTS: Final[list[dict[str, Any]]] = [block(API, f"ruled {name}") for name in ("all-kinds", "second-page")]


def code(language: str) -> str:
    """The block of code behind the comment ``<!-- client -->`` in this language."""
    found = re.search(rf"<!-- client -->\n+```{language}\n(.*?)```", API, re.DOTALL)
    assert found, f"docs/api.md shows no client in {language}"
    return found[1]
