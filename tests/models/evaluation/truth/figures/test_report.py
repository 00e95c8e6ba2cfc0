"""The report of a made-up run: tables, targets, charts, list pairs, and what it says of what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from models.evaluation.steps import MARKER
from models.evaluation.truth.figures.results import Results
from models.evaluation.truth.figures.rows import strongest_rival
from models.evaluation.truth.paths import LISTS_FILE, method_step
from models.evaluation.truth.report import make_contents, write_results
from models.reporting.contents import Chart, Contents, Figure, Row, Table, Target
from tests.models.evaluation.truth.figures import runs


@pytest.fixture(scope="module")
def contents(root: Path) -> Contents:
    return make_contents(runs.results_of(root), "listwright evaluate truth")


def table(contents: Contents, name: str) -> Table:
    return next(table for table in contents.tables if table.name == name)


def row(contents: Contents, table_name: str, name: str) -> Row:
    return next(row for row in table(contents, table_name).rows if row.name == name)


def chart(contents: Contents, name: str) -> Chart:
    return next(chart for chart in contents.charts if chart.name == name)


def target(contents: Contents, words: str) -> Target:
    return next(target for target in contents.targets if words in target.text)


def value_of(results: Results, name: str, seed: int = 0) -> float:
    """The mean list value of a method's lists, straight from the truth."""
    cases, preferences = results.main.bench.cases, results.main.preferences()
    lists = np.load(results.root / method_step("main", name, 0, seed) / LISTS_FILE)
    return float(np.mean([preferences.step_value(c.values(x[None])[0]) for c, x in zip(cases, lists, strict=True)]))


def test_a_copy_of_the_base_gains_nothing_without_width(contents: Contents) -> None:
    for name in ("base", "mmr"):
        for figure in row(contents, "base", name).figures[:4]:
            assert (figure.mean, figure.low, figure.high) == pytest.approx((0, 0, 0), abs=1e-12)
    assert row(contents, "base", "base").figures[5].text == "–"
    assert row(contents, "base", "mmr").figures[5].mean == pytest.approx(0, abs=1e-12)


def test_gains_and_the_gap_closed_are_those_of_the_means(results: Results, contents: Contents) -> None:
    base, ours, best = (value_of(results, name) for name in ("base", "sort-gen", "true-beam"))
    found = row(contents, "base", "sort-gen").figures
    assert found[3].mean == pytest.approx(ours / base - 1)
    assert found[5].mean == pytest.approx((ours - base) / (best - base))
    assert (found[5].low or 0) < (found[5].mean or 0) < (found[5].high or 0)
    same = row(contents, "base", "sort-gen-beam").figures[5]
    assert (same.mean, same.low, same.high) == pytest.approx((1, 1, 1))


def test_rows_have_settings_published_figures_and_notes(contents: Contents) -> None:
    assert row(contents, "base", "mmr").figures[6].text == "0.5, 0.7"
    assert row(contents, "base", "sort-gen").figures[6].text == "–"
    assert row(contents, "base", "true-beam").note == "knows true values"
    assert row(contents, "own-parts", "heads-1").note == "1 of 2 seeds"
    assert row(contents, "parts", "without-mmr").figures[4].text == "+3.82%, −0.84%, +4.28%"


def test_what_failed_and_what_was_not_run_is_said(contents: Contents) -> None:
    failed, waiting = row(contents, "base", "prm"), row(contents, "base", "gref")
    assert {figure.text for figure in failed.figures[:6]} == {"failed"}
    assert failed.note == "ValueError: the loss is not finite"
    assert {figure.text for figure in waiting.figures[:6]} == {"not run"}
    assert failed.figures[7].text == "+2.63%, +2.21%, +0.17%"
    assert contents.failures == ["main/methods/prm/mix-0/seed-0: ValueError: the loss is not finite"]


def test_ablations_are_compared_with_the_complete_method(results: Results, contents: Contents) -> None:
    values = {n: value_of(results, n) for n in ("sort-gen-paper", "without-mmr", "sort-gen-beam", "heads-1-beam")}
    lacking = row(contents, "parts", "without-mmr").figures[3]
    assert lacking.mean == pytest.approx(values["sort-gen-paper"] / values["without-mmr"] - 1)
    assert {r.group for r in table(contents, "own-parts").rows} == {"head width h"}
    beam = row(contents, "own-parts", "heads-1-beam").figures[3]
    assert beam.mean == pytest.approx(values["sort-gen-beam"] / values["heads-1-beam"] - 1)
    assert row(contents, "own-parts", "heads-1").figures[3] == Figure(mean=0.0, low=0.0, high=0.0)


