"""How `listwright train` chooses: on folds or validation lists, in learning curves, and on logs that lack things."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import models.training.value_choice
from models.cli import main
from models.data.batches import encode_lists
from models.data.list_writer import write_lists
from models.data.records import ListRecord, Split
from models.judging.value_report import predict
from models.nets.checkpoint import Checkpoint, load_checkpoint
from models.training.value_choice import ValueOptions
from models.training.value_fit import Setup
from tests.models.training.shops import SHOWN, shop_records

SIZES = ["--dim", "8", "--layers", "1", "--heads", "2", "--field-dim", "2", "--list-length", "4", "--threads", "1"]


def log(
    folder: Path, change: Callable[[ListRecord], ListRecord] = lambda r: r, *, train: int = 30, **others: int
) -> Path:
    """A list file with so many lists of each split, each changed."""
    sizes: dict[Any, int] = {"train": train, "valid": 20, "test": 20, **others}
    splits: list[tuple[Split, int]] = [(name, count) for name, count in sizes.items() if count]
    path = folder / "lists.parquet"
    records = [change(r) for seed, (name, n) in enumerate(splits) for r in shop_records(n, seed=seed, split=name)]
    write_lists(path, records, {})
    return path


def train(data: Path, out: Path, *more: str) -> int:
    return main(["train", "sort-gen", "--data", str(data), "--out", str(out), "--epochs", "1", *SIZES, *more])


def trained(data: Path, out: Path, *more: str) -> tuple[dict[str, Any], Checkpoint]:
    """The metrics and checkpoint of a training that must go well."""
    assert train(data, out, *more) == 0
    return json.loads((out / "metrics.json").read_text("utf-8")), load_checkpoint(out / "checkpoint.pt")


@pytest.mark.long
@pytest.mark.parametrize(
    ("small", "valid", "asked", "folds"),
    [
        (1000, 20, None, 5),
        (50, 20, None, 0),
        (50, 0, None, 5),
        (1000, 20, "0", 0),
        (50, 20, "3", 3),
    ],
)
def test_small_logs_and_those_without_validation_lists_are_cross_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int, valid: int, asked: str | None, folds: int
) -> None:
    monkeypatch.setattr(models.training.value_choice, "SMALL_LOG", small)
    more = () if asked is None else ("--folds", asked)
    metrics, checkpoint = trained(log(tmp_path, valid=valid), tmp_path / "run", *more)
    assert metrics["folds"] == folds
    assert sorted(p.name for p in (tmp_path / "run").glob("fold-*")) == [f"fold-{k}" for k in range(folds)]
    # Folds hold lists out themselves, so the validation lists are trained on.
    expected = {"train": 30 + valid, "test": 20} if folds else {"train": 30, "valid": valid, "test": 20}
    assert metrics["lists"] == checkpoint.provenance["lists"] == expected
    assert ("valid" in metrics) == (folds == 0)


@pytest.mark.long
def test_a_cross_fitted_run_is_resumed_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = log(tmp_path)
    metrics, checkpoint = trained(data, tmp_path / "whole", "--folds", "2")
    calls: list[Any] = []

    def interrupted(setup: Setup, train: Any, valid: Any, folder: Path, **options: Any) -> Any:
        if not calls and folder.name == "parts":  # the last of the fits, behind all folds
            calls.append(options)
            raise KeyboardInterrupt
        return fit(setup, train, valid, folder, **options)

    fit = Setup.fit
    monkeypatch.setattr(Setup, "fit", interrupted)
    assert train(data, tmp_path / "parts", "--folds", "2", "--resume", "auto") == 130
    assert train(data, tmp_path / "parts", "--folds", "2") == 2
    assert "already holds a run" in capsys.readouterr().err
    for _ in range(2):  # resumed behind the folds, then again when all is done
        resumed, same = trained(data, tmp_path / "parts", "--folds", "2", "--resume", "auto")
        assert resumed == metrics
        weights = same.model.state_dict()
        assert all(torch.equal(w, weights[name]) for name, w in checkpoint.model.state_dict().items())
    assert train(data, tmp_path / "parts", "--folds", "2", "--resume", "--seed", "3") == 2
    assert "cannot be resumed" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        train(data, tmp_path / "parts", "--folds", "2", "--resume", "never")
    assert "invalid choice: 'never'" in capsys.readouterr().err
    assert train(data, tmp_path / "nothing", "--folds", "2", "--resume") == 2
    assert "holds no run to resume" in capsys.readouterr().err


@pytest.mark.parametrize("left", ["fold-0/epochs.pt", "checkpoint.pt", "last.pt"])
@pytest.mark.parametrize("folds", ["0", "2"])
def test_whatever_a_run_left_it_is_not_begun_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], left: str, folds: str
) -> None:
    kept = tmp_path / "run" / left  # of a cross-fitted run of best epoch 0, all but last.pt
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"kept")
    assert train(log(tmp_path), tmp_path / "run", "--folds", folds, "--no-gate") == 2
    assert "already holds a run; resume it or choose another folder" in capsys.readouterr().err
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == [kept]
    assert kept.read_bytes() == b"kept"


def test_without_test_lists_the_held_out_ones_judge(tmp_path: Path) -> None:
    metrics, _ = trained(log(tmp_path, train=60, valid=0, test=0), tmp_path / "run", "--folds", "3")
    assert metrics["lists"] == {"train": 60}
    [clicks] = [row for row in metrics["verdict"]["figures"] if "pcoc" in row and row["objective"] == "click"]
    assert clicks["lists"] > 30  # most of all, out of fold


@pytest.mark.long
def test_a_learning_curve_has_a_point_per_share_and_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = log(tmp_path), tmp_path / "run"
    metrics, checkpoint = trained(data, out, "--learning-curve", "0.5,0.1", "--folds", "4")
    curve = metrics["learning_curve"]
    assert curve == checkpoint.provenance["learning_curve"]
    assert [(point["share"], point["lists"]) for point in curve] == [(0.1, 5), (0.5, 25)]
    assert all(point["verdict"]["sentence"] for point in curve)
    printed = capsys.readouterr().out
    assert "learning curve" in printed
    assert "\n10% " in printed
    again, _ = trained(data, out, "--learning-curve", "0.5,0.1", "--folds", "4", "--resume")
    assert again == metrics
    without, plain = trained(data, tmp_path / "plain", "--folds", "4")
    assert "learning_curve" not in without
    assert {k: v for k, v in metrics.items() if k != "learning_curve"} == without
    assert "learning_curve" not in plain.provenance


@pytest.mark.parametrize("shares", ["0", "1", "0.5,x", ""])
def test_a_share_must_be_one(tmp_path: Path, shares: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train(log(tmp_path), tmp_path / "run", "--learning-curve", shares)
    assert "must be numbers between 0 and 1" in capsys.readouterr().err
    with pytest.raises(ValueError, match="curve: must be shares between 0 and 1"):
        ValueOptions(curve=(2.0,))


@pytest.mark.parametrize("folds", ["0", "2"])
def test_the_papers_head_and_loss_are_still_there(
    tmp_path: Path, folds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ("--head", "independent", "--loss", "ordered", "--folds", folds)
    metrics, checkpoint = trained(log(tmp_path), tmp_path / "run", *told)
    assert checkpoint.model.config.head == "independent"
    assert checkpoint.model.shares is None
    assert "shares" not in metrics["choice"]
    assert "papers' head" in capsys.readouterr().out
    rows = [row for row in metrics["verdict"]["figures"] if "pcoc" in row]
    assert rows
    assert all(row["prior"] is None and row["gain"] is None for row in rows)


@pytest.mark.parametrize("folds", ["0", "2"])
@pytest.mark.parametrize("head", ["pointwise", "entire-space"])
def test_heads_of_places_have_nothing_to_choose(tmp_path: Path, head: str, folds: str) -> None:
    metrics, checkpoint = trained(log(tmp_path), tmp_path / "run", "--head", head, "--folds", folds)
    assert (checkpoint.model.config.head, checkpoint.model.shares) == (head, None)
    assert metrics["choice"] == {"head": head, "valued": ["click", "conversion", "gmv"]}


@pytest.mark.parametrize("folds", ["0", "2"])
def test_without_the_gate_the_whole_correction_is_kept_and_its_offsets_settled(tmp_path: Path, folds: str) -> None:
    metrics, checkpoint = trained(log(tmp_path), tmp_path / "run", "--no-gate", "--folds", folds)
    assert metrics["choice"] == {
        "head": "hazard",
        "valued": ["click", "conversion", "gmv"],
        "shares": {"click": 1.0, "conversion": 1.0},
    }
    assert checkpoint.model.shares == {"click": 1.0, "conversion": 1.0}
    # With b and c refitted, the expected clicks of the lists learnt from are those that happened.
    if folds == "2":
        learnt = [*shop_records(30, seed=0), *shop_records(20, seed=1, split="valid")]
        lists = encode_lists(learnt, checkpoint.spec, SHOWN)
        expected = predict(checkpoint.model, lists, torch.device("cpu"))[:, -1, 0].mean()
        assert expected == pytest.approx(lists.labels[..., 0].sum(axis=1).mean(), rel=0.02)


def test_what_an_ablation_left_out_is_told(tmp_path: Path) -> None:
    told = ("--no-skip", "--loss", "ordered", "--states", "2", "--folds", "0")
    metrics, checkpoint = trained(log(tmp_path), tmp_path / "run", *told)
    assert (metrics["choice"]["loss"], metrics["choice"]["skip"]) == ("ordered", False)
    assert checkpoint.provenance["choice"] == metrics["choice"]
    assert checkpoint.config.states == 2
    assert [float(head.skip.detach()) for head in checkpoint.model.hazard_heads] == [0.0, 0.0]


def with_clicks(value: int) -> Callable[[ListRecord], ListRecord]:
    """Every item is clicked, or none; purchases are as many."""

    def change(record: ListRecord) -> ListRecord:
        same = (value,) * SHOWN
        return replace(record, clicks=same, purchases=same, gmv=tuple(10.0 * v for v in same))

    return change


def with_scores(record: ListRecord, **scores: float) -> ListRecord:
    return replace(record, candidates=tuple(replace(c, scores=scores) for c in record.candidates))


def without(record: ListRecord, *names: str) -> ListRecord:
    """A list whose candidates lack some scores or the price."""
    return replace(
        record,
        candidates=tuple(
            replace(
                c,
                scores={n: v for n, v in c.scores.items() if n not in names},
                price=None if "price" in names else c.price,
            )
            for c in record.candidates
        ),
    )


ALL = ["click", "conversion", "gmv"]
ODD_LOGS: dict[str, tuple[Callable[[ListRecord], ListRecord], str, list[str]]] = {
    "no clicks": (with_clicks(0), "sort", ALL),
    "all clicked": (with_clicks(1), "sort", ALL),
    "constant scores": (lambda r: with_scores(r, ctr=0.3, cvr=0.2), "", ALL),
    "scores of 0 and 1": (lambda r: with_scores(r, ctr=0.0, cvr=1.0), "", ALL),
    "no ctr": (lambda r: without(r, "ctr"), "unmeasured", ALL),
    "no scores": (lambda r: without(r, "ctr", "cvr"), "unmeasured", ALL),
    "no cvr": (lambda r: without(r, "cvr"), "", ["click"]),
    "no price": (lambda r: without(r, "price"), "", ["click", "conversion"]),
    "no purchases recorded": (lambda r: replace(r, purchases=None, gmv=None), "", ["click"]),
    "one item a list": (
        lambda r: replace(r, exposed=r.exposed[:1], clicks=r.clicks[:1], purchases=r.clicks[:1], gmv=(1.0,)),
        "sort",
        ALL,
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("folds", ["0", "2"])
@pytest.mark.parametrize("name", ODD_LOGS)
def test_a_log_that_lacks_something_is_trained_on_and_says_so(
    tmp_path: Path, name: str, folds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, outcome, valued = ODD_LOGS[name]
    metrics, checkpoint = trained(log(tmp_path, change), tmp_path / "run", "--folds", folds)
    assert metrics["choice"]["valued"] == list(checkpoint.model.valued_objectives) == valued
    assert all(weights.isfinite().all() for weights in checkpoint.model.state_dict().values())
    assert metrics["verdict"]["outcome"] in ([outcome] if outcome else ["better", "same", "sort", "unmeasured"])
    printed = capsys.readouterr().out
    assert metrics["verdict"]["sentence"] in printed
    lacking = [objective for objective in ALL if objective not in valued]
    told = f"not valued, as the log does not record it or has no score or price for it: {', '.join(lacking)}"
    assert (told in printed) == bool(lacking)
    if name == "no clicks":
        assert "never happened in the lists trained on: click, conversion, gmv" in printed


def test_one_list_cannot_be_held_out_from_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = log(tmp_path, train=1, valid=0, test=0)
    assert train(data, tmp_path / "run") == 2
    assert "there is only one list; at least two are needed" in capsys.readouterr().err
    assert train(data, tmp_path / "run", "--folds", "2") == 2
    assert "folds: must be within 2 and the number of lists (1)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_two_lists_are_enough_and_keep_nothing(tmp_path: Path) -> None:
    metrics, _ = trained(log(tmp_path, train=1, valid=1, test=0), tmp_path / "run")
    assert metrics["folds"] == 2
    assert metrics["verdict"]["outcome"] in ("sort", "unmeasured")


def test_all_weight_on_what_cannot_be_valued_is_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = log(tmp_path, lambda r: without(r, "cvr"))
    assert train(data, tmp_path / "run", "--objectives", "0,1,1") == 2
    assert "objectives: only click can be valued" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
