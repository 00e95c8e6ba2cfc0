"""Run the steps of an experiment: each once, resumable, and under one set of options.

Each step has a folder with its options and, once done, a marker with its duration and notes. A step that was
interrupted left no marker and runs again in its folder, where it resumes by itself if it can. Several processes may run
different steps of one experiment at the same time; a step that another process is running is refused.

`run_steps` runs steps in order, in this process, and ends at the first that fails. `parallel_steps.py` gives
them to several workers, and goes on with all that does not need a step that failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.evaluation.hardware import HARDWARE, name_hardware
from models.files import write_json
from models.locks import only_one

MARKER: Final = "done.json"
OPTIONS_FILE: Final = "options.json"
FAILURE_FILE: Final = "failed.json"
_LAST_LINES: Final = 15


class StepError(ValueError):
    """Report a step begun under other options, or a command that failed."""


@dataclass(frozen=True)
class ExperimentStep:
    """Describe a step: `run` fills the folder that it is given and returns notes.

    `options` is all that the result depends on. `group` is what ``--steps`` selects by. `needs` names the steps that
    must be done first.
    """

    name: str
    group: str
    options: Mapping[str, Any]
    run: Callable[[Path], Mapping[str, Any]]
    needs: tuple[str, ...] = ()


def run_steps(root: Path, steps: Sequence[ExperimentStep], say: Callable[[str], None]) -> None:
    """Run those of `steps` that are not done, in order.

    Raises `StepError` before any if one was begun under other options, and `locks.LockedError` at a step that another
    process is running.
    """
    check_options(root, steps)
    waiting = [step for step in steps if not is_done(root, step.name)]
    for i, step in enumerate(waiting, 1):
        say(f"[{i}/{len(waiting)}] {step.name}")
        run_step(root, step)


def run_step(root: Path, step: ExperimentStep) -> None:
    """Run one step unless it is done.

    Raises as `run_steps` does, and what the step raises.
    """
    with only_one(root / step.name):
        if not is_done(root, step.name):  # another process may have finished it meanwhile
            _run(root, step)


def check_options(root: Path, steps: Sequence[ExperimentStep]) -> None:
    """Raise `StepError` if one of `steps` was begun under other options."""
    for step in steps:
        path = root / step.name / OPTIONS_FILE
        if not path.is_file():
            continue
        then = json.loads(path.read_text("utf-8"))
        now = json.loads(json.dumps(dict(step.options)))  # as JSON reads it back, so that tuples equal lists
        for key in sorted(then.keys() | now.keys()):
            if then.get(key) != now.get(key):
                was, wanted = then.get(key), now.get(key)
                raise StepError(f"{path.parent}: was begun with {key} {was!r}, not {wanted!r}; choose another folder")


def is_done(root: Path, name: str) -> bool:
    """Tell whether a step is done."""
    return (root / name / MARKER).is_file()


def read_marker(root: Path, name: str) -> dict[str, Any] | None:
    """Read a done step's marker: ``seconds`` of its last run, ``resumed``, ``hardware``, ``notes``; else None."""
    return _read(root / name / MARKER) if is_done(root, name) else None


def read_markers(root: Path) -> list[dict[str, Any]]:
    """Read the markers of all done steps of an experiment."""
    return [_read(path) for path in sorted(root.rglob(MARKER))]


def record_failure(root: Path, name: str, reason: str) -> None:
    """Record the reason why a step is not done, in one line."""
    write_json(root / name / FAILURE_FILE, {"reason": reason})


def read_failure(root: Path, name: str) -> str | None:
    """Read the reason that was recorded for a step, unless it has been done since."""
    path = root / name / FAILURE_FILE
    if is_done(root, name) or not path.is_file():
        return None
    return str(json.loads(path.read_text("utf-8"))["reason"])


def forget_failure(root: Path, name: str) -> None:
    """Delete what `record_failure` recorded."""
    (root / name / FAILURE_FILE).unlink(missing_ok=True)


def parse_groups(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Make a parser of ``--steps`` that accepts some of the `known` groups, separated by commas."""

    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"must be among {', '.join(known)}, not {name!r}")
        return names

    return parse


def run_command(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
    """Run a command with its output in `log`.

    Raises `StepError` with the log's last lines if it fails.
    """
    with log.open("w", encoding="utf-8") as file:
        print("$", shlex.join(command), file=file, flush=True)
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **environment})
    if done.returncode:
        last = "\n".join(log.read_text("utf-8", "replace").splitlines()[-_LAST_LINES:])
        name = f"{log.parent.parent.name}: {log.parent.name}"
        raise StepError(f"{name} ended with status {done.returncode}; {log} ends with\n{last}")


def _read(marker: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(marker.read_text("utf-8"))
    return found


def _run(root: Path, step: ExperimentStep) -> None:
    check_options(root, [step])  # again: another process may have begun it since
    folder = root / step.name
    resumed = (folder / OPTIONS_FILE).exists()
    write_json(folder / OPTIONS_FILE, step.options)
    started = time.perf_counter()
    notes = dict(step.run(folder))
    seconds = time.perf_counter() - started
    write_json(folder / MARKER, {"seconds": seconds, "resumed": resumed, HARDWARE: name_hardware(), "notes": notes})
