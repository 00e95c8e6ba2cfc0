"""The whole experiment in miniature, by its command: every row of the tables, and the orderings that are certain."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import cli
from models.contract.arrays import Floats
from models.evaluation.simulated.comparison import SimulatedCase, true_values
from models.evaluation.steps import MARKER, read_marker
from models.evaluation.truth.bench import Bench
from models.evaluation.truth.method import PlanContext
from models.evaluation.truth.paths import LISTS_FILE, fit_step, method_step
from models.evaluation.truth.points import Point, points_of
from models.evaluation.truth.profile import load_profile
from models.evaluation.truth.registry import METHODS
from models.evaluation.truth.steps import bench_of
from models.planners.references.sort_gen import Preferences
from models.reporting.contents import CONTENTS_FILE

PROFILE = load_profile("test")
POINTS = {point.name: point for point in points_of(PROFILE)}
MAIN, BLIND = POINTS["main"], POINTS["kappa-0"]


def _run(root: Path, *more: str) -> int:
    return cli.main(["evaluate", "truth", "--profile", "test", "--jobs", "1", "--out", str(root), *more])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything run."""
    folder = tmp_path_factory.mktemp("reduced") / "truth"
    assert _run(folder) == 0
    return folder


def _lists(root: Path, point: Point, method: str, mix: int = 0) -> Any:
    return np.load(root / method_step(point.name, method, mix, 0) / LISTS_FILE, allow_pickle=False)


def _bench(root: Path, point: Point) -> Bench:
    return bench_of(root, PROFILE, point)


def _preferences(bench: Bench, point: Point) -> Preferences:
    return Preferences(point.mixes[0], bench.units)


def _values(root: Path, point: Point) -> Mapping[str, Floats]:
    """True list values [n] by method."""
    bench = _bench(root, point)
    wish = _preferences(bench, point)
    return {name: wish.step_value(true_values(bench.cases, _lists(root, point, name))) for name in point.methods}


@pytest.fixture(scope="module")
def values(root: Path) -> Mapping[str, Floats]:
    return _values(root, MAIN)


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS.values(), ids=lambda point: point.name)
def test_every_list_is_of_the_requests_candidates_each_once(point: Point, root: Path) -> None:
    cases = _bench(root, point).cases
    for plan in point.plans():
        lists = np.load(root / method_step(point.name, plan.method, plan.mix, plan.seed) / LISTS_FILE)
        assert lists.shape == (PROFILE.requests, point.world.length), plan
        for case, chosen in zip(cases, lists.tolist(), strict=True):
            assert len(set(chosen)) == len(chosen), plan
            assert set(chosen) <= set(range(len(case.record.candidates))), plan


def test_no_list_is_better_than_the_best_of_all(values: Mapping[str, Floats]) -> None:
    for name, found in values.items():
        assert (found <= values["true-exhaustive"] + 1e-9).all(), name


def test_a_wider_search_under_true_values_finds_better_lists(values: Mapping[str, Floats]) -> None:
    assert values["true-exhaustive"].mean() >= values["true-beam"].mean() >= values["true-greedy"].mean()
    assert values["true-greedy"].mean() > values["random"].mean()


def test_the_base_is_between_random_lists_and_true_values(values: Mapping[str, Floats]) -> None:
    assert values["random"].mean() < values["base"].mean() < values["true-greedy"].mean()


def test_a_search_of_queues_under_true_values_is_between_the_base_and_the_search_of_all(
    values: Mapping[str, Floats],
) -> None:
    assert values["base"].mean() < values["true-queues-beam"].mean() <= values["true-beam"].mean()


def test_without_context_true_values_are_sorted(root: Path) -> None:
    bench = _bench(root, BLIND)
    for name in ("true-greedy", "true-beam"):
        for case, chosen in zip(bench.cases, _lists(root, BLIND, name).tolist(), strict=True):
            worth = _worth_of_items(case, _preferences(bench, BLIND))
            np.testing.assert_allclose(worth[chosen], np.sort(worth)[::-1][: len(chosen)], rtol=1e-9)


def test_without_context_no_list_is_better_than_the_sort_by_true_values(root: Path) -> None:
    values = _values(root, BLIND)
    assert {"base", "random", "true-greedy", "true-beam"} <= values.keys()
    for name, found in values.items():
        assert (found <= values["true-greedy"] + 1e-9).all(), name
    assert values["random"].mean() < values["base"].mean()


