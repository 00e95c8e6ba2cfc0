"""The small world of tests that train or plan in one; files with needs of their own make another."""

from __future__ import annotations

import pytest

from models.evaluation.truth.bench import Bench
from tests.models.evaluation.truth.tiny_fits import tiny_bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A few hundred lists of `tiny_fits.PROFILE`'s world; do not change their file."""
    return tiny_bench(tmp_path_factory.mktemp("world"))
