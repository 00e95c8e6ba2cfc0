"""The experiment driver on tiny lists: every step runs, an interrupted run goes on, a report says what is missing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import cli
from models.baselines.generators.training import train_baseline
from models.data.list_writer import write_lists
from models.evaluation.attempts import StepMaker
from models.evaluation.degre import driver, planner_steps, searches
from models.evaluation.degre import report as report_module
from models.evaluation.degre.profile import PROFILES, load_profile
from models.evaluation.degre.scores import PlannerRun, ScoreKind, score
from models.evaluation.degre.workspace import Workspace
from models.evaluation.steps import check_options
from models.reporting.contents import Contents
from models.reporting.page import render
from tests.models.evaluation.degre.tiny import PROFILE, TINY, write_simulated
from tests.models.tables import compact
from tests.models.training.records import make_records

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_simulated(tmp_path_factory.mktemp("degre-driver") / "sim.parquet")


@pytest.fixture(scope="module")
def whole(simulated: Path) -> Path:
    """A folder with everything run."""
    out = simulated.parent / "whole"
    assert _run(simulated, out) == 0
    return out


def _run(data: Path | str, out: Path, *more: str) -> int:
    return cli.main(["evaluate", "degre", "--data", str(data), "--out", str(out), *TINY, *more])


def _report(out: Path) -> Any:
    return json.loads((out / "figures.json").read_text("utf-8"))


def _cells(report: Any) -> Iterator[Any]:
    for part in report["hit_rates"].values():
        yield from part["rows"]


def test_every_planner_is_judged_by_every_judge_and_the_truth(whole: Path) -> None:
    report = _report(whole)
    assert set(report["hit_rates"]) == {"primary", "own", "architecture", "ensemble", "truth"}
    assert all(row["hit_rate"] is not None for row in _cells(report))
    assert {row["title"] for row in report["hit_rates"]["truth"]["rows"]} >= {
        "DeGRe B=1", "DeGRe B=2", "DeGRe B=1 + local search", "DeGRe B=2 + local search",
        "DeGRe B=2 + local search from all lists", "DeGRe B=2 + local search from all lists, 16 requests",
        "NAR4Rec", "GReF", "NLGR-G", "GoalRank", "PRM", "evaluator, beam 2 + local search from all lists",
        "random list", "sort by prior score", "evaluator, greedy", "evaluator, exhaustive",
    }  # fmt: skip


def test_planners_that_search_the_judge_itself_are_ceilings_and_no_rivals(whole: Path) -> None:
    report = _report(whole)
    ceilings = {j: {r["title"] for r in part["rows"] if r["ceiling"]} for j, part in report["hit_rates"].items()}
    assert "evaluator, greedy" in ceilings["own"]
    assert not ceilings["primary"]
    assert not ceilings["own"] & {d["theirs"] for d in report["differences"]["own"]}
    assert "evaluator, greedy" in {d["theirs"] for d in report["differences"]["primary"]}


def test_paired_values_are_the_differences_of_the_mean_values(whole: Path) -> None:
    report = _report(whole)
    for judge, pairs in report["differences"].items():
        mean = {row["title"]: row["value"]["mean"] for row in report["hit_rates"][judge]["rows"] if row["requests"]}
        for pair in pairs:
            assert pair["value"]["low"] <= pair["value"]["mean"] <= pair["value"]["high"]
            assert pair["value"]["mean"] == pytest.approx(mean[pair["ours"]] - mean[pair["theirs"]], abs=1e-6)


def test_nothing_is_better_than_the_exhaustive_optimum_under_its_own_evaluator(whole: Path) -> None:
    rows = {row["title"]: row for row in _report(whole)["exhaustive"]["own"]["rows"]}
    optimum = rows["evaluator, exhaustive"]
    assert optimum["optimality"]["mean"] == pytest.approx(1, abs=1e-5)
    assert optimum["better"]["mean"] == 0
    assert all(row["optimality"]["mean"] <= 1 + 1e-5 for row in rows.values())


def test_gains_over_the_sort_are_those_of_sets_and_orders_together(whole: Path) -> None:
    for rows in _report(whole)["sets_and_orders"].values():
        assert {"DeGRe B=2", "GoalRank", "random list"} <= {row["title"] for row in rows}
        for row in rows:
            assert row["gain"]["mean"] == pytest.approx(row["set"]["mean"] + row["order"]["mean"])


def test_gains_over_the_sort_come_with_the_share_of_the_beams_gain_that_they_are(whole: Path) -> None:
    report, text = _report(whole), (whole / "report.md").read_text("utf-8")
    for part in (report, *report["mixes"]):
        for judge, rows in part["gains"].items():
            gained = {row["title"]: row for row in rows}
            values = {row["title"]: row["value"]["mean"] for row in part["hit_rates"][judge]["rows"] if row["value"]}
            assert {"DeGRe B=2", "GoalRank", "evaluator, beam 2", "evaluator, greedy"} <= set(gained)
            base, beam = values["sort by prior score"], gained["evaluator, beam 2"]
            for title, row in gained.items():
                assert row["gain"]["mean"] == pytest.approx(values[title] - base, abs=1e-5)
                assert row["relative"]["mean"] == pytest.approx(row["gain"]["mean"] / base, abs=1e-4)
                if beam["kept"] is not None:
                    assert row["kept"]["mean"] == pytest.approx(row["gain"]["mean"] / beam["gain"]["mean"], rel=1e-3)
            assert beam["kept"] is None or beam["kept"]["mean"] == pytest.approx(1)
    assert "| of what evaluator, beam 2 gains |" in compact(text)


def test_mixes_ablations_sweeps_and_evaluators_have_their_tables(whole: Path) -> None:
    report = _report(whole)
    assert [mix["weights"] for mix in report["mixes"]] == [[5, 1, 1]]
    assert all(row["hit_rate"] for row in report["mixes"][0]["hit_rates"]["truth"]["rows"])
    assert [row["title"] for row in report["ablations"]["primary"]["rows"]] == [
        "DeGRe (B=2)", "DeGRe (B=2 + local search)", "without soft label", "without sequence weighting",
        "without hard label", "exposure only",
    ]  # fmt: skip
    assert [(s["symbol"], [p["x"] for p in s["points"]]) for s in report["sweeps"]] == [
        ("B", [1, 2]), ("α", [0, 0.01]), ("τ_w", [1]),
    ]  # fmt: skip
    assert {row["evaluator"] for row in report["accuracy"]["rows"]} == {
        "deepfm", "pier", "nlgr-e", "SORT, hazards", "DeGRe-E, hazards",
        "SORT, as in the papers", "DeGRe-E, as in the papers",
    }  # fmt: skip
    assert (whole / "sweeps.svg").read_text("utf-8").lstrip().startswith("<?xml")
    assert (whole / "hit-rates.svg").exists()


def test_ablations_are_paired_with_the_whole_method_on_more_requests_than_have_random_lists(whole: Path) -> None:
    report, text = _report(whole), (whole / "report.md").read_text("utf-8")
    for judge, rows in report["distances"].items():
        assert [row["title"] for row in rows] == [row["title"] for row in report["ablations"][judge]["rows"][1:]]
        for row in rows:
            difference = row["difference"]
            assert difference["lists"] == 8 > report["setting"]["requests"]
            half = (difference["high"] - difference["low"]) / 2
            if difference["mean"]:
                assert row["needed"] == pytest.approx(8 * (half / difference["mean"]) ** 2, abs=1)
    members, folder = ("full", "exposure"), whole / "planners"
    full, exposure = (np.load(folder / f"ablation-{m}/mix-0/seed-0/values-primary.npy") for m in members)
    found = {row["title"]: row["difference"]["mean"] for row in report["distances"]["primary"]}
    assert found["exposure only"] == pytest.approx(float((exposure - full).mean()), abs=1e-6)
    assert "| requests to tell them apart |" in compact(text)


def test_the_grid_has_every_value_model_under_every_planner(whole: Path) -> None:
    report, text = _report(whole), (whole / "report.md").read_text("utf-8")
    planners = ["sort", "queues", "beam 2", "beam 2 + local search", "pointer, B=2 + local search"]
    models = ["SORT, as in the papers", "DeGRe-E, as in the papers", "SORT, hazards", "DeGRe-E, hazards"]
    assert [(e["model"], e["planner"]) for e in report["grid"]] == [(m, p) for m in models for p in planners]
    for entry in report["grid"]:
        own = entry["model"] == "DeGRe-E, hazards" and not entry["planner"].startswith("pointer")
        assert entry["judges"]["own"]["ceiling"] == own
        assert all(row["hit_rate"] is not None for row in entry["judges"].values())
    assert "| SORT, hazards | beam 2 + local search |" in compact(text)
    # Each model's local search is the best list of its own, not another's.
    lists = [np.load(whole / f"planners/grid-{m}-beam-local-search/mix-0/seed-0/lists.npy").tolist()
             for m in ("evaluator-papers", "evaluator-concat")]  # fmt: skip
    assert lists[0] != lists[1]


def test_the_report_states_data_sizes_seeds_and_command(whole: Path) -> None:
    report, text = _report(whole), (whole / "report.md").read_text("utf-8")
    assert report["setting"]["data"]["file"] == "sim.parquet"
    assert report["setting"]["profile"]["dim"] == 8
    assert report["setting"]["requests"] == 6
    assert "listwright" in report["setting"]["command"]
    assert report["setting"]["data"]["sha256"] in text
    assert "not run" not in text
    assert all(step["seconds"] > 0 for step in report["steps"])


def test_the_page_of_a_run_shows_its_figures(whole: Path) -> None:
    report, contents = _report(whole), Contents.read(whole)
    tables = {table.name: table for table in contents.tables}
    for judge, part in report["hit_rates"].items():
        rows = tables[f"hit-rates-{judge}"].rows
        assert [row.title for row in rows] == [entry["title"] for entry in part["rows"]]
        assert [row.figures[0].mean for row in rows] == [entry["hit_rate"]["1"]["mean"] for entry in part["rows"]]
    assert {"gains-truth", "orders-own", "exhaustive-own", "accuracy", "ablations-primary", "steps"} <= set(tables)
    assert [(chart.x_title, len(chart.lines)) for chart in contents.charts] == [("B", 5), ("α", 5), ("τ_w", 5)]
    assert contents.title in render({"run": contents})


def test_a_second_run_does_nothing_but_the_report(whole: Path, simulated: Path, capsys: Any) -> None:
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("done.json")}
    assert _run(simulated, whole) == 0
    assert {p: p.stat().st_mtime_ns for p in whole.rglob("done.json")} == before
    assert "[1/" not in capsys.readouterr().out


def test_other_sizes_in_the_same_folder_are_refused(whole: Path, simulated: Path, capsys: Any) -> None:
    assert _run(simulated, whole, "--set", "dim=16") != 0
    assert "was begun with dim 8, not 16" in capsys.readouterr().err


def test_a_report_of_other_sizes_than_were_run_is_refused(whole: Path, simulated: Path, capsys: Any) -> None:
    """The sizes in its head would not be those behind its figures."""
    before = (whole / "report.md").read_bytes()
    assert _run(simulated, whole, "--set", "dim=16", "--steps", "report") != 0
    assert "was begun with dim 8, not 16" in capsys.readouterr().err
    assert (whole / "report.md").read_bytes() == before


def test_a_planner_that_another_process_finishes_during_a_report_is_left_to_the_next(
    whole: Path, simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    planner = out / "planners/goalrank/mix-0/seed-0"
    for path in [*planner.glob("values-*.npy"), *planner.glob("sets-*.npy")]:
        path.unlink()
    (planner / "done.json").rename(tmp_path / "done.json")

    def finished_afterwards(space: Workspace, runs: Sequence[PlannerRun], kind: ScoreKind = "values") -> None:
        score(space, runs, kind)
        if kind == "values":
            (tmp_path / "done.json").rename(planner / "done.json")

    with monkeypatch.context() as patch:
        patch.setattr(report_module, "score", finished_afterwards)
        assert _run(simulated, out, "--steps", "report") == 0
    rows = {row["title"]: row for row in _report(out)["hit_rates"]["primary"]["rows"]}
    assert rows["GoalRank"]["hit_rate"] is None
    assert rows["PRM"]["hit_rate"] is not None
    assert _run(simulated, out, "--steps", "report") == 0
    assert [row["hit_rate"] for row in _cells(_report(out))] == [row["hit_rate"] for row in _cells(_report(whole))]


def test_lists_that_were_made_again_are_valued_again(whole: Path, simulated: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    planner, other = (out / f"planners/{name}/mix-0/seed-0" for name in ("random", "beam"))
    before = np.load(planner / "values-primary.npy")
    shutil.copyfile(other / "lists.npy", planner / "lists.npy")
    assert _run(simulated, out, "--steps", "report") == 0
    after = np.load(planner / "values-primary.npy")
    assert not np.array_equal(after, before)
    np.testing.assert_allclose(after, np.load(other / "values-primary.npy"), rtol=1e-5)


def test_an_interrupted_run_goes_on_to_the_same_result(
    whole: Path, simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while searching, after the evaluator; the lists are those of a run that was not killed."""
    out, wanted = tmp_path / "out", ("--steps", "data,evaluator,search,report")
    with monkeypatch.context() as patch:
        patch.setattr(searches, "beam_search", _killed)
        assert _run(simulated, out, *wanted) == 130
    assert not (out / "planners/greedy/mix-0/seed-0/done.json").exists()
    assert _run(simulated, out, *wanted) == 0
    for planner in ("greedy", "beam-local-search"):
        path = f"planners/{planner}/mix-0/seed-0/lists.npy"
        assert (out / path).read_bytes() == (whole / path).read_bytes()
    text, report = (out / "report.md").read_text("utf-8"), _report(out)
    assert "not run" in text
    assert report["hit_rates"]["architecture"] is None
    rows = {row["title"]: row for row in report["hit_rates"]["primary"]["rows"]}
    assert rows["evaluator, greedy"]["hit_rate"] is not None
    assert rows["GoalRank"]["hit_rate"] is None
    assert "steps are not done" in Contents.read(out).summary
    assert "Not run." in render({"run": Contents.read(out)})


