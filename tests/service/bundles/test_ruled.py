"""A bundle with a second graph for rules loads only when both graphs, their files and the manifest agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from models.contract import manifest as m
from models.contract.rules.tensors import RULE_INPUTS
from models.contract.tensor_specs import RuledGraph, TensorSpec
from service.bundles.load import identity, load_bundle
from service.bundles.model import BundleError
from service.inference.onnx.session import SessionConfig
from service.ranking.trial import try_bundle
from tests.service.tiny_bundle import (
    Options,
    golden_arrays,
    make_graph,
    save_golden,
    with_checksums,
    write_bundle,
    write_manifest,
)

RULED = Options(groups=4)


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder, SessionConfig())
    return str(caught.value)


def ruled_of(manifest: m.Manifest) -> RuledGraph:
    assert manifest.ruled is not None
    return manifest.ruled


def write_described(root: Path, change: Callable[[RuledGraph], RuledGraph], *, graph: bool = False) -> Path:
    """Write a bundle whose manifest describes the ruled graph otherwise; with `graph`, the graph itself follows."""
    folder = write_bundle(root, RULED)
    manifest = m.Manifest.read(folder)
    changed = replace(manifest, ruled=change(ruled_of(manifest)))
    if graph:
        model = onnx.load(folder / m.RULED_FILE)
        for values, tensors in (
            (model.graph.input, ruled_of(changed).inputs),
            (model.graph.output, ruled_of(changed).outputs),
        ):
            del values[:]
            values.extend(
                onnx.helper.make_tensor_value_info(
                    t.name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(t.dtype)), t.shape
                )
                for t in tensors
            )
        onnx.save(model, folder / m.RULED_FILE)
    write_manifest(folder, with_checksums(folder, changed))
    return folder


def test_a_sound_bundle_with_both_graphs_loads(ruled_bundle: Path, bundle: Path) -> None:
    stages: list[str] = []
    model = load_bundle(ruled_bundle, SessionConfig(), begin=stages.append)
    assert model.ruled_inputs == model.inputs | set(RULE_INPUTS)
    assert [stage for stage in stages if "ruled" in stage] == ["loading ruled.onnx", "replaying golden_ruled.npz"]
    assert {m.RULED_FILE, m.RULED_GOLDEN_FILE} < identity(model.manifest).keys()
    assert load_bundle(bundle, SessionConfig()).ruled_inputs == frozenset()


def test_a_bundle_whose_ruled_graph_takes_any_number_of_slots_loads(tmp_path: Path) -> None:
    """The slots of both graphs have the same name, and the tensors of rules have it too."""

    def free(tensors: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        return tuple(replace(t, shape=tuple("N" if size == 15 else size for size in t.shape)) for t in tensors)

    folder = write_described(tmp_path, lambda ruled: replace(ruled, inputs=free(ruled.inputs)))
    manifest = m.Manifest.read(folder)
    write_manifest(folder, replace(manifest, inputs=free(manifest.inputs)))
    assert load_bundle(folder, SessionConfig()).ruled_inputs
    write_manifest(folder, manifest)
    assert "['batch', 'N', 2], but must be int64 ['batch', 15, 2]" in refusal(folder)


@pytest.mark.parametrize("name", [m.RULED_FILE, m.RULED_GOLDEN_FILE])
def test_a_file_that_is_missing_or_damaged_is_named(tmp_path: Path, name: str) -> None:
    folder = write_bundle(tmp_path, RULED)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-10])
    assert refusal(folder).startswith(f"{name}: SHA-256 is ")
    (folder / name).unlink()
    assert refusal(folder).startswith(f"{name}: cannot be read")


@pytest.mark.parametrize("name", [m.RULED_FILE, m.RULED_GOLDEN_FILE])
def test_the_key_without_the_file_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_bundle(tmp_path, RULED)
    manifest = m.Manifest.read(folder)
    (folder / name).unlink()
    write_manifest(folder, replace(manifest, files={n: digest for n, digest in manifest.files.items() if n != name}))
    assert refusal(folder) == f"bundle.files.{name}: is missing, but bundle.ruled describes a graph for rules"


@pytest.mark.parametrize("listed", [True, False])
def test_the_file_without_the_key_is_refused(tmp_path: Path, listed: bool) -> None:
    folder = write_bundle(tmp_path, RULED)
    manifest = m.Manifest.read(folder)
    files = manifest.files if listed else {n: manifest.files[n] for n in (m.MODEL_FILE, m.GOLDEN_FILE)}
    write_manifest(folder, replace(manifest, ruled=None, files=files))
    assert refusal(folder) == "bundle.ruled: is missing, but the bundle has ruled.onnx"


def test_a_ruled_graph_that_is_no_model_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, RULED)
    (folder / m.RULED_FILE).write_bytes(b"no model")
    write_manifest(folder, with_checksums(folder, m.Manifest.read(folder)))
    assert refusal(folder).startswith("ruled.onnx: ONNX Runtime cannot load it")


def test_a_ruled_graph_of_another_feature_spec_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, RULED)
    manifest = m.Manifest.read(folder)
    onnx.save(make_graph(manifest, "0" * 64, ruled_of(manifest)), folder / m.RULED_FILE)
    write_manifest(folder, with_checksums(folder, manifest))
    assert refusal(folder).startswith("ruled.onnx: was exported for the feature spec")


def test_the_plain_graph_in_place_of_the_ruled_one_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, RULED)
    (folder / m.RULED_FILE).write_bytes((folder / m.MODEL_FILE).read_bytes())
    write_manifest(folder, with_checksums(folder, m.Manifest.read(folder)))
    assert refusal(folder) == "ruled.onnx: the manifest has an input 'lifts', the graph has not"


def changed(tensors: tuple[TensorSpec, ...], name: str, **changes: object) -> tuple[TensorSpec, ...]:
    return tuple(replace(t, **changes) if t.name == name else t for t in tensors)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda x: replace(x, inputs=tuple(t for t in x.inputs if t.name != "seen")),
            "ruled.onnx: the graph has an input 'seen', the manifest has not",
        ),
        (
            lambda x: replace(x, inputs=changed(x.inputs, "room", shape=("batch", 25, 4))),
            "ruled.onnx: input 'room' has shape ['batch', 10, 4], but the manifest says ['batch', 25, 4]",
        ),
        (
            lambda x: replace(x, inputs=changed(x.inputs, "lifts", dtype="float64")),
            "ruled.onnx: input 'lifts' is float32, but the manifest says float64",
        ),
        (
            lambda x: replace(x, groups=5),
            "ruled.onnx: input 'members' is float32 ['batch', 15, 4], but must be float32 ['batch', 15, 5]",
        ),
        (
            lambda x: replace(x, inputs=changed(x.inputs, "step_bars", shape=("batch", 5, "free"))),
            "ruled.onnx: input 'step_bars' is float32 ['batch', 5, 'free'], but must be float32 ['batch', 5, 15]",
        ),
    ],
)
def test_a_manifest_that_contradicts_the_ruled_graph_is_refused(
    tmp_path: Path, change: Callable[[RuledGraph], RuledGraph], text: str
) -> None:
    assert refusal(write_described(tmp_path, change)) == text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda x: replace(x, inputs=(*x.inputs, TensorSpec("mood", "float32", ("batch",)))),
            "ruled.onnx: has an input 'mood', which it may not have",
        ),
        (
            lambda x: replace(x, outputs=x.outputs[:-1]),
            "ruled.onnx: has no output 'runner_up'",
        ),
        (
            lambda x: replace(x, outputs=changed(x.outputs, "penalty", shape=("batch", "any"))),
            "ruled.onnx: output 'penalty' is float32 ['batch', 'any'], but must be float32 ['batch', 5]",
        ),
    ],
)
def test_a_ruled_graph_that_is_not_the_plain_one_with_rules_is_refused(
    tmp_path: Path, change: Callable[[RuledGraph], RuledGraph], text: str
) -> None:
    """Manifest and graph agree here, but the service would not make the one's inputs, or read its outputs."""
    assert refusal(write_described(tmp_path, change, graph=True)) == text


