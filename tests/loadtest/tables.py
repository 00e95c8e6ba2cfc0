"""Markdown tables without the spaces that line their columns up."""

from __future__ import annotations

import re


def squeezed(text: str) -> str:
    """Leave one space where there are several."""
    return re.sub(" +", " ", text)
