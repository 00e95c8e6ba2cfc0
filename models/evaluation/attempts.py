"""Attempt steps in a process that was started for them, whichever machine it runs on.

What one process writes may take a while to be seen on another machine, and the lock of a process that was lost there
may take a while to be freed. An attempt waits for both, up to its patience.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from models.evaluation.steps import ExperimentStep, StepError, is_done, run_step
from models.locks import LockedError

LOG_FILE: Final = "log.txt"
"""What a step printed, in its folder, with the traceback of its error."""
_LONGEST_REASON: Final = 300
_PAUSE: Final = 0.5
_STREAMS: Final = (1, 2)
"""Standard output and error of the process, to which code outside of Python writes."""

StepMaker = Callable[[], Sequence[ExperimentStep]]
"""Make the same steps in every process; must be picklable, as a function of a module or a `partial` of one is."""
Attempt = Callable[[str], str | None]
"""Run a step by name; return the reason of its failure in one line, or None."""


@dataclass(frozen=True)
class Attempts:
    """Make the steps in the process where they are run.

    What steps cache between them stays there. `patience` is in seconds. `folder` is what relative paths begin from.
    """

    root: Path
    make_steps: StepMaker
    patience: float
    folder: Path

    def __call__(self) -> Attempt:
        """Make the steps, and return the function that attempts one of them."""
        with suppress(OSError):  # Not all paths are relative, so another machine may do without it.
            os.chdir(self.folder)
        steps = {step.name: step for step in self.make_steps()}
        return lambda name: self._attempt(steps[name])

    def _attempt(self, step: ExperimentStep) -> str | None:
        """Run a step with its output in its log."""
        _print_to(self.root / step.name / LOG_FILE)
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {step.name}", flush=True)
        try:
            self._find_needs(step)
            self._run_once_free(step)
        except Exception as error:
            traceback.print_exc()
            text = " ".join(str(error).split())[:_LONGEST_REASON]
            return f"{type(error).__name__}: {text}" if text else type(error).__name__
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        return None

    def _find_needs(self, step: ExperimentStep) -> None:
        for need in step.needs:
            if not wait_until(partial(is_done, self.root, need), self.patience):
                raise StepError(f"{self.root / need}: is not seen to be done; do all machines see one folder?")

    def _run_once_free(self, step: ExperimentStep) -> None:
        until = time.monotonic() + self.patience
        while True:
            try:
                return run_step(self.root, step)
            except LockedError:
                if time.monotonic() >= until:
                    raise
            time.sleep(_PAUSE)


def wait_until(seen: Callable[[], bool], patience: float) -> bool:
    """Wait for something to be seen; return False if it was not in time."""
    until = time.monotonic() + patience
    while not seen():
        if time.monotonic() >= until:
            return False
        time.sleep(_PAUSE)
    return True


def _print_to(path: Path) -> None:
    """Append to a file all that this process prints from now on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
        for number in _STREAMS:
            os.dup2(log.fileno(), number)
