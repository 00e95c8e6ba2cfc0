"""Tell what a report was made with: the versions of the software, and the machine."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import psutil

_PACKAGES: Final = ("listwright", "onnxruntime", "onnxruntime-gpu", "numpy", "uvicorn")


def made_with(seed: int) -> dict[str, Any]:
    """Return the seed, versions and hardware, for the head of a report."""
    installed = {found.name for found in metadata.distributions()}
    packages = {name: metadata.version(name) for name in _PACKAGES if name in installed}
    return {
        "seed": seed,
        "versions": {"python": platform.python_version(), **packages},
        "hardware": {
            "cpu": _cpu_model(),
            "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_mib": psutil.virtual_memory().total >> 20,
            "system": platform.platform(),
        },
    }


def _cpu_model() -> str:
    """Return the name of the CPU; its architecture where the system does not tell more."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
