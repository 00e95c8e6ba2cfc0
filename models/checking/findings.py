"""Collect the warnings about a list file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Hold one warning: a stable code, what was found, and what to do."""

    code: str
    text: str
    advice: str


def share_text(share: float) -> str:
    """Format a share as percent; only 0 and 1 look like none and all."""
    if 0 < share < 0.001:
        return "under 0.1%"
    if 0.999 < share < 1:
        return "over 99.9%"
    return f"{share:.0%}" if share in (0, 1) or 0.1 <= share < 0.99 else f"{share:.1%}"


def of_lists(count: int, lists: int) -> str:
    """Format how many of the lists, for example ``12 of 4,000 lists (0.3%)``."""
    return f"{count:,} of {lists:,} lists ({share_text(count / lists)})"


def plural(count: int, noun: str) -> str:
    """Format a count with its noun, for example ``1 click`` or ``3 clicks``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
