"""Read Markdown tables whatever the width of their columns."""

from __future__ import annotations

import re


def compact(text: str) -> str:
    """Return Markdown without the spaces that align the columns of its tables."""
    return re.sub(r" {2,}", " ", text)
