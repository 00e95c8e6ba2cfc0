"""Find out in a child whether CUDA works.

A process that has used it once keeps memory of the GPU until it ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

import onnxruntime as ort

from service.inference.onnx.choose import NO_CUDA_BUILD, why_no_cuda
from service.inference.onnx.session import PROVIDERS

_SECONDS: Final = 120.0


def why_no_cuda_aside() -> str | None:
    """Run one node on CUDA in a child; return the problem, or None."""
    if PROVIDERS["cuda"] not in ort.get_available_providers():
        return NO_CUDA_BUILD
    command = (sys.executable, "-P", "-m", __name__)
    try:
        found = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=True)
    except subprocess.TimeoutExpired:
        return f"a process that tried it did not end within {_SECONDS:g} s"
    except subprocess.CalledProcessError as error:
        written = " ".join(error.stderr.decode("utf-8", "replace").split())[-400:]
        return f"a process that tried it ended with status {error.returncode}; it wrote: {written}"
    problem = json.loads(found.stdout)
    assert problem is None or isinstance(problem, str)
    return problem


def main() -> None:
    """Print the problem, or null, as JSON."""
    print(json.dumps(why_no_cuda()))


if __name__ == "__main__":
    main()
