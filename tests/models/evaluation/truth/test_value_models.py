"""The value models of the tables: what each is, its seed, and that a broken-off fit goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from models.evaluation.truth.bench import Bench
from models.evaluation.truth.fits.value_models import FITS
from models.nets.checkpoint import load_checkpoint, weights_digest
from models.training.value import CHECKPOINT_FILE
from tests.models.evaluation.truth.tiny_fits import LENGTH, PROFILE, run_fit

BY_NAME = {fit.name: fit for fit in FITS}
PARTS = {
    "sort": ("concat", "hazard", "full"),
    "sort-paper": ("concat", "independent", "none"),
    "judge": ("concat", "hazard", "full"),
    "degre-evaluator": ("fields", "hazard", "full"),
    "degre-evaluator-paper": ("fields", "independent", "none"),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_fit_is_the_model_that_its_name_says_in_the_profiles_sizes(bench: Bench, tmp_path: Path, name: str) -> None:
    profile = replace(PROFILE, paper_dim=16, paper_layers=2, paper_epochs=2)
    notes = run_fit(BY_NAME[name], bench, tmp_path, seed=3, profile=profile)
    checkpoint = load_checkpoint(tmp_path / CHECKPOINT_FILE)
    config = checkpoint.config
    assert (config.input_block, config.head, config.context) == PARTS[name]
    paper = config.head != "hazard"
    sizes = (profile.paper_dim, profile.paper_layers) if paper else (profile.value_dim, profile.value_layers)
    assert (config.dim, config.layers, config.list_length) == (*sizes, LENGTH)
    assert checkpoint.provenance["seed"] == (1003 if name == "judge" else 3)
    assert checkpoint.provenance["options"]["epochs"] == (profile.paper_epochs if paper else profile.value_epochs)
    # Generators are distilled from it on the bench's own slates, so both must encode alike.
    assert checkpoint.spec.fingerprint == bench.spec.fingerprint
    assert json.loads(json.dumps(notes)) == notes
    assert notes["lists"]["train"] < 300
    assert set(notes["verdict"]) == {"outcome", "sentence"}


def test_only_the_judge_is_the_same_for_all_seeds() -> None:
    assert [fit.name for fit in FITS if not fit.seeded] == ["judge"]
    assert list(BY_NAME) == list(PARTS)


def test_a_seed_draws_other_weights_and_a_fit_that_was_broken_off_goes_on_to_the_same(
    bench: Bench, tmp_path: Path
) -> None:
    digests = {}
    for seed in (0, 1):
        run_fit(BY_NAME["sort"], bench, tmp_path / str(seed), seed=seed)
        digests[seed] = weights_digest(load_checkpoint(tmp_path / str(seed) / CHECKPOINT_FILE).model)
    assert digests[0] != digests[1]
    (tmp_path / "0" / CHECKPOINT_FILE).unlink()
    run_fit(BY_NAME["sort"], bench, tmp_path / "0", seed=0)
    assert weights_digest(load_checkpoint(tmp_path / "0" / CHECKPOINT_FILE).model) == digests[0]


@pytest.mark.parametrize(
    "change",
    [{"value_dim": 16, "paper_dim": 16}, {"value_epochs": 2, "paper_epochs": 2}, {"objectives": (1.0, 0.0, 0.0)}],
)
def test_all_that_a_fit_depends_on_is_in_its_options(change: dict[str, object]) -> None:
    for fit in FITS:
        before, after = fit.options(PROFILE), fit.options(replace(PROFILE, **change))  # type: ignore[arg-type]
        assert before != after
        assert json.loads(json.dumps(before)) is not None
