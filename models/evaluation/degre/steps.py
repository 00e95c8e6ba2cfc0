"""Steps that are done once: each has a folder with its options and, once done, a marker that says how long it took.

A step that was interrupted left no marker and runs again; whatever can be resumed within it resumes by itself, which
is why a folder that was begun under other options is refused. Several processes may run different steps of one folder
at the same time; a step that another process is running is refused. It knows nothing about what steps do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.files import write_json
from models.locks import only_one

MARKER: Final = "done.json"
OPTIONS_FILE: Final = "options.json"


class StepError(ValueError):
    """A folder that was made under other options; the message names the step and the option."""


@dataclass(frozen=True)
class Step:
    """`run` fills the folder it is given and returns what is worth noting, as plain JSON.

    `options` is all that the result depends on. `group` is what ``--steps`` selects by.
    """

    name: str
    group: str
    options: Mapping[str, Any]
    run: Callable[[Path], Mapping[str, Any]]


def run_steps(root: Path, steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Run those of `steps` that are not done, in order. Raises `StepError` before any if one was begun otherwise.

    Raises `locks.LockedError` at a step that another process is running.
    """
    check_options(root, steps)
    waiting = [step for step in steps if not is_done(root, step.name)]
    for i, step in enumerate(waiting, 1):
        say(f"[{i}/{len(waiting)}] {step.name}")
        with only_one(root / step.name):
            if not is_done(root, step.name):  # another process may have finished it meanwhile
                _run(root / step.name, step)


def check_options(root: Path, steps: Sequence[Step]) -> None:
    """Raise `StepError` if one of `steps` was begun under other options."""
    for step in steps:
        _check_options(root / step.name, step)


def is_done(root: Path, name: str) -> bool:
    """Whether a step is done."""
    return (root / name / MARKER).is_file()


def read_marker(root: Path, name: str) -> dict[str, Any] | None:
    """The marker of a step that is done: ``seconds`` of the run that finished it, ``resumed``, ``notes``."""
    path = root / name / MARKER
    if not path.is_file():
        return None
    marker: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return marker


def _run(folder: Path, step: Step) -> None:
    _check_options(folder, step)
    resumed = (folder / OPTIONS_FILE).exists()
    write_json(folder / OPTIONS_FILE, step.options)
    started = time.perf_counter()
    notes = step.run(folder)
    write_json(folder / MARKER, {"seconds": time.perf_counter() - started, "resumed": resumed, "notes": dict(notes)})


def _check_options(folder: Path, step: Step) -> None:
    path = folder / OPTIONS_FILE
    if not path.is_file():
        return
    then = json.loads(path.read_text("utf-8"))
    now = json.loads(json.dumps(dict(step.options)))  # as JSON reads it back, so that tuples equal lists
    for key in sorted(then.keys() | now.keys()):
        if then.get(key) != now.get(key):
            raise StepError(
                f"{folder}: was begun with {key} {then.get(key)!r}, not {now.get(key)!r}; choose another folder"
            )
