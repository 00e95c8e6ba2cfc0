"""The steps of the experiment, with fits and methods that cost nothing: what they need, get and write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from models.data.list_file import read_lists
from models.evaluation.parallel_steps import run_in_parallel
from models.evaluation.step_processes import StepProcesses
from models.evaluation.steps import ExperimentStep, StepError, check_options, is_done, read_failure, read_marker
from models.evaluation.truth.method import Method
from models.evaluation.truth.paths import CHOICE_FILE, DATA_FILE, LISTS_FILE
from models.evaluation.truth.points import points_of
from models.evaluation.truth.steps import GROUPS, all_steps, bench_of
from models.evaluation.truth.wanted_steps import wanted_steps
from tests.models.evaluation.truth import fakes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, str]]:
    """A folder with everything run, and why some is not done."""
    root = tmp_path_factory.mktemp("truth") / "run"
    make_steps = partial(fakes.fake_steps, root)
    return root, run_in_parallel(root, make_steps, [step.name for step in make_steps()], StepProcesses(1))


def _by_name(root: Path) -> dict[str, ExperimentStep]:
    return {step.name: step for step in fakes.fake_steps(root)}


def test_steps_need_the_fits_of_their_seed_or_the_one_that_all_seeds_share(tmp_path: Path) -> None:
    steps = _by_name(tmp_path)
    data = "main/data"
    assert steps["main/methods/by-seed/mix-0/seed-1"].needs == (data, "main/fits/generator/seed-1")
    assert steps["main/fits/generator/seed-1"].needs == (data, "main/fits/model/seed-1")
    assert steps["main/methods/shared/mix-0/seed-1"].needs == (data, "main/fits/shared/seed-0")
    assert steps["main/methods/chosen/mix-0/seed-0"].needs == (data, "main/fits/judge/seed-0")
    assert steps["main/methods/base/mix-0/seed-0"].needs == (data,)
    assert not {
        name for name in steps if name.startswith(("main/fits/shared/seed-1", "main/methods/base/mix-0/seed-1"))
    }
    names = list(steps)
    assert all(names.index(need) < names.index(step.name) for step in steps.values() for need in step.needs)


def test_options_are_all_that_a_result_depends_on(tmp_path: Path) -> None:
    steps = _by_name(tmp_path)
    options = steps["main/methods/by-seed/mix-0/seed-1"].options
    assert (options["model.dim"], options["seed"], options["weights"]) == (8, 1, (5.0, 1.0, 1.0))
    assert options["world.kappa"] == 0.5
    assert steps["length-2/data"].options["world.length"] == 2
    assert steps["main/methods/chosen/mix-0/seed-0"].options["settings"] == (0.0, 1.0, 2.0)


@pytest.mark.long
def test_all_that_can_be_done_is_done_and_the_rest_says_why(run: tuple[Path, Mapping[str, str]]) -> None:
    root, failures = run
    problem = "RuntimeError: nothing was learnt with seed"
    assert failures["main/fits/broken/seed-1"] == f"{problem} 1"
    assert failures["main/methods/broken/mix-0/seed-1"] == "not run: needs main/fits/broken/seed-1, which failed"
    assert "[0, 0, 0] are not candidates, each once" in failures["main/methods/no-list/mix-0/seed-0"]
    assert len(failures) == 5
    assert {name for name in _by_name(root) if not is_done(root, name)} == failures.keys()
    assert all(read_failure(root, name) == reason for name, reason in failures.items())


def test_a_method_gets_the_fits_of_its_seed_and_a_fit_the_world_of_its_point(
    run: tuple[Path, Mapping[str, str]],
) -> None:
    root, _ = run
    assert (root / "main/fits/generator/seed-1/fitted.txt").read_text("utf-8").split() == ["1", "3", "model"]
    assert (root / "length-2/fits/generator/seed-0/fitted.txt").read_text("utf-8").split() == ["0", "2", "model"]
    lists = np.load(root / "main/methods/by-seed/mix-0/seed-1" / LISTS_FILE)
    assert lists.dtype == np.int64
    np.testing.assert_array_equal(lists, [[2, 3, 4]] * 4)


def test_a_setting_is_chosen_by_the_judge_on_validation_requests(run: tuple[Path, Mapping[str, str]]) -> None:
    root, _ = run
    folder = root / "main/methods/chosen/mix-0/seed-0"
    choice = json.loads((folder / CHOICE_FILE).read_text("utf-8"))
    assert len(choice["values"]) == 3
    assert choice["setting"] == float(max(choice["values"], key=choice["values"].get))
    np.testing.assert_array_equal(np.load(folder / LISTS_FILE)[:, 0], [choice["setting"]] * 4)
    marker = read_marker(root, "main/methods/chosen/mix-0/seed-0")
    assert marker is not None
    assert marker["notes"]["setting"] == choice["setting"]


def test_other_sizes_are_refused_by_what_depends_on_them_alone(run: tuple[Path, Mapping[str, str]]) -> None:
    root, _ = run
    more = replace(fakes.PROFILE, seeds=3, sweeps={"length": (2.0, 1.0)})
    check_options(root, fakes.fake_steps(root, more))
    with pytest.raises(StepError, match=r"model/seed-0: was begun with model\.dim 8, not 16"):
        check_options(root, fakes.fake_steps(root, replace(fakes.PROFILE, value_dim=16)))
    with pytest.raises(StepError, match=r"main/data: was begun with world\.kappa 0\.5, not 1\.0"):
        check_options(
            root, fakes.fake_steps(root, replace(fakes.PROFILE, world=replace(fakes.PROFILE.world, kappa=1.0)))
        )


@pytest.mark.long
def test_a_run_again_changes_nothing(run: tuple[Path, Mapping[str, str]]) -> None:
    root, failures = run
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != "log.txt"}
    make_steps = partial(fakes.fake_steps, root)
    assert run_in_parallel(root, make_steps, [step.name for step in make_steps()], StepProcesses(1)) == failures
    assert {path: path.read_bytes() for path in before} == before


def test_a_fit_that_does_not_exist_is_named(tmp_path: Path) -> None:
    methods = {**fakes.METHODS, "odd": Method("odd", "odd", "ours", fakes.rotate, ("modle",))}
    with pytest.raises(ValueError, match=r"odd: needs the fit 'modle', which does not exist"):
        all_steps(tmp_path, fakes.PROFILE, fakes.FITS, methods)


def test_the_bench_reads_the_logs_of_its_point(run: tuple[Path, Mapping[str, str]]) -> None:
    root, _ = run
    for point in points_of(fakes.PROFILE, fakes.METHODS):
        bench = bench_of(root, fakes.PROFILE, point)
        assert bench.length == point.world.length
        assert len(bench.test) == 4
        ids = {record.request_id for record in read_lists(root / point.name / "data" / DATA_FILE, "test")}
        assert {record.request_id for record in bench.test} <= ids


def test_steps_are_selected_with_all_that_they_need(tmp_path: Path) -> None:
    steps = fakes.fake_steps(tmp_path)
    assert wanted_steps(steps, GROUPS, ["by-seed"], ["length-2"], fakes.METHODS) == {
        "length-2/data",
        "length-2/fits/model/seed-0",
        "length-2/fits/generator/seed-0",
        "length-2/methods/by-seed/mix-0/seed-0",
    }
    assert wanted_steps(steps, ["data"]) == {"main/data", "length-2/data"}
    assert wanted_steps(steps, GROUPS) == {step.name for step in steps}
    rivals = wanted_steps(steps, ["methods"], ["rivals"], ["main"], fakes.METHODS)
    assert {name.split("/")[2] for name in rivals} == {"shared", "chosen", "broken", "no-list"}
    with pytest.raises(ValueError, match=r"--only: 'bset' is not in this profile; it has base, by-seed, "):
        wanted_steps(steps, GROUPS, ["bset"], None, fakes.METHODS)
    with pytest.raises(ValueError, match=r"--points: 'kappa-9' is not in this profile; it has main, length-2"):
        wanted_steps(steps, GROUPS, None, ["kappa-9"])
