"""`listwright export`: what it prints, and that whatever is wrong is named with exit status 2."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from export.proof import proved
from models import cli
from models.contract.manifest import LOOSEST_REPLAY, DiversityDefaults, Limits, Manifest, QueueSpec
from models.nets.checkpoint import save_checkpoint, save_generator
from models.planners.objective import default_queues, objective_formula
from tests.export.examples import CONFIG, checkpoint, generator_checkpoint
from tests.models.planners.examples import SPEC, UNITS


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "checkpoint.pt"
    save_checkpoint(path, checkpoint())
    return path


@pytest.fixture(scope="module")
def saved_generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generator") / "checkpoint.pt"
    save_generator(path, generator_checkpoint())
    return path


def export(saved: Path, out: Path, *more: str) -> int:
    """The exit status; a status 2 of argparse included."""
    options = ["--checkpoint", str(saved), "--out", str(out), "--name", "demo", "--version", "1", "--requests", "3"]
    try:
        return cli.main(["export", *options, *more])
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.mark.long
def test_by_default_the_bundle_has_the_models_horizon_and_a_queue_per_objective_and_one_by_the_formula(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(saved, tmp_path) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'demo' / '1'}: proved that the graph gives the reference")
    manifest = Manifest.read(tmp_path / "demo" / "1")
    assert manifest.limits == Limits(CONFIG.list_length, 4, 2, beam_width=4)
    assert manifest.queues == default_queues(SPEC, UNITS)
    assert manifest.fallback == objective_formula(SPEC, UNITS)
    assert manifest.objectives == {"click": 5.0, "conversion": 1.0, "gmv": 1.0}
    assert (manifest.diversity, manifest.partition) == (DiversityDefaults(0.8, 4), "bfs")


def test_a_generators_bundle_takes_its_mix_and_sees_up_to_200_candidates_in_the_order_of_the_formula(
    saved_generator: Path, tmp_path: Path
) -> None:
    assert export(saved_generator, tmp_path) == 0
    manifest = Manifest.read(tmp_path / "demo" / "1")
    assert (manifest.family, manifest.limits) == ("degre", Limits(CONFIG.list_length, 4, 1, 50))
    assert manifest.queues == (QueueSpec("formula", objective_formula(SPEC, UNITS)),)
    assert manifest.objectives == {"click": 2.0, "conversion": 1.0, "gmv": 0.0}
    assert manifest.fixed_objectives
    assert manifest.diversity == DiversityDefaults(1.0, 4)  # plain greedy, as in the paper


def test_a_generators_queues_share_the_places_for_candidates(saved_generator: Path, tmp_path: Path) -> None:
    queues = ["--queue", "click=ctr", "--queue", "gmv=price", "--queues", "2", "--candidates", "25"]
    wishes = ["--list-length", "2", "--objectives", "4,2,0", "--trade-off", "0.7"]
    assert export(saved_generator, tmp_path, *queues, *wishes) == 0
    manifest = Manifest.read(tmp_path / "demo" / "1")
    assert manifest.limits == Limits(2, 2, 1, 13)
    assert manifest.diversity.trade_off == 0.7
    assert manifest.objectives == {"click": 4.0, "conversion": 2.0, "gmv": 0.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--head-width", "2"], "head_width: a pointer sees every candidate, so it must be 1, not 2"),
        (["--candidates", "0"], "--candidates: must be at least 1, not 0"),
        (["--beam-width", "2"], "--beam-width: a generator decodes greedily; only SORT-Gen builds several lists"),
        (["--queue", "a=ctr", "--queue", "b=cvr", "--queues", "1"], "queues: must be 1 to 1 queues, not 2"),
        (["--list-length", "5"], "list_length 5 is past the generator's horizon 4"),
        (["--objectives", "5,1,1"], "--objectives: the generator was distilled for 2,1,0 and knows no other mix"),
    ],
)
def test_what_a_generator_cannot_do_is_named_and_nothing_is_written(
    saved_generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert export(saved_generator, tmp_path, *options) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_proof_of_each_graph_is_printed_unless_the_one_for_rules_is_left_out(
    saved_generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(saved_generator, tmp_path / "both") == 0
    assert "with rules: proved that the graph gives the reference's lists on 2 requests" in capsys.readouterr().out
    assert Manifest.read(tmp_path / "both" / "demo" / "1").ruled is not None
    assert export(saved_generator, tmp_path / "one", "--no-rules") == 0
    assert "with rules" not in capsys.readouterr().out
    assert Manifest.read(tmp_path / "one" / "demo" / "1").ruled is None


def test_every_option_reaches_the_bundle(saved: Path, tmp_path: Path) -> None:
    queues = ["--queue", "cheap = -price", "--queue", "click=ctr", "--queues", "3", "--partition", "dfs"]
    sizes = ["--list-length", "2", "--head-width", "1", "--beam-width", "3"]
    wishes = ["--objectives", "1,0,2.5", "--trade-off", "0.5", "--window", "0"]
    assert export(saved, tmp_path, *queues, *sizes, *wishes) == 0
    manifest = Manifest.read(tmp_path / "demo" / "1")
    assert manifest.limits == Limits(2, 3, 1, beam_width=3)
    assert manifest.queues == (QueueSpec("cheap", "-price"), QueueSpec("click", "ctr"))
    assert manifest.objectives == {"click": 1.0, "conversion": 0.0, "gmv": 2.5}
    assert (manifest.diversity, manifest.partition) == (DiversityDefaults(0.5, 0), "dfs")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--queue", "ctr"], "argument --queue: must be NAME=FORMULA, not 'ctr'"),
        (["--queue", "=ctr"], "argument --queue: must be NAME=FORMULA"),
        (["--queue", "odd=max(ctr)"], "queue 'odd': 'max(ctr)' may only use"),
        (["--objectives", "1,2"], "argument --objectives: must be three numbers"),
        (["--objectives", "0,0,0"], "argument --objectives: must be three numbers of at least 0, not all 0"),
        (["--objectives=-1,1,1"], "argument --objectives: must be three numbers"),
        (["--objectives", "1,1,nan"], "argument --objectives: must be three numbers"),
        (["--objectives", "1,1,inf"], "argument --objectives: must be three numbers"),
        (["--objectives", "a,b,c"], "argument --objectives: must be three numbers"),
        (["--trade-off", "1.5"], "--trade-off: must be within 0..1, not 1.5"),
        (["--trade-off", "nan"], "--trade-off: must be within 0..1, not nan"),
        (["--trade-off", "x"], "argument --trade-off: invalid float value"),
        (["--window", "-1"], "--window: must be at least 0, not -1"),
        (["--most-lost", "101"], "--most-lost: must be within 0..100, not 101"),
        (["--most-lost", "nan"], "--most-lost: must be within 0..100, not nan"),
        (["--precision", "bf16"], "argument --precision: invalid choice: 'bf16'"),
        (["--requests", "0"], "--requests: must be at least 1, not 0"),
        (["--partition", "zigzag"], "argument --partition: invalid choice: 'zigzag'"),
        (["--list-length", "5"], "list_length 5 is past the model's horizon 4"),
        (["--list-length", "0"], "list_length: must be at least 1"),
        (["--head-width", "0"], "head_width: must be at least 1"),
        (["--queues", "0"], "--queues: must be at least 1, not 0"),
        (["--candidates", "50"], "--candidates: the queues of a value model say how many are looked at"),
        (["--queues", "2"], "queues: must be 1 to 2 queues, not 4"),
        (["--name", "a/b"], "name: must be 1 to 128 letters, digits"),
        (["--version", "../1"], "version: must be 1 to 128 letters, digits"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert export(saved, tmp_path, *options) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_is_not_there_or_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(tmp_path / "missing.pt", tmp_path / "out") == 2
    assert f"{tmp_path / 'missing.pt'}: there is no such file" in capsys.readouterr().err
    (tmp_path / "broken.pt").write_bytes(b"PK\3\4 no checkpoint")
    assert export(tmp_path / "broken.pt", tmp_path / "out") == 2
    assert f"{tmp_path / 'broken.pt'}: is truncated, damaged or no checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_a_version_that_is_there_is_refused(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(saved, tmp_path) == 0
    assert export(saved, tmp_path) == 2
    assert "exists already; a version is never changed, choose another" in capsys.readouterr().err


@pytest.mark.long
def test_float16_is_published_with_the_value_that_it_loses(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(saved, tmp_path, "--precision", "fp16", "--most-lost", "50", "--queue", "click=ctr") == 0
    shown = capsys.readouterr().out
    assert "of their value (at most 50% may be lost) on 3 requests" in shown
    assert "float16 is for GPUs" in shown
    provenance = Manifest.read(tmp_path / "demo" / "1").provenance
    assert provenance["precision"] == "fp16"
    assert provenance["proof"]["most_lost_percent"] == 50
    assert 0 <= provenance["proof"]["lost_percent"] <= 50
    assert set(provenance["golden"]) == {"tie", "tolerance"}
    assert max(provenance["golden"].values()) <= LOOSEST_REPLAY


@pytest.mark.long
def test_float32_says_nothing_of_precision(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(saved, tmp_path) == 0
    assert "float16" not in capsys.readouterr().out
    assert {"precision", "golden"}.isdisjoint(Manifest.read(tmp_path / "demo" / "1").provenance)


def test_float16_that_loses_more_than_it_may_is_refused_and_nothing_is_written(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def worst_first(model: onnx.ModelProto) -> onnx.ModelProto:
        """As coarse a precision as can be: every choice is of what is worth least."""
        worse = onnx.ModelProto()
        worse.CopyFrom(model)
        for node in worse.graph.node:
            node.op_type = "ArgMin" if node.op_type == "ArgMax" else node.op_type
        return worse

    monkeypatch.setattr(proved, "to_half", worst_first)
    assert export(saved, tmp_path, "--precision", "fp16", "--trade-off", "1", "--beam-width", "1") == 2
    assert "listwright export: " in capsys.readouterr().err
    assert list(tmp_path.rglob("*.onnx")) == []
