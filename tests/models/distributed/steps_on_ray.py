"""Run made-up experiments by the actors of a local cluster, in turn; for a network namespace."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from models.distributed.cluster import RayOptions, connected
from models.evaluation.attempts import StepMaker
from models.evaluation.parallel_steps import run_in_parallel
from models.evaluation.step_actors import RayWorkers
from tests.models.evaluation import parallel_fakes as fakes

FAKES: dict[str, Callable[[Path], StepMaker]] = {
    "fails": lambda folder: partial(fakes.one_fails, folder / "run", folder),
    "is-killed": lambda folder: partial(fakes.one_is_killed, folder / "run"),
    "is-lost-once": lambda folder: partial(fakes.one_is_lost_once, folder / "run"),
    "waits": lambda folder: partial(fakes.one_waits, folder / "run", folder),
    "is-lost-idle": lambda folder: partial(fakes.one_is_lost_idle, folder / "run", folder),
    "together": lambda _: partial(fakes.two_together),
}
"""The steps of each experiment, by its folder."""
SAID = "said.json"


def main(folder: Path, names: list[str]) -> None:
    """Run the named experiments; leave in the folder of each why steps are not done, and what was said."""
    options = RayOptions("local", workers=2, device="cpu")
    with connected(options) as cluster:
        for name in names:
            make_steps, said = FAKES[name](folder / name), list[str]()
            wanted, say = [step.name for step in make_steps()], partial(_say, folder / name, said)
            failures = run_in_parallel(folder / name / "run", make_steps, wanted, RayWorkers(cluster), say)
            (folder / name / SAID).write_text(json.dumps({"failures": failures, "said": said}), "utf-8")


def _say(folder: Path, said: list[str], line: str) -> None:
    said.append(line)
    fakes.killing(folder, line)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
