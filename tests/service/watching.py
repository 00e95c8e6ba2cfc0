"""Let a loader watch for changed files while a test looks on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from service.bundles.reload import Loader


@contextlib.asynccontextmanager
async def watching(loader: Loader) -> AsyncIterator[None]:
    """Watch all the time, and fail if that ends by itself."""
    task = asyncio.create_task(loader.watch(0.05))
    try:
        yield
        assert not task.done(), task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
