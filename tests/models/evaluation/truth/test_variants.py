"""The value models of the ablations: what each leaves out, and that its graph plans as its reference does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export.families.sort_gen import SortGen
from export.proof.verify import prove
from models.contract.manifest import Limits
from models.evaluation.truth.bench import Bench
from models.evaluation.truth.fits.variants import FITS, STATES_ALL
from models.evaluation.truth.profile import WorldSizes
from models.nets.checkpoint import load_checkpoint
from models.planners.runtime import GraphPlanner
from models.training.value import CHECKPOINT_FILE
from tests.models.evaluation.truth.tiny_fits import LENGTH, PROFILE, run_fit

BY_NAME = {fit.name: fit for fit in FITS}
DEFAULT = {"head": "hazard", "states": 3, "context": "full"}
CHANGED: dict[str, dict[str, Any]] = {
    "variant-pointwise-loss": {"head": "pointwise", "context": "none"},
    "variant-esmm": {"head": "entire-space", "context": "none"},
    "variant-no-skip": {"skip": False},
    "variant-no-gate": {"gate": False},
    "variant-ordered-loss": {"loss": "ordered"},
    "variant-no-context": {"context": "none"},
    "variant-no-affinity": {"affinity": 0},
    "variant-states-1": {"states": 1},
    "variant-states-2": {"states": 2},
    "variant-states-all": {"states": LENGTH},
}


@pytest.mark.long
@pytest.mark.parametrize("name", CHANGED)
def test_a_variant_leaves_one_part_out_and_exports_like_any_model(bench: Bench, tmp_path: Path, name: str) -> None:
    choice = run_fit(BY_NAME[name], bench, tmp_path)["choice"]
    checkpoint = load_checkpoint(tmp_path / CHECKPOINT_FILE)
    config, changed = checkpoint.config, CHANGED[name]
    expected = DEFAULT | {key: value for key, value in changed.items() if key in DEFAULT}
    assert {key: getattr(config, key) for key in expected} == expected
    # How it was trained is told where it is not the default.
    trained = {key: choice[key] for key in ("loss", "skip") if key in choice}
    assert trained == {key: value for key, value in changed.items() if key in ("loss", "skip")}
    hazards = config.head == "hazard"
    assert ("by_likelihood" in choice) == (hazards and changed.get("gate", True))
    assert (choice["shares"] == {"click": 1.0, "conversion": 1.0}) if name == "variant-no-gate" else True
    limits = Limits(LENGTH, 3, head_width=2, beam_width=2)
    family = SortGen(checkpoint)
    proof = prove(GraphPlanner(family.graph(limits).build({})), family, limits, requests=20, seed=1)
    assert proof.requests == 20


def test_every_variant_is_there_and_differs_from_all_others() -> None:
    assert list(BY_NAME) == list(CHANGED)
    options = [fit.options(PROFILE) for fit in FITS]
    assert all(one != other for i, one in enumerate(options) for other in options[:i])
    assert all(fit.seeded for fit in FITS)


def test_all_states_are_as_many_as_places_in_a_list_of_any_length() -> None:
    longer = replace(PROFILE, world=WorldSizes(length=17))
    assert BY_NAME[STATES_ALL].options(longer)["states"] == 17
