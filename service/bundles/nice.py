"""Lower the priority of one thread, where the system can (Linux)."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Final

_NICEST: Final = 19


@contextlib.contextmanager
def low_priority(wanted: bool) -> Iterator[None]:
    """Run the calling thread at the lowest priority if `wanted`, then restore it.

    Putting it back needs a right that a process may lack; its thread then stays as it is, and should be one that ends.
    """
    if not wanted or sys.platform != "linux":
        yield
        return
    thread = threading.get_native_id()
    before = os.getpriority(os.PRIO_PROCESS, thread)
    os.setpriority(os.PRIO_PROCESS, thread, _NICEST)
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, thread, before)
