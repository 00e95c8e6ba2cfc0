"""What `nvidia-smi` says of the GPUs of this host. Knows nothing about what runs on them."""

from __future__ import annotations

import subprocess
from typing import Final

_TIMEOUT: Final = 20.0


def cards() -> list[str]:
    """One line per GPU: name, driver, memory. Empty where `nvidia-smi` finds none, or is not there."""
    return _query("name,driver_version,memory.total", "csv,noheader")


def memory_used_mb() -> int | None:
    """MiB in use on the first GPU, by whoever; None where `nvidia-smi` does not say."""
    lines = _query("memory.used", "csv,noheader,nounits")
    return int(lines[0]) if lines and lines[0].isdigit() else None


def _query(fields: str, form: str) -> list[str]:
    command = ["nvidia-smi", f"--query-gpu={fields}", f"--format={form}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