def edit_golden(folder: Path, name: str, edit: Callable[[np.ndarray], np.ndarray]) -> None:
    with np.load(folder / m.RULED_GOLDEN_FILE) as file:
        arrays = {key: file[key] for key in file.files}
    arrays[name] = edit(arrays[name])
    save_golden(folder, arrays, m.RULED_GOLDEN_FILE)
    write_manifest(folder, with_checksums(folder, m.Manifest.read(folder)))


def test_recorded_requests_with_rules_are_replayed(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, RULED)
    edit_golden(folder, "input.step_bars", lambda bars: np.zeros_like(bars))
    message = refusal(folder)
    assert message.startswith("golden_ruled.npz: request 1: step 1 chose slot"), "the first has no rules to lose"
    load_bundle(folder, SessionConfig(), golden=False)


@pytest.mark.parametrize("name", ["members", "room", "seen"])
def test_recorded_tensors_of_rules_must_have_their_shapes(tmp_path: Path, name: str) -> None:
    folder = write_bundle(tmp_path, RULED)
    edit_golden(folder, f"input.{name}", lambda array: array[:, :-1])
    assert refusal(folder).startswith(f"golden_ruled.npz: input.{name} has shape [4, ")


def test_a_trial_finds_a_ruled_graph_that_fails_on_what_is_not_recorded(tmp_path: Path) -> None:
    """Its graph runs batches of one only, as recorded requests are replayed."""
    folder = write_bundle(tmp_path, RULED)
    try_bundle(folder, SessionConfig(), lambda _: None)
    manifest = m.Manifest.read(folder)
    model = onnx.load(folder / m.RULED_FILE)
    (last,) = (node for node in model.graph.node if "score" in node.output)
    last.output[0] = "score_before"
    model.graph.node.append(onnx.helper.make_node("Reshape", ["score_before", "one_row"], ["score"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 5]), "one_row"))
    onnx.save(model, folder / m.RULED_FILE)
    write_manifest(folder, with_checksums(folder, manifest))
    load_bundle(folder, SessionConfig())
    with pytest.raises(BundleError, match="a warm-up request cannot be run"):
        try_bundle(folder, SessionConfig(), lambda _: None)


def test_a_bundle_with_the_sorts_list_and_rules_loads(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, replace(RULED, knows_sort=True))
    model = load_bundle(folder, SessionConfig())
    assert m.SORT_SLOTS in model.ruled_inputs
    arrays = golden_arrays(folder / m.RULED_FILE, model.manifest, ruled_of(model.manifest))
    assert set(arrays["output.kept_sort"].tolist()) == {True, False}