def test_the_strongest_rival_is_that_of_the_highest_value(results: Results, contents: Contents) -> None:
    rival = strongest_rival(results.main)
    values = {name: value_of(results, name) for name in ("mmr", "pointwise")}
    assert rival == max(values, key=lambda name: values[name])
    found = row(contents, "strongest-rival", "sort-gen-beam").figures[3]
    assert found.mean == pytest.approx(value_of(results, "sort-gen-beam") / values[str(rival)] - 1)


def test_the_grid_pairs_value_models_and_planners(contents: Contents) -> None:
    grid = table(contents, "grid")
    assert [column.title for column in grid.columns] == ["beam", "sort"]
    cells = {r.title: [figure.text or "measured" for figure in r.figures] for r in grid.rows}
    assert cells == {"SORT": ["measured", "–"], "DeGRe": ["–", "not run"]}


def test_targets_are_met_missed_or_not_run(contents: Contents) -> None:
    assert target(contents, "beam over the base").met is True
    assert target(contents, "the same search").met is None
    assert target(contents, "a beam search of all").met is True


def test_losing_nothing_without_context_is_met_once_all_methods_of_ours_were_run(root: Path, tmp_path: Path) -> None:
    """The made-up run has the beam there, which equals the base, and not the greedy form."""
    some = target(make_contents(runs.results_of(root), ""), "κ = 0")
    assert some.met is None
    assert "1 of 2 that were run" in some.text
    assert "SORT-GEN-BEAM 0.00% [0.00, 0.00]" in some.reached
    whole = tmp_path / "whole"
    shutil.copytree(root, whole)
    flat = runs.results_of(whole).by_point["kappa-0"]
    runs.save(whole, flat.point, "sort-gen", runs.base_lists(flat.bench.cases))
    found = target(make_contents(runs.results_of(whole), ""), "κ = 0")
    assert (found.met, "that were run" in found.text) == (True, False)
    runs.save(whole, flat.point, "base", runs.best_lists(flat.bench.cases, flat.preferences()))
    assert target(make_contents(runs.results_of(whole), ""), "κ = 0").met is False


def test_a_sweep_follows_a_knob_and_says_where_lists_do_not_pay(contents: Contents) -> None:
    sweep = chart(contents, "sweep-kappa")
    line = next(line for line in sweep.lines if line.title == "SORT-GEN-BEAM")
    assert list(line.x) == [0.0, 2.0]
    assert line.y[0] == pytest.approx(0.0, abs=1e-9)
    assert sweep.finding.startswith(
        "Context strength κ: SORT-Gen with its beam does not surely gain over the strongest cheap sort at 0 (0.0%"
    )
    measured = [r for r in table(contents, "sweep-kappa-gains").rows if r.name == "sort-gen-beam"]
    assert [r.group for r in measured] == ["clicks", "purchases", "GMV", "list value"]
    cells = measured[3].figures
    assert cells[1] == row(contents, "base", "sort-gen-beam").figures[3]
    learning = chart(contents, "sweep-lists")
    assert (learning.kind, learning.log_x, list(learning.lines[0].x)) == ("learning", True, [80.0, 240.0])


def test_cumulative_value_ends_at_the_whole_list(results: Results, contents: Contents) -> None:
    clicks = {line.title: line for line in chart(contents, "positions-clicks").lines}
    base = results.main.outcomes("base")
    assert list(clicks["BASE"].x) == [1.0, 2.0, 3.0, 4.0]
    assert clicks["BASE"].y[-1] == pytest.approx(base.total(0).values.mean())  # type: ignore[union-attr]


def test_calibration_covers_logged_and_planned_lists(contents: Contents) -> None:
    found = chart(contents, "calibration")
    assert [line.title for line in found.lines] == ["logged lists", "lists of SORT-GEN-BEAM"]
    assert [len(line.x) for line in found.lines] == [10, 10]
    assert all(list(line.x) == sorted(line.x) for line in found.lines)


def test_list_pairs_show_the_largest_the_median_and_the_smallest_gain(results: Results, contents: Contents) -> None:
    titles = [pair.title.split(":")[0] for pair in contents.pairs]
    assert titles[:2] == ["Largest gain", "Median gain"]
    assert titles[2] in ("Smallest gain", "Largest loss")
    gains = [float(pair.title.split(": ")[1].split("%")[0].replace("−", "-")) for pair in contents.pairs]
    assert gains == sorted(gains, reverse=True)
    pair = contents.pairs[0]
    assert list(pair.queues) == ["clicks", "purchases", "GMV", "objective formula"]
    assert pair.sides == ("BASE", "SORT-GEN-BEAM")
    assert [item.id for item in pair.before] != [item.id for item in pair.after]
    assert {"category", "price"} <= set(pair.after[0].attributes)
    assert all(-1 <= item.queue < 4 for item in (*pair.before, *pair.after))
    shown = [item.id for item in pair.before]
    cases = results.main.bench.cases
    case = next(c for c in cases if [candidate.id for candidate in c.record.candidates[: runs.LENGTH]] == shown)
    steps = case.outcomes(runs.base_lists([case]))[0]
    assert sum(item.gmv for item in pair.before) == pytest.approx(steps[-1, 2])


