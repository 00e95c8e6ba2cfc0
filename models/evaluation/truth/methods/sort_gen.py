"""Plan by SORT-Gen: as in the paper, greedy, and with its beam."""

from __future__ import annotations

from typing import Final

from models.evaluation.truth.method import Method

METHODS: Final[tuple[Method, ...]] = ()
