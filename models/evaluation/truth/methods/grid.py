"""Pair every value model with every planner: the grid."""

from __future__ import annotations

from typing import Final

from models.evaluation.truth.method import Method

METHODS: Final[tuple[Method, ...]] = ()
