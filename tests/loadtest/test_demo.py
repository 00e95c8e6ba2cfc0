"""The demo runs with what a serving installation has, since `make demo` installs nothing else."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

EXTRAS: Final = ("lightgbm", "locust", "onnx", "psutil", "pyarrow", "requests", "scipy", "sklearn", "tabulate", "torch")
PROGRAM: Final = """
import sys
for name in sys.argv[2:]:
    sys.modules[name] = None  # An import of it then raises ImportError.
__import__(sys.argv[1])
"""


@pytest.mark.parametrize("module", ["loadtest.demo", "service.command", "models.cli"])
def test_it_is_imported_without_the_extras(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, module, *EXTRAS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