def test_a_generator_that_was_trained_but_not_decoded_is_not_trained_again(
    whole: Path, simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, wanted = tmp_path / "out", ("--steps", "data,evaluator,mining,degre")
    with monkeypatch.context() as patch:
        patch.setattr(planner_steps, "decoded", _killed)
        assert _run(simulated, out, *wanted) == 130
    folder = "planners/degre-b2-local-search-all-more/mix-0/seed-0"
    state = (out / folder / "last.pt").stat().st_mtime_ns
    assert _run(simulated, out, *wanted) == 0
    assert (out / folder / "last.pt").stat().st_mtime_ns == state
    assert (out / folder / "lists.npy").read_bytes() == (whole / folder / "lists.npy").read_bytes()
    assert json.loads((out / folder / "done.json").read_text("utf-8"))["resumed"]


def test_a_step_that_fails_is_named_and_the_others_have_their_rows(
    whole: Path, simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    for planner in ("prm", "nar4rec"):
        shutil.rmtree(out / f"planners/{planner}/mix-0/seed-0")

    def diverged(name: str, *args: Any, **options: Any) -> Any:
        if name == "nar4rec":
            raise ValueError("the loss is no longer finite in epoch 1")
        return train_baseline(name, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(planner_steps, "train_baseline", diverged)
        assert _run(simulated, out, "--steps", "baselines,report") == 1
    assert "planners/nar4rec/mix-0/seed-0 failed: the loss is no longer finite in epoch 1" in capsys.readouterr().err
    rows = {row["title"]: row for row in _report(out)["hit_rates"]["primary"]["rows"]}
    assert rows["NAR4Rec"]["hit_rate"] is None
    assert rows["PRM"]["hit_rate"] is not None
    assert _run(simulated, out, "--steps", "baselines") == 0


@pytest.mark.slow
def test_two_processes_come_to_the_same_lists_as_one(whole: Path, simulated: Path, tmp_path: Path) -> None:
    out, data = tmp_path / "out", tmp_path / simulated.name
    data.symlink_to(shutil.copyfile(simulated, tmp_path / "v1.parquet"))
    assert _run(data, out, "--steps", "data,evaluator,search,mining", "--jobs", "2") == 0
    made = {path.relative_to(out) for path in out.glob("planners/*/mix-0/seed-*/lists.npy")}
    assert {path.parts[1] for path in made} > {"greedy", "beam-local-search", "random", "prior"}
    for path in made:
        assert (out / path).read_bytes() == (whole / path).read_bytes()


@pytest.mark.parametrize("workers", [["--jobs", "2"], ["--ray", "local"]], ids=" ".join)
@pytest.mark.parametrize("kind", ["link", "URL", "relative"])
def test_workers_begin_the_steps_of_a_link_or_url_as_one_process_does(
    kind: str, workers: list[str], whole: Path, simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All steps are done, so the options of those that a worker makes in another folder must be the same."""
    out, seen = tmp_path / "out", list[Any]()
    shutil.copytree(whole, out)

    def run_in_parallel(root: Path, make_steps: StepMaker, *_: Any) -> dict[str, str]:
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            seen.extend(make_steps())
        check_options(root, seen)
        return {}

    monkeypatch.setattr(driver, "run_in_parallel", run_in_parallel)
    monkeypatch.setattr(driver, "step_workers", lambda *_: nullcontext("some workers"))
    link = tmp_path / simulated.name
    link.symlink_to(shutil.copyfile(simulated, tmp_path / "v1.parquet"))
    data = {"link": str(link), "URL": simulated.as_uri(), "relative": simulated.name}[kind]
    monkeypatch.chdir(simulated.parent)
    assert _run(data, out, "--steps", "data,evaluator", *workers) == 0
    assert seen


def test_what_needs_a_step_that_is_not_done_is_not_run_and_says_so(
    whole: Path, simulated: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole / "data", out / "data")
    assert _run(simulated, out, "--steps", "search") == 1
    assert "planners/greedy/mix-0/seed-0: not run: needs value/evaluator, which is not done" in capsys.readouterr().err
    assert (out / "planners/prior/mix-0/seed-0/done.json").exists()
    assert not (out / "planners/greedy/mix-0/seed-0").exists()


def test_no_processes_at_all_are_refused(simulated: Path, tmp_path: Path, capsys: Any) -> None:
    assert _run(simulated, tmp_path / "out", "--jobs", "0") == 2
    assert "--jobs: must be at least 1, not 0" in capsys.readouterr().err


def test_workers_of_this_machine_and_of_a_cluster_do_not_go_together(tmp_path: Path, capsys: Any) -> None:
    assert _run(tmp_path / "none", tmp_path / "out", "--ray", "local", "--jobs", "2") == 2
    assert "--jobs: is for processes of this machine" in capsys.readouterr().err
    assert _run(tmp_path / "none", tmp_path / "out", "--workers", "2") == 2
    assert "--workers: needs --ray" in capsys.readouterr().err


def test_lists_with_clicks_alone_have_no_truth_and_no_mixes(tmp_path: Path) -> None:
    records = [r for split, n in (("train", 40), ("valid", 6), ("test", 6)) for r in _clicks_only(split, n)]
    write_lists(tmp_path / "lists.parquet", records, {"source": "movielens"})
    out = tmp_path / "out"
    assert _run(tmp_path / "lists.parquet", out, "--steps", "data,evaluator,search,mining,degre,report") == 0
    report = _report(out)
    assert set(report["hit_rates"]) == {"primary", "own", "architecture", "ensemble"}
    assert report["mixes"] == []
    rows = {row["title"]: row for row in report["hit_rates"]["primary"]["rows"]}
    assert rows["DeGRe B=2"]["hit_rate"] is not None


def test_a_report_of_nothing_is_refused(simulated: Path, tmp_path: Path, capsys: Any) -> None:
    assert _run(simulated, tmp_path / "out", "--steps", "report") != 0
    assert "run the step 'data' first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("seeds=0", "seeds: must be at least 1, not 0"),
        ("exhaustive_requests=-1", "exhaustive_requests: must be at least 0, not -1"),
        ("random_lists=1", "random_lists: must be at least 2"),
        ("sweep_beams=[1,0]", "sweep_beams: must be at least 1, not 0"),
        ("sweep_temperatures=[0.1,0]", "sweep_temperatures: must be positive, not 0.0"),
        ("sweep_alphas=[-1]", "sweep_alphas: must be at least 0, not -1.0"),
        ("heads=3", "dim: must be a multiple of heads (3), not 8"),
        ("generator_dropout=1", "dropout: must be within 0..1, not 1.0"),
        ("sweep_beams=1;2", "sweep_beams: Expected `array`, got `str`"),
        ("local_searches=['some']", "local_searches[0]: Invalid enum value 'some'"),
        ("local_searches=[]", "local_searches: must be some of best and all, not ()"),
        ("objectives=[[0,0,0]]", "objectives: must be three numbers of at least 0, not all 0"),
        ("dims=8", "dims: is not a size of a profile"),
    ],
)
def test_sizes_that_make_no_sense_are_named_before_anything_is_run(
    change: str, problem: str, simulated: Path, tmp_path: Path, capsys: Any
) -> None:
    assert _run(simulated, tmp_path / "out", "--set", change) == 2
    assert f"--set: {problem}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("seeds = 0", "seeds: must be at least 1, not 0"),
        ("sweep_beams = [1, 'two']", "sweep_beams[1]: Expected `int`, got `str`"),
        ("dims = 8", "dims: is not a size of a profile"),
        ("dim = ", "is not TOML"),
    ],
)
def test_a_profile_file_that_makes_no_sense_is_named_with_its_key(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=re.escape(f"{path}: {problem}")):
        load_profile(str(path))


def test_the_profile_of_the_tables_has_the_sizes_of_the_targets() -> None:
    table = load_profile("table")
    sizes = (table.mining_slates, table.seeds, table.test_requests, table.random_lists, table.exhaustive_requests)
    assert sizes == (30_000, 3, 1_000, 10_000, 50)
    assert table.more_slates > table.mining_slates
    assert table.local_searches == ("best", "all")


def test_a_profile_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--profile: must be quick, table, cpu, full or a TOML file, not 'slow'"):
        load_profile("slow")


def test_a_profile_file_takes_what_it_leaves_out_from_cpu() -> None:
    tiny, cpu = load_profile(str(PROFILE)), load_profile("cpu")
    assert (tiny.name, tiny.dim, tiny.generator_batch) == ("tiny", 8, cpu.generator_batch)


def test_the_profiles_grow_from_quick_to_full() -> None:
    quick, cpu, full = (load_profile(name) for name in PROFILES if name != "table")
    for size in ("mining_slates", "test_requests", "exhaustive_requests", "seeds"):
        assert getattr(quick, size) < getattr(cpu, size) < getattr(full, size)
    assert {p.random_lists for p in (quick, cpu, full)} == {10_000}


def _killed(*args: Any) -> Any:
    raise KeyboardInterrupt(args)


def _clicks_only(split: Any, count: int) -> list[Any]:
    records = make_records(count, shown=3, seed=len(split), split=split)
    return [replace(r, request_id=f"{split}-{r.request_id}", purchases=None, gmv=None) for r in records]
