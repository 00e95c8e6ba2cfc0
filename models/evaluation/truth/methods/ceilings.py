"""Plan with true values: the ceilings of the tables."""

from __future__ import annotations

from typing import Final

from models.evaluation.truth.method import Method

METHODS: Final[tuple[Method, ...]] = ()
