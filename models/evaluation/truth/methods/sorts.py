"""Plan by sorting scores, with and without diversity: the base and the rivals of Table 1."""

from __future__ import annotations

from typing import Final

from models.evaluation.truth.method import Method

METHODS: Final[tuple[Method, ...]] = ()
