"""Run the service and its children with a sleeping engine in place of graphs.

``python -m loadtest.cost.engine_processes.launcher PYTHON -m models.cli serve …`` runs that command in this process.
The children of the service are started by a small script in place of the interpreter, which begins here as well.
"""

from __future__ import annotations

import os
import runpy
import shlex
import stat
import sys
import tempfile
from pathlib import Path
from typing import Final

from loadtest.cost.engine_processes.sleeping import SECONDS, SleepingEngine
from service.bundles.load import make_model, read_manifest
from service.bundles.model import Model
from service.bundles.opening import LocalOpener

SLEEP: Final = "SLEEPING_ENGINE_SECONDS"
SPOIL: Final = "SLEEPING_ENGINE_SPOIL"
"""Variables with the seconds of a run, and how often answers are swapped on purpose."""

_CHILDREN: Final = "service.workers."
_ME: Final = "loadtest.cost.engine_processes.launcher"


def load_sleeping(opener: LocalOpener, folder: Path, quietly: bool) -> Model:  # noqa: ARG001 - it loads nothing
    """Make a model of the bundle in `folder` whose engine sleeps. Raises `BundleError`."""
    manifest = read_manifest(folder)
    seconds, spoil = float(os.environ.get(SLEEP, SECONDS)), int(os.environ.get(SPOIL, 0))
    length = manifest.limits.list_length
    return make_model(manifest, SleepingEngine(length, opener._config.max_batch, seconds=seconds, spoil=spoil))


def main() -> None:
    """Run the module that the arguments name, with the engine in place."""
    start = sys.argv.index("-m") + 1
    module, arguments = sys.argv[start], sys.argv[start + 1 :]
    LocalOpener._load = load_sleeping  # type: ignore[assignment,method-assign]
    sys.argv = [module, *arguments]
    if module.startswith(_CHILDREN):
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        sys.executable = str(_script(Path(folder) / "python"))
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _script(path: Path) -> Path:
    """Write the script that children are started with.

    Those that run models begin here, others as ever.
    """
    python = shlex.quote(sys.executable)
    lines = ("#!/bin/sh", f'case "$*" in *{_CHILDREN}*) exec {python} -m {_ME} "$@" ;; esac', f'exec {python} "$@"')
    path.write_text("\n".join(lines) + "\n", "utf-8")
    path.chmod(stat.S_IRWXU)
    return path


if __name__ == "__main__":
    main()
