"""What is published is what was proved, the service takes it, and nothing else ever appears under a bundle's name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from export.bundle import BundleOptions, ExportError, write_bundle
from export.families.family import ModelFamily
from export.proof import proved
from export.proof.proved import GOLDEN_REQUESTS
from export.proof.verify import ProofError, prove
from models.contract.manifest import (
    FINGERPRINT_KEY,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    RULED_FILE,
    RULED_GOLDEN_FILE,
    Limits,
    Manifest,
    QueueSpec,
)
from models.contract.rules.tensors import GROUPS, RULE_INPUTS
from service.bundles.folder import versions
from service.bundles.load import load_bundle
from service.bundles.model import BundleError
from service.inference.onnx.session import SessionConfig
from tests.export.examples import CONFIG, DEGRE_OPTIONS, OPTIONS, degre, options, sort_gen
from tests.models.planners.examples import SPEC, UNITS


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles"), sort_gen(), OPTIONS, requests=20).folder


@pytest.fixture
def own_copy(published: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "demo" / "1"
    folder.mkdir(parents=True)
    for path in published.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def everything_under(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_the_folder_holds_both_graphs_with_their_requests_and_others_may_read_it(published: Path) -> None:
    assert published.parts[-2:] == ("demo", "1")
    assert everything_under(published) == [MANIFEST_FILE, GOLDEN_FILE, RULED_GOLDEN_FILE, MODEL_FILE, RULED_FILE]
    assert [p.name for p in published.parent.iterdir()] == ["1"]
    assert published.stat().st_mode & 0o777 == 0o755


def test_the_manifest_says_what_was_asked_for_and_what_was_proved(published: Path) -> None:
    manifest = Manifest.read(published)
    assert (manifest.name, manifest.version, manifest.family) == ("demo", "1", "sort-gen")
    assert (manifest.spec, manifest.units) == (SPEC, UNITS)
    for name in ("limits", "queues", "fallback", "objectives", "diversity", "partition"):
        assert getattr(manifest, name) == getattr(OPTIONS, name)
    assert manifest.provenance["data"] == {"source": "none"}
    assert manifest.provenance["model"]["dim"] == CONFIG.dim
    assert manifest.provenance["proof"]["requests"] == 20
    assert manifest.provenance["ruled_proof"]["requests"] == 10
    nodes = manifest.provenance["graph"]
    assert nodes["nodes"] < nodes["ruled_nodes"]
    assert {t.name for t in manifest.outputs} == {"order", "value", "penalty", "score", "runner_up", "kept_sort"}


def test_checksums_are_those_of_the_files_and_the_graphs_carry_the_fingerprint(published: Path) -> None:
    files = Manifest.read(published).files
    names = (MODEL_FILE, GOLDEN_FILE, RULED_FILE, RULED_GOLDEN_FILE)
    assert files == {n: hashlib.sha256((published / n).read_bytes()).hexdigest() for n in names}
    for name in (MODEL_FILE, RULED_FILE):
        properties = {p.key: p.value for p in onnx.load(published / name).metadata_props}
        assert properties[FINGERPRINT_KEY] == SPEC.fingerprint


@pytest.mark.parametrize("name", [GOLDEN_FILE, RULED_GOLDEN_FILE])
def test_golden_requests_cover_every_input_and_output(published: Path, name: str) -> None:
    manifest = Manifest.read(published)
    sides = manifest if name == GOLDEN_FILE else manifest.ruled
    assert sides is not None
    with np.load(published / name, allow_pickle=False) as golden:
        arrays = dict(golden)
    inputs, outputs = {f"input.{t.name}" for t in sides.inputs}, {f"output.{t.name}" for t in sides.outputs}
    assert set(arrays) == inputs | outputs | {"output.margin"}
    assert {len(array) for array in arrays.values()} == {GOLDEN_REQUESTS}
    assert (arrays["output.order"] >= 0).any(axis=1).sum() > GOLDEN_REQUESTS / 2


def test_the_graph_for_rules_takes_their_inputs_and_gives_the_same_outputs(published: Path) -> None:
    manifest = Manifest.read(published)
    assert manifest.ruled is not None
    assert manifest.ruled.groups == GROUPS
    assert manifest.ruled.outputs == manifest.outputs
    added = [t for t in manifest.ruled.inputs if t not in manifest.inputs]
    assert [t.name for t in added] == list(RULE_INPUTS)
    assert [t.shape[1:] for t in added] == [(4, 8), (8, GROUPS), (6, GROUPS), (8,), (4, 8)]
    with np.load(published / RULED_GOLDEN_FILE, allow_pickle=False) as golden:
        assert all(golden[f"input.{name}"].any() for name in RULE_INPUTS)


def test_without_rules_there_is_one_graph(tmp_path: Path) -> None:
    written = write_bundle(tmp_path, degre(), replace(DEGRE_OPTIONS, rules=False), requests=2)
    manifest = Manifest.read(written.folder)
    assert (manifest.ruled, written.ruled) == (None, None)
    assert everything_under(written.folder) == [MANIFEST_FILE, GOLDEN_FILE, MODEL_FILE]
    assert "ruled_proof" not in manifest.provenance


def test_the_service_loads_it_and_gets_the_recorded_answers(published: Path) -> None:
    model = load_bundle(published, SessionConfig())
    assert (model.name, model.version) == ("demo", "1")
    assert versions(published.parent) == ["1"]
    with np.load(published / GOLDEN_FILE, allow_pickle=False) as golden:
        feeds = {name: golden[f"input.{name}"] for name in model.inputs}
        found = np.asarray(model.engine.run(feeds)["value"], np.float32)
        np.testing.assert_allclose(found, golden["output.value"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [MODEL_FILE, GOLDEN_FILE])
@pytest.mark.parametrize("place", [0.01, 0.5, 0.99])
def test_the_service_refuses_it_if_one_bit_is_wrong(own_copy: Path, name: str, place: float) -> None:
    raw = bytearray((own_copy / name).read_bytes())
    raw[int(len(raw) * place)] ^= 1
    (own_copy / name).write_bytes(raw)
    with pytest.raises(BundleError, match=f"^{name}: SHA-256 is "):
        load_bundle(own_copy, SessionConfig())


@pytest.mark.long
@pytest.mark.parametrize(("make", "wishes"), [(sort_gen, OPTIONS), (degre, DEGRE_OPTIONS)], ids=["sort-gen", "degre"])
def test_the_service_refuses_another_models_graph_even_with_its_right_checksum(
    tmp_path: Path, make: Callable[[int], ModelFamily], wishes: BundleOptions
) -> None:
    """The golden answers are what tells two models of equal shape apart."""
    folder, other = (write_bundle(tmp_path / str(seed), make(seed), wishes, requests=1).folder for seed in (0, 5))
    (folder / MODEL_FILE).write_bytes((other / MODEL_FILE).read_bytes())
    manifest = json.loads((folder / MANIFEST_FILE).read_text("utf-8"))
    manifest["files"][MODEL_FILE] = Manifest.read(other).files[MODEL_FILE]
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(BundleError, match=r"^golden\.npz: request \d+: "):
        load_bundle(folder, SessionConfig())


@pytest.mark.parametrize("conditioned", [False, True])
def test_a_generators_bundle_is_loaded_by_the_service_and_says_what_it_is(tmp_path: Path, conditioned: bool) -> None:
    written = write_bundle(tmp_path, degre(conditioned=conditioned), DEGRE_OPTIONS, requests=20)
    manifest = load_bundle(written.folder, SessionConfig()).manifest
    assert (manifest.family, manifest.limits, written.proof.requests) == ("degre", DEGRE_OPTIONS.limits, 20)
    assert manifest.any_slots
    assert manifest.fixed_objectives == (not conditioned)
    assert manifest.provenance["model"]["generator"]["layers"] == 1
    assert manifest.provenance["model"]["evaluator"]["head"] == "hazard"
    with np.load(written.folder / GOLDEN_FILE, allow_pickle=False) as golden:
        assert golden["input.valid"].shape[1] <= 16
        assert ("input.objective_weights" in golden) == conditioned


def test_equal_checkpoints_give_equal_graphs(published: Path, tmp_path: Path) -> None:
    again = write_bundle(tmp_path, sort_gen(), OPTIONS, requests=1).folder
    for name in (MODEL_FILE, RULED_FILE):
        assert (again / name).read_bytes() == (published / name).read_bytes()


@pytest.mark.long
def test_a_second_version_stands_beside_the_first(tmp_path: Path) -> None:
    for version in ("1", "2"):
        write_bundle(tmp_path, sort_gen(), options(version=version), requests=1)
    assert versions(tmp_path / "demo") == ["1", "2"]


def test_an_existing_version_is_never_changed(own_copy: Path) -> None:
    before = {p.name: p.read_bytes() for p in own_copy.iterdir()}
    with pytest.raises(ExportError, match="exists already; a version is never changed"):
        write_bundle(own_copy.parents[1], sort_gen(seed=3), OPTIONS, requests=1)
    assert {p.name: p.read_bytes() for p in own_copy.iterdir()} == before
    assert [p.name for p in own_copy.parent.iterdir()] == ["1"]


def test_a_failed_proof_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prove_another(planner: Any, _: Any, *rest: Any, **wishes: Any) -> Any:
        return prove(planner, sort_gen(seed=9), *rest, **wishes)

    monkeypatch.setattr(proved, "prove", prove_another)
    with pytest.raises(ProofError, match=r"^request 0 of seed 3: position 0: "):
        write_bundle(tmp_path / "bundles", sort_gen(), OPTIONS, requests=5, seed=3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", ["write_bytes", "rename"])
def test_a_full_disk_or_a_lost_race_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, broken, fail)
    with pytest.raises(OSError, match="No space left"):
        write_bundle(tmp_path, sort_gen(), OPTIONS, requests=1)
    monkeypatch.undo()
    assert list((tmp_path / "demo").iterdir()) == []


def test_a_list_longer_than_the_models_horizon_publishes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="list_length 5 is past the model's horizon 4"):
        write_bundle(tmp_path, sort_gen(), options(limits=Limits(CONFIG.list_length + 1, 2)), requests=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("queues", [(), (QueueSpec("a", "ctr"),) * 3])
def test_no_queues_or_more_than_the_graph_has_are_refused_before_anything_is_built(
    queues: tuple[QueueSpec, ...],
) -> None:
    with pytest.raises(ExportError, match=f"^queues: must be 1 to 2 queues, not {len(queues)}$"):
        options(queues=queues)


@pytest.mark.parametrize("key", ["name", "version"])
@pytest.mark.parametrize("value", ["", ".", "..", ".hidden", "a/b", "../a", "a\\b", "a b", "a\n", "ü", "a" * 129, "-a"])
def test_names_that_are_no_plain_folder_names_are_refused(key: str, value: str) -> None:
    with pytest.raises(ExportError, match=f"^{key}: must be 1 to 128 letters, digits"):
        options(**{key: value})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: options(fallback="max(ctr)"), "fallback: 'max(ctr)' may only use"),
        (lambda: options(queues=(QueueSpec("odd", "ctr*("),)), "queue 'odd': 'ctr*(' is not an arithmetic"),
    ],
)
def test_a_formula_that_is_none_is_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ExportError) as caught:
        make()
    assert str(caught.value).startswith(message)
