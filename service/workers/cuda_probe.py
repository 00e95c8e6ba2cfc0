"""Find out in a child whether CUDA works.

A process that has used it once keeps memory of the GPU until it ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Final

import onnxruntime as ort

from service.bundles.trial import child_environment
from service.inference.onnx.choose import NO_CUDA_BUILD, why_no_cuda
from service.inference.onnx.session import PROVIDERS

_SECONDS: Final = 120.0


def why_no_cuda_aside(devices: int = 1) -> str | None:
    """Run one node on each of the first GPUs; return the problem, or None.

    What the child logs goes to this process's log.
    """
    if PROVIDERS["cuda"] not in ort.get_available_providers():
        return NO_CUDA_BUILD
    command = (sys.executable, "-P", "-m", __name__, str(devices))
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, timeout=_SECONDS, check=False, env=child_environment(), text=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"a process that was to try it failed: {error}"
    try:
        problem = json.loads(done.stdout)
    except ValueError:
        return f"a process that tried it ended with status {done.returncode}; the log above says why"
    return None if problem is None else str(problem)


def main() -> None:
    """Print the problem, or null, as JSON; what libraries print goes to the log."""
    answer = os.dup(1)
    os.dup2(2, 1)
    problem = next((f"GPU {i}: {why}" for i in range(int(sys.argv[1])) if (why := why_no_cuda(i))), None)
    with os.fdopen(answer, "w") as stream:
        stream.write(json.dumps(problem))


if __name__ == "__main__":
    main()
