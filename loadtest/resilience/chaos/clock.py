"""Move the wall clock of one service, as a wrong time server does.

Debian's libfaketime does it, and waits until a time of that clock move too. ``FAKETIME_DONT_FAKE_MONOTONIC`` leaves the
other clocks right, as a step of the real one does. With that variable version 0.9.10, as in Debian 12, lets no
``time.sleep`` of Python 3.11 or newer succeed: it turns the absolute time on the monotonic clock that Python waits for
into one that the kernel refuses (https://github.com/wolfcw/libfaketime/issues/426). So `time.sleep` of the service
waits in ``select`` instead, which is what it did until Python 3.10.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from loadtest.resilience.chaos.scenario import Skipped

STEP_SECONDS: Final = 1.5
"""Seconds until every process has seen a step: each reads the file again once a second."""

_LIBRARIES: Final = "*/faketime/libfaketimeMT.so.1"
_SLEEP: Final = '''"""Let time.sleep wait in select; Python imports this module at its start."""

import select
import time


def sleep(seconds, /):
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)


time.sleep = sleep
'''


class Clock:
    """The wall clock of Python programs that are started with `environment`."""

    def __init__(self, folder: Path) -> None:
        """Prepare `folder`. Raises `Skipped` without the library."""
        library = next(Path("/usr/lib").glob(_LIBRARIES), None)
        if library is None:
            raise Skipped("needs libfaketime (apt-get install libfaketime)")
        modules = folder / "clock-modules"
        modules.mkdir()
        (modules / "sitecustomize.py").write_text(_SLEEP, "utf-8")
        self._file = folder / "clock-offset"
        self.move(0)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",  # Else each process would take the offset from the first one's memory.
            "NO_FAKE_STAT": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(modules), os.environ.get("PYTHONPATH")))),
        }

    def move(self, seconds: int) -> None:
        """Set the clock `seconds` away from the right time; see `STEP_SECONDS`."""
        partial = self._file.with_suffix(".partial")
        partial.write_text(f"{seconds:+d}\n", "ascii")
        partial.replace(self._file)
