"""Name the hardware that the steps of an experiment ran on.

Steps may run on several machines (`step_actors.py`), and a report may be written on another one.
"""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch

HARDWARE: Final = "hardware"
"""The key of a step's hardware in its marker."""
_UNKNOWN: Final = "hardware that was not recorded"


def name_hardware() -> str:
    """Name this machine's processors and system, and its GPU if this process has used it."""
    parts = [f"{os.cpu_count()} CPU cores", platform.machine(), platform.system()]
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def sum_up_hardware(markers: Iterable[Mapping[str, Any]]) -> str:
    """Name the hardware of done steps by their markers.

    If there are several, each has the number of its steps.
    """
    counts = Counter(str(marker.get(HARDWARE, _UNKNOWN)) for marker in markers)
    if len(counts) < 2:
        return next(iter(counts), "none: no step is done")
    return "; ".join(f"{name} ({count} of {counts.total()} steps)" for name, count in counts.most_common())
