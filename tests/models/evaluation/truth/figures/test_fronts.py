"""Pareto fronts over objective mixes, and the volumes that they dominate."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.evaluation.truth.figures.fronts import front_charts, front_of, hypervolume, hypervolume_table
from models.evaluation.truth.figures.results import Results
from models.evaluation.truth.paths import LISTS_FILE, method_step
from tests.models.evaluation.truth.figures import runs


def test_points_that_another_beats_leave_the_front() -> None:
    points = np.array([[0.0, 3.0], [1.0, 1.0], [2.0, 2.0], [3.0, 0.0]])
    np.testing.assert_array_equal(front_of(points), points[[0, 2, 3]])


def test_the_hypervolume_is_the_area_above_the_reference() -> None:
    points = np.array([[1.0, 3.0], [2.0, 2.0], [1.0, 1.0]])
    assert hypervolume(points, np.zeros(2)) == pytest.approx(5.0)
    assert hypervolume(points, np.array([2.0, 2.0])) == pytest.approx(0.0)


def test_methods_under_several_mixes_have_a_front(results: Results) -> None:
    gmv, purchases = front_charts(results.main)
    assert (gmv.name, purchases.name, gmv.points) == ("front-clicks-gmv", "front-clicks-purchases", True)
    assert [line.title for line in gmv.lines] == ["BASE", "SORT-GEN-BEAM"]
    assert all(list(line.x) == sorted(line.x) for line in gmv.lines)
    table = hypervolume_table(results.main)
    assert table is not None
    base, ours = table.rows
    assert base.figures[1].mean == pytest.approx(0.0)
    volume = ours.figures[1]
    assert 0 < (volume.low or 0) <= (volume.mean or 0) <= (volume.high or 0)
    assert volume.low != volume.high
    assert "count from the lowest" in table.caption


def test_a_method_without_lists_of_some_mix_has_no_volume_beside_others(root: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    shutil.copytree(root, part)
    point = replace(runs.POINT, mixes=(*runs.MIXES, (0.0, 1.0, 0.0)))
    base = np.load(part / method_step("main", "base", 0, 0) / LISTS_FILE)
    runs.save(part, point, "base", base, mix=2)
    table = hypervolume_table(Results(part, runs.PROFILE, [point], runs.METHODS).main)
    assert table is not None
    whole, some = table.rows
    assert whole.figures[1].mean is not None
    assert (some.note, [figure.text for figure in some.figures]) == ("2 of 3 mixes", ["–"] * 4)


def test_nothing_is_drawn_before_lists_of_several_mixes_are_there(tmp_path: object) -> None:
    empty = runs.results_of(tmp_path).main  # type: ignore[arg-type]
    assert list(front_charts(empty)) == []
    assert hypervolume_table(empty) is None
