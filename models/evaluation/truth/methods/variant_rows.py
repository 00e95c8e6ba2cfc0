"""Plan the rows of SORT-Gen's Table 2, each in place of one part of SORT-Gen."""

from __future__ import annotations

from typing import Final

from models.evaluation.truth.method import Method

METHODS: Final[tuple[Method, ...]] = ()