@pytest.mark.long
def test_the_report_is_written_and_read_back(root: Path) -> None:
    text = write_results(runs.results_of(root), "listwright evaluate truth --out run")
    assert (root / "report.md").read_text("utf-8") == text
    assert Contents.read(root).kind == "truth"
    for picture in ("sweep-kappa", "positions-gmv", "calibration"):
        assert f"(charts/{picture}.svg)" in text
        assert (root / "charts" / f"{picture}.svg").read_text("utf-8").startswith("<?xml")
    assert "listwright evaluate truth --out run" in text
    assert "SHA-256" in text
    assert "| rivals   | PRM " in text
    assert "- PRM: ValueError: the loss is not finite" in text
    for section in text.split("\n## "):
        bullets = [line for line in section.splitlines() if line.startswith("- ")]
        assert len(bullets) == len(set(bullets)), section


def test_a_sweep_names_the_values_that_are_not_known(root: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    shutil.copytree(root, part)
    shutil.rmtree(part / method_step("kappa-0", "sort-gen-beam", 0, 0))
    finding = chart(make_contents(runs.results_of(part), ""), "sweep-kappa").finding
    assert "It is not known at 0." in finding
    shutil.rmtree(part / method_step("main", "sort-gen-beam", 0, 0))
    shutil.rmtree(part / method_step("main", "sort-gen-beam", 0, 1))
    assert chart(make_contents(runs.results_of(part), ""), "sweep-kappa").finding == ""


def test_steps_that_were_resumed_are_said_to_be_timed_in_part(root: Path, tmp_path: Path) -> None:
    assert "resumed" not in make_contents(runs.results_of(root), "").setting["steps"]
    part = tmp_path / "part"
    shutil.copytree(root, part)
    marker = part / method_step("main", "base", 0, 0) / MARKER
    marker.write_text(marker.read_text().replace('"resumed": false', '"resumed": true'))
    told = make_contents(runs.results_of(part), "").setting["steps"]
    assert told.endswith("if run one after another, of 1 that were resumed only the last part")


def test_a_run_that_has_not_begun_says_so_everywhere(tmp_path: Path) -> None:
    text = write_results(runs.results_of(tmp_path), "listwright evaluate truth")
    assert "not run" in text
    contents = Contents.read(tmp_path)
    assert {target.met for target in contents.targets} == {None}
    assert (list(contents.tables), list(contents.charts), list(contents.pairs)) == ([], [], [])
    assert {"Against the base (Table 1's form)", "Gains by context strength κ"} <= set(
        contents.setting["not run"].split("; ")
    )


def test_a_seed_that_is_missing_is_left_out_of_all_that_is_compared(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(root, copy)
    shutil.rmtree(copy / method_step("main", "sort-gen", 0, 0))
    found = row(make_contents(runs.results_of(copy), ""), "base", "sort-gen")
    assert found.note == "1 of 2 seeds"
    assert found.figures[3].mean is not None


def test_methods_that_were_never_run_with_one_seed_are_not_compared(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(root, copy)
    shutil.rmtree(copy / method_step("main", "sort-gen-beam", 0, 0))
    for seed, name in ((1, "mmr"), (1, "sort-gen-paper"), (1, "without-mmr")):
        shutil.rmtree(copy / method_step("main", name, 0, seed))
    contents = make_contents(runs.results_of(copy), "")
    assert row(contents, "base", "sort-gen-beam").note == "1 of 2 seeds"
    assert target(contents, "beam over the base").met is True
    assert contents.pairs == []
    assert [line.title for line in chart(contents, "front-clicks-gmv").lines] == ["BASE"]


def test_the_summary_says_what_was_gained(contents: Contents) -> None:
    gained, over = (row(contents, table, "sort-gen-beam").figures[0].mean for table in ("base", "strongest-rival"))
    told = contents.summary
    assert told.startswith(f"SORT-GEN-BEAM changes clicks by {100 * (gained or 0):+.1f}%")
    assert f"clicks by {100 * (over or 0):+.1f}%".replace("-", "−") in told
    assert "It closes 100% of the gap" in told


def test_the_strongest_rival_says_which_rivals_it_was_chosen_from(contents: Contents) -> None:
    words = "of the 2 of 4 rivals that were run"
    assert words in contents.summary
    assert words in table(contents, "strongest-rival").caption
    assert words in target(contents, "strongest rival").text


def test_sweeps_say_how_many_seeds_stand_behind_them(contents: Contents) -> None:
    caption = table(contents, "sweep-kappa-gains").caption
    assert "There is one seed" in caption
    assert "The world of the tables was run with 2 seeds" in caption
    assert chart(contents, "sweep-kappa").finding.endswith("One seed: other seeds may differ.")
