"""Steps of a small experiment that other processes make again by its folder of `switches`, files that steer them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from models.evaluation.steps import ExperimentStep

_LIMIT = 120
"""Seconds that a step waits for a file of a test: generous, for a busy machine."""

Work = Callable[[Path], Mapping[str, Any]]


def make_step(name: str, run: Work, *needs: str, **options: Any) -> ExperimentStep:
    return ExperimentStep(name, "some", options, run, needs)


def wait_for(path: Path) -> None:
    end = time.monotonic() + _LIMIT
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


def write_number(number: int, *before: Path) -> Work:
    """A step whose result depends on those before it."""

    def run(folder: Path) -> dict[str, Any]:
        total = number + sum(int((path / "number").read_text("utf-8")) for path in before)
        (folder / "number").write_text(f"{total}\n", "utf-8")
        return {"total": total}

    return run


def one_fails(root: Path, switches: Path) -> list[ExperimentStep]:
    """Six steps, of which one raises an error until it is mended, two need it and three do not."""

    def fails(folder: Path) -> Mapping[str, Any]:
        print("the step says this")
        if not (switches / "mended").exists():
            raise ValueError("the world\nis not enough")
        return write_number(2)(folder)

    return [
        make_step("first", write_number(1)),
        make_step("fails", fails),
        make_step("behind", write_number(3, root / "fails"), "first", "fails"),
        make_step("far/behind", write_number(4, root / "behind"), "behind"),
        make_step("beside", write_number(5, root / "first"), "first"),
        make_step("last", write_number(6)),
    ]


def one_is_killed(root: Path) -> list[ExperimentStep]:
    """A step that kills its process, one that needs it, and one that does not."""

    def killed(folder: Path) -> dict[str, Any]:
        del folder
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    return [
        make_step("killed", killed),
        make_step("behind", write_number(1, root / "killed"), "killed"),
        make_step("beside", write_number(2)),
    ]


def two_together() -> list[ExperimentStep]:
    """Two steps of which each waits until the other has begun."""

    def meets(other: str) -> Work:
        def run(folder: Path) -> dict[str, Any]:
            (folder / "begun").touch()
            wait_for(folder.parent / other / "begun")
            return {"process": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}

        return run

    return [make_step("left", meets("right")), make_step("right", meets("left"))]


def two_in_any_order() -> list[ExperimentStep]:
    return [make_step("one", write_number(1)), make_step("two", write_number(2))]


def one_waits(root: Path, switches: Path) -> list[ExperimentStep]:
    """Three steps in a row, of which the second says that it is in the middle, and waits to be told to go on."""

    def waits(folder: Path) -> Mapping[str, Any]:
        (folder / "number").write_text("half", "utf-8")
        (switches / "pid").write_text(str(os.getpid()), "utf-8")
        (switches / "in-the-middle").touch()
        wait_for(switches / "go")
        return write_number(20, root / "first")(folder)

    return [
        make_step("first", write_number(1)),
        make_step("second", waits, "first"),
        make_step("third", write_number(300, root / "second"), "second"),
    ]


def one_is_lost_idle(root: Path, switches: Path) -> list[ExperimentStep]:
    """Two steps by two processes, of which `killing` kills one once it is idle, and two that need both."""

    def short(folder: Path) -> Mapping[str, Any]:
        (folder / "pid").write_text(str(os.getpid()), "utf-8")
        wait_for(root / "long" / "begun")
        return {}

    def long(folder: Path) -> Mapping[str, Any]:
        (folder / "begun").touch()
        wait_for(switches / "killed")
        return {}

    behind = [make_step(name, write_number(1), "short", "long") for name in ("left", "right")]
    return [make_step("short", short), make_step("long", long), *behind]


def killing(folder: Path, line: str) -> None:
    """Kill the process of the step `short` of `one_is_lost_idle`, once a run in `folder` says that it is done."""
    if line.startswith("short: done"):
        os.kill(int((folder / "run" / "short" / "pid").read_text("utf-8")), signal.SIGKILL)
        (folder / "killed").touch()


def sized(size: int) -> list[ExperimentStep]:
    return [make_step("new", write_number(1)), make_step("sized", write_number(size), size=size)]


def one_is_lost_once(root: Path) -> list[ExperimentStep]:
    """A step that kills its process the first time, in the middle, and goes on the second time; and one behind it."""

    def lost(folder: Path) -> Mapping[str, Any]:
        if not (folder / "half").exists():
            (folder / "half").write_text("20", "utf-8")
            os.kill(os.getpid(), signal.SIGKILL)
        return write_number(int((folder / "half").read_text("utf-8")), root / "first")(folder)

    return [
        make_step("first", write_number(1)),
        make_step("lost", lost, "first"),
        make_step("behind", write_number(300, root / "lost"), "lost"),
    ]
