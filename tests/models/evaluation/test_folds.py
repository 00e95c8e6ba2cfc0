"""`listwright evaluate folds`: the whole line from a raw log to tables, and that it goes on where it stopped."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from models.cli import main
from models.evaluation import folds
from models.evaluation.folds import FoldRecipe, fold_commands, pooled_report, report_text
from models.evaluation.scoring import ALL, LOGGED
from models.evaluation.tables import value_table
from tests.models.datasets.test_hotels import expedia_rows, write
from tests.models.tables import compact

TINY = FoldRecipe(
    train="--list-length 8 --dim 8 --layers 1 --heads 2 --field-dim 4 --epochs 1",
    export="--head-width 1 --requests 3",
    logs="--objectives 5,1,1",
)


def run(path: Path, out: Path, *options: str) -> int:
    return main(["evaluate", "folds", "expedia", "--path", str(path), "--out", str(out), "--folds", "3", *options])


@pytest.mark.slow
def test_the_line_runs_from_the_raw_log_to_tables_and_is_not_run_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(folds.RECIPES, "expedia", TINY)
    log, out = write(tmp_path / "lists.csv", expedia_rows()), tmp_path / "out"
    assert run(log, out, "--only", "1") == 0
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert report["data"][0]["metadata"]["fold"] == 1
    assert report["by_model"] in (1, None)  # None: nothing learnt from so few lists is kept, and the sort is served
    groups = {group: row["click"]["lists"] for group, row in report["summary"].items()}
    assert groups[ALL] == report["lists"] == sum(groups.values()) - groups[ALL]
    text = (out / "report.md").read_text("utf-8")
    assert text in capsys.readouterr().out
    assert "| served 5/1/1 |" in compact(text)
    assert "| clicks | whole list |" in compact(text)

    (out / "fold-1" / "lists.parquet").write_bytes(b"would break every step that still ran")
    assert run(log, out, "--only", "1") == 0
    assert (out / "report.md").read_text("utf-8") == text


@pytest.mark.long
def test_a_step_that_fails_is_named_with_its_last_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "missing.csv", tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert "fold-0: data ended with status 2" in message
    assert "missing.csv" in message


@pytest.mark.long
def test_a_folder_made_with_other_settings_is_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "missing.csv", tmp_path / "out") == 2
    assert run(tmp_path / "missing.csv", tmp_path / "out", "--seed", "4") == 2
    assert "was begun with seed 0, not 4; choose another folder" in capsys.readouterr().err


def test_options_of_a_command_replace_the_recipes(tmp_path: Path) -> None:
    steps = {step.name: step.command for step in fold_commands(fold_arguments(tmp_path, export="--head-width 4"), 0)}
    assert steps["export"][steps["export"].index("--head-width") + 1] == "4"
    assert "--requests" not in steps["export"]
    assert "--field-dim" in steps["train"]


def fold_arguments(out: Path, **options: str) -> Namespace:
    given = {"train": None, "export": None, "logs": None, **options}
    return Namespace(source="trivago", path=Path("t.csv"), out=out, folds=5, seed=0, **given)


def test_folds_are_pooled_list_by_list(tmp_path: Path) -> None:
    """Three lists in two folds: the mean is over lists, not over folds."""
    for fold, scores in enumerate(([1.0], [0.0, 0.5])):
        write_fold(tmp_path / f"fold-{fold}", scores, r_auc=0.5 + fold / 10)
    report = pooled_report([tmp_path / "fold-0", tmp_path / "fold-1"], seed=0)
    click = report["summary"][ALL]["click"]
    assert click["lists"] == 3
    assert click["ndcg"]["served 1/0/0"]["mean"] == pytest.approx(0.5)
    assert click["differences"]["served 1/0/0"]["shown"]["mean"] == pytest.approx(0.25)
    assert report["by_model"] == pytest.approx(0.9)
    assert report["bypassed"] == 2
    text = report_text(report)
    assert "2 test folds, 3 lists, 3 requests over HTTP, of which 2 were given the sort" in text
    assert "90.0% of the others' places by the model" in text
    assert "places by the model" not in report_text({**report, "by_model": None})


def write_fold(folder: Path, scores: list[float], *, r_auc: float) -> None:
    logs = {
        "data": {},
        "served_by": {"requests": len(scores), "bypassed": 1, "places": 10, "by_model": 9},
        "comparison": {"served": ["served 1/0/0"], "priors": {"click": "sort by ctr"}},
        "lists": [
            {
                "request_id": f"{folder.name}-{i}",
                "shuffled": None,
                "ideal": {"click": 1.0},
                "ndcg": {"click": {LOGGED: 0.25, "sort by ctr": 0.5, "served 1/0/0": score}},
            }
            for i, score in enumerate(scores)
        ],
    }
    (folder / "run").mkdir(parents=True)
    (folder / "logs.json").write_text(json.dumps(logs), "utf-8")
    (folder / "run" / "metrics.json").write_text(json.dumps({"test": value_report(r_auc)}), "utf-8")


def value_report(r_auc: float | None) -> dict[str, Any]:
    row = {"lists": 7, "r_auc": r_auc, "pcoc": 1.0, "rmse": 0.25}
    return {"click": {"list": row, "prefix": [{"length": 1, **row}]}, "conversion": None, "gmv": None}


def test_the_value_table_says_how_far_folds_lie_apart() -> None:
    table = compact(value_table([value_report(0.5), value_report(0.75), value_report(None)]))
    assert "| clicks | 1 | 21 | 0.625 (0.500 to 0.750) | 1.000 (1.000 to 1.000) | 0.250 (0.250 to 0.250) |" in table
    assert "purchases" not in table