@pytest.mark.long
def test_no_method_but_a_ceiling_plans_otherwise_without_truth_and_labels(root: Path) -> None:
    bench = _bench(root, MAIN)
    blind = dataclasses.replace(bench)
    # What a service would get, and an error for whoever asks for the truth.
    blind.__dict__["cases"] = _Refusal()
    unlabelled = [dataclasses.replace(record, exposed=(), clicks=(), purchases=None, gmv=None) for record in bench.test]
    for name in MAIN.methods:
        method = METHODS[name]
        if method.cheating:
            continue
        marker = read_marker(root, method_step(MAIN.name, name, 0, 0))
        assert marker is not None
        needs = {fit: root / fit_step(MAIN.name, fit, 0) for fit in method.needs}
        context = PlanContext(blind, PROFILE, needs, _preferences(bench, MAIN), 0)
        lists = method.plan(context, unlabelled, marker["notes"]["setting"])
        np.testing.assert_array_equal(lists, _lists(root, MAIN, name), err_msg=name)


class _Refusal:
    """Stand where the test requests with their truth would be."""

    def __iter__(self) -> Iterator[SimulatedCase]:
        raise AssertionError("a method asked for true values")


def _worth_of_items(case: SimulatedCase, preferences: Preferences) -> Floats:
    alone = np.arange(len(case.record.candidates), dtype=np.int64)[:, None]
    worth: Floats = preferences.step_value(case.values(alone))
    return worth


def test_a_mix_of_clicks_alone_gets_more_clicks(root: Path) -> None:
    cases = _bench(root, MAIN).cases
    clicks = [true_values(cases, _lists(root, MAIN, "true-beam", mix))[:, 0].mean() for mix in (0, 1)]
    assert MAIN.mixes[1:] == ((1.0, 0.0, 0.0),)
    assert clicks[1] > clicks[0]


def test_the_report_has_every_row(root: Path) -> None:
    titles = {METHODS[name].title for name in MAIN.methods}
    report = json.loads((root / CONTENTS_FILE).read_text("utf-8"))
    shown = {row["title"] for table in report["tables"] for row in table["rows"]}
    assert titles <= shown
    text = (root / "report.md").read_text("utf-8")
    assert all(title in text for title in titles)


@pytest.mark.long
def test_a_second_run_makes_nothing_but_what_was_not_done_and_to_the_same_lists(root: Path) -> None:
    markers = {path: path.stat().st_mtime_ns for path in root.rglob(MARKER)}
    before = {path: path.read_bytes() for path in root.rglob(LISTS_FILE)}
    broken_off = [fit_step("main", fit, 0) for fit in ("ltr", "sort", "fft", "degre")]
    broken_off += [method_step("main", name, 0, 0) for name in ("ltr", "sort-gen", "fft", "degre")]
    for step in broken_off:
        (root / step / MARKER).unlink()
    assert _run(root) == 0
    again = {path: path.stat().st_mtime_ns for path in root.rglob(MARKER)}
    assert {path.parent for path in again if again[path] != markers[path]} == {root / step for step in broken_off}
    assert {path: path.read_bytes() for path in root.rglob(LISTS_FILE)} == before


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        (("--only", "bset"), "--only: 'bset' is not in this profile"),
        (("--points", "kappa-9"), "--points: 'kappa-9' is not in this profile"),
        (("--set", 'tables.methods=["bset"]'), "tables.methods: 'bset' is not a method"),
        (("--set", "sweeps.kapa=[1]"), "sweeps: 'kapa' is not a knob"),
        (("--set", "world.kappa=2"), "was begun with world.kappa 0.5, not 2"),
        (("--jobs", "0"), "--jobs: must be at least 1, not 0"),
        (("--ray", "local"), "--jobs: is for processes of this machine; --workers says how many the cluster of --ray"),
        (("--workers", "2"), "--workers: needs --ray"),
    ],
)
def test_what_cannot_be_run_is_named(
    option: tuple[str, str], problem: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(root, *option) == 2
    assert problem in capsys.readouterr().err


def test_a_step_that_fails_is_told_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(tmp_path / "out", "--steps", "methods", "--points", "kappa-0", "--only", "random") == 1
    missing = "kappa-0/methods/random/mix-0/seed-0: not run: needs kappa-0/data, which is not done"
    assert missing in capsys.readouterr().err
