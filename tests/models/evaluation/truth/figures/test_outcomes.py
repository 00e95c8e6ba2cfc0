"""True outcomes of lists, kept beside them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from models.contract.embeddings import unit_embeddings
from models.evaluation.truth.figures.outcomes import OUTCOMES_FILE, read_outcomes
from models.evaluation.truth.figures.results import Missing, Results
from models.evaluation.truth.paths import LISTS_FILE, method_step
from tests.models.evaluation.truth.figures import runs


@pytest.fixture
def folder(root: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "seed-0"
    shutil.copytree(root / method_step("main", "sort-gen", 0, 0), folder)
    (folder / OUTCOMES_FILE).unlink(missing_ok=True)
    return folder


def test_outcomes_are_those_of_the_truth(results: Results, folder: Path) -> None:
    cases = results.main.bench.cases
    found = read_outcomes({0: folder}, lambda: cases, seeded=True)
    lists = np.load(folder / LISTS_FILE)
    assert found.cumulative.shape == (1, runs.REQUESTS, runs.LENGTH, 3)
    for case, chosen, cumulative, diversity in zip(cases, lists, found.cumulative[0], found.diversity[0], strict=True):
        np.testing.assert_allclose(cumulative, case.outcomes(chosen[None])[0])
        unit = unit_embeddings([case.record.candidates[i].embedding for i in chosen]).astype(np.float64)
        cosines = [unit[i] @ unit[j] for i in range(len(unit)) for j in range(i)]
        assert diversity == pytest.approx(1 - np.mean(cosines))
    preferences = results.main.preferences()
    np.testing.assert_allclose(found.worth(preferences).values[0], preferences.step_value(found.cumulative[0, :, -1]))
    np.testing.assert_array_equal(found.total(2).values, found.up_to(runs.LENGTH - 1, 2).values)


def test_what_was_computed_is_kept_until_the_lists_change(results: Results, folder: Path) -> None:
    cases = results.main.bench.cases
    read_outcomes({0: folder}, lambda: cases, seeded=True)

    def unread() -> list[object]:
        raise AssertionError("the requests are read though all is known")

    kept = read_outcomes({0: folder}, unread, seeded=True)  # type: ignore[arg-type]
    lists = np.load(folder / LISTS_FILE)
    np.save(folder / LISTS_FILE, lists[:, ::-1])
    changed = read_outcomes({0: folder}, lambda: cases, seeded=True)
    assert not np.array_equal(kept.cumulative, changed.cumulative)
    (folder / OUTCOMES_FILE).write_bytes(b"broken")
    again = read_outcomes({0: folder}, lambda: cases, seeded=True)
    np.testing.assert_array_equal(again.cumulative, changed.cumulative)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (np.zeros((3, runs.LENGTH), np.int64), "holds 3 lists of 4 places, not 12 lists of 4 places"),
        (np.zeros((runs.REQUESTS, runs.LENGTH), np.int64), "are not candidates, each once"),
        (np.zeros((runs.REQUESTS, runs.LENGTH)), "not lists"),
    ],
)
def test_lists_that_are_none_fail_their_row_only(root: Path, tmp_path: Path, lists: object, message: str) -> None:
    copy = tmp_path / "run"
    shutil.copytree(root, copy)
    runs.save(copy, runs.POINT, "gref", lists)  # type: ignore[arg-type]
    found = runs.results_of(copy).main.outcomes("gref")
    assert isinstance(found, Missing)
    assert found.text == "failed"
    assert message in found.reason
