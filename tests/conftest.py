"""What holds for all tests: examples, threads and caches.

In continuous integration, property-based tests draw the same examples every time. Elsewhere they draw new ones, which
is how they find something; a build should fail because of its change alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# No deadline: how long an example takes says more about the machine's other work than about the code.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# One thread for PyTorch, here and in what tests start; it reads this when it is imported. Models of tests are so small
# that threads only wait for each other, and while every core runs tests they wait long: an export took 40 times longer.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A service that a test starts keeps optimised graphs where the test run ends, and not among the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))
        yield
