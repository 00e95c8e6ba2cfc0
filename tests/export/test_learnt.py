"""What a checkpoint says of what was learnt, and what export makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from export.bundle import ExportError, write_bundle
from export.command import default_objectives
from export.families.degre import Degre
from export.families.family import verdict_of
from export.families.sort_gen import SortGen
from models import cli
from models.contract.manifest import Manifest
from models.contract.spec import OBJECTIVES, FeatureSpec, SpecError
from models.contract.verdict import UNMEASURED, Verdict
from models.nets.checkpoint import Checkpoint, save_checkpoint
from tests.export.examples import CONFIG, OPTIONS, degre, generator_checkpoint
from tests.models.planners.examples import SPEC, UNITS, random_model

HAZARDS = replace(CONFIG, head="hazard")
WORSE = {"outcome": "worse", "sentence": "It earns 9% less than the sort.", "figures": [{"gain": -0.09}]}


def checkpoint(
    *,
    shares: tuple[float, float] = (0.5, 0.25),
    valued: tuple[float, float] = (1, 1),
    verdict: Mapping[str, Any] | None = None,
    spec: FeatureSpec = SPEC,
) -> Checkpoint:
    model = random_model(spec, HAZARDS, 0)
    for head, share in zip(model.hazard_heads, shares, strict=True):
        head.share.fill_(share)
    model.valued.copy_(torch.tensor(valued))
    provenance = {"data": {"source": "none"}} | ({} if verdict is None else {"verdict": verdict})
    return Checkpoint(model, UNITS, provenance)


def test_a_value_model_says_how_much_of_each_correction_is_kept() -> None:
    assert checkpoint().model.shares == {"click": 0.5, "conversion": 0.25}
    assert random_model(SPEC, replace(CONFIG, head="independent"), 0).shares is None


@pytest.mark.parametrize(
    ("valued", "spec", "expected"),
    [
        ((1, 1), SPEC, ("click", "conversion", "gmv")),
        ((1, 1), replace(SPEC, price=None), ("click", "conversion")),
        ((1, 0), SPEC, ("click",)),
        ((0, 1), SPEC, ("conversion", "gmv")),
        ((0, 0), SPEC, ()),
    ],
)
def test_revenue_is_valued_where_purchases_and_prices_are(
    valued: tuple[float, float], spec: FeatureSpec, expected: tuple[str, ...]
) -> None:
    assert checkpoint(valued=valued, spec=spec).model.valued_objectives == expected


def test_the_papers_head_is_taken_to_value_all() -> None:
    assert random_model(SPEC, replace(CONFIG, head="independent"), 0).valued_objectives == OBJECTIVES


def test_a_verdict_is_the_models_own_or_its_evaluators_or_none() -> None:
    own = Verdict("worse", "It earns 9% less than the sort.", ({"gain": -0.09},))
    assert verdict_of({"verdict": WORSE}) == own
    assert verdict_of({"verdict": WORSE, "evaluator": {"verdict": {"outcome": "same", "sentence": "x"}}}) == own
    taught = verdict_of({"evaluator": {"verdict": WORSE}})
    assert (taught.outcome, taught.figures) == ("worse", own.figures)
    assert taught.sentence == "Of the evaluator that this generator was distilled from: It earns 9% less than the sort."
    silent: list[dict[str, Any]] = [{}, {"evaluator": {}}, {"evaluator": "a name"}, {"verdict": None}]
    assert [verdict_of(provenance) for provenance in silent] == [UNMEASURED] * len(silent)


def test_a_verdict_that_is_none_is_named() -> None:
    with pytest.raises(SpecError, match=r"^the checkpoint's verdict: must be an object$"):
        verdict_of({"verdict": "good"})
    with pytest.raises(SpecError, match=r"^the evaluator's verdict\.sentence: is missing$"):
        verdict_of({"evaluator": {"verdict": {"outcome": "better"}}})


def test_a_generator_says_what_its_evaluator_values() -> None:
    made = generator_checkpoint()
    evaluator = random_model(SPEC, replace(HAZARDS, input_block="fields"), 0)
    evaluator.valued.copy_(torch.tensor([1.0, 0.0]))
    family = Degre(replace(made, evaluator=evaluator))
    assert (family.shares, family.valued) == (None, ("click",))


def test_default_weights_are_left_on_what_the_model_values_and_that_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clicks = SortGen(checkpoint(valued=(1, 0)))
    assert default_objectives(clicks, None) == {"click": 5.0, "conversion": 0.0, "gmv": 0.0}
    said = "the model values click only, so the default weight of conversion and gmv is 0\n"
    assert capsys.readouterr().out == said
    assert default_objectives(SortGen(checkpoint()), None) == {"click": 5.0, "conversion": 1.0, "gmv": 1.0}
    assert capsys.readouterr().out == ""


def test_a_weight_that_is_asked_for_on_what_the_model_does_not_value_is_refused() -> None:
    clicks = SortGen(checkpoint(valued=(1, 0)))
    asked = {"click": 2.0, "conversion": 0.0, "gmv": 0.0}
    assert default_objectives(clicks, asked) == asked
    with pytest.raises(ValueError, match="--objectives: the model values click only, so the weight of gmv must be 0"):
        default_objectives(clicks, {**asked, "gmv": 0.5})


def test_a_model_that_is_left_without_a_weight_or_values_nothing_is_refused() -> None:
    purchases = degre()  # distilled for 2,1,0
    evaluator = random_model(SPEC, replace(HAZARDS, input_block="fields"), 0)
    evaluator.valued.copy_(torch.tensor([0.0, 1.0]))
    made = replace(purchases.checkpoint, evaluator=evaluator, objectives={"click": 2.0, "conversion": 0.0, "gmv": 0.0})
    with pytest.raises(ValueError, match="--objectives: is needed, since the model values conversion and gmv only"):
        default_objectives(Degre(made), None)
    with pytest.raises(ValueError, match="the model values no objective"):
        default_objectives(SortGen(checkpoint(valued=(0, 0))), None)


def test_a_model_that_is_worse_than_the_sort_is_refused_with_the_sentence(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"It earns 9% less than the sort\. \(--accept-worse"):
        write_bundle(tmp_path, SortGen(checkpoint(verdict=WORSE)), OPTIONS, requests=1)
    assert list(tmp_path.iterdir()) == []


def export(folder: Path, made: Checkpoint, *more: str) -> int:
    save_checkpoint(folder / "checkpoint.pt", made)
    options = ["--checkpoint", str(folder / "checkpoint.pt"), "--out", str(folder / "bundles"), "--requests", "3"]
    return cli.main(["export", *options, "--name", "demo", "--version", "1", *more])


@pytest.mark.long
def test_the_command_refuses_it_too_unless_told_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(tmp_path, checkpoint(verdict=WORSE)) == 2
    assert "It earns 9% less than the sort. (--accept-worse exports it all the same)" in capsys.readouterr().err
    assert not (tmp_path / "bundles").exists()
    assert export(tmp_path, checkpoint(verdict=WORSE), "--accept-worse") == 0
    assert capsys.readouterr().err.endswith("warning: worse. It earns 9% less than the sort.\n")
    manifest = Manifest.read(tmp_path / "bundles" / "demo" / "1")
    assert manifest.verdict == Verdict.from_json(WORSE)
    assert "verdict" not in manifest.provenance


@pytest.mark.long
@pytest.mark.parametrize(
    ("verdict", "out", "err"),
    [
        (
            {"outcome": "better", "sentence": "It earns 9% more."},
            "beside the plain sort: better. It earns 9% more.",
            "",
        ),
        (
            {"outcome": "sort", "sentence": "Nothing was kept."},
            "",
            "warning: sort. Nothing was kept. The list of the sort is what will be served.",
        ),
        (None, "", f"warning: unmeasured. {UNMEASURED.sentence}"),
    ],
)
def test_every_export_says_what_the_model_is_worth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verdict: Any, out: str, err: str
) -> None:
    shares = (0.0, 0.0) if verdict and verdict["outcome"] == "sort" else (0.5, 0.25)
    assert export(tmp_path, checkpoint(verdict=verdict, shares=shares)) == 0
    shown = capsys.readouterr()
    assert out in shown.out
    assert err in shown.err
    assert ("warning" in shown.err) == bool(err)
    manifest = Manifest.read(tmp_path / "bundles" / "demo" / "1")
    assert manifest.shares == dict(zip(("click", "conversion"), shares, strict=True))
    assert manifest.valued == OBJECTIVES
    assert manifest.bypassed(manifest.objectives) == (shares == (0, 0))


@pytest.mark.long
def test_a_bundle_has_no_default_weight_on_what_its_model_does_not_value(tmp_path: Path) -> None:
    assert export(tmp_path, checkpoint(valued=(1, 0))) == 0
    manifest = Manifest.read(tmp_path / "bundles" / "demo" / "1")
    assert manifest.valued == ("click",)
    assert manifest.objectives == {"click": 5.0, "conversion": 0.0, "gmv": 0.0}


@pytest.mark.long
def test_a_beam_width_reaches_the_bundle_and_is_for_value_models_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tmp_path, checkpoint(), "--beam-width", "0") == 2
    assert "--beam-width: must be at least 1, not 0" in capsys.readouterr().err
    assert export(tmp_path, checkpoint(), "--beam-width", "2") == 0
    assert Manifest.read(tmp_path / "bundles" / "demo" / "1").limits.beam_width == 2
