"""A bundle loads only when everything in it agrees; otherwise the error names what differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from models.contract import manifest as m
from models.contract.tensor_specs import TensorSpec
from models.contract.verdict import UNMEASURED
from service.bundles.folder import versions
from service.bundles.load import load_bundle
from service.bundles.model import BundleError
from service.inference.onnx.session import SessionConfig
from tests.service.tiny_bundle import (
    Options,
    save_golden,
    with_checksums,
    write_bundle,
    write_manifest,
)


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder, SessionConfig())
    return str(caught.value)


def test_a_sound_bundle_loads(bundle: Path) -> None:
    model = load_bundle(bundle, SessionConfig())
    assert (model.name, model.version, model.engine.provider) == ("tiny", "1", "cpu")
    assert "user_ids" in model.inputs


def test_a_truncated_model_is_refused_by_its_checksum(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    path = folder / m.MODEL_FILE
    path.write_bytes(path.read_bytes()[:-100])
    message = refusal(folder)
    assert message.startswith("model.onnx: SHA-256 is ")
    assert "but the manifest says" in message


def test_a_tampered_golden_file_is_refused_by_its_checksum(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    raw = bytearray((folder / m.GOLDEN_FILE).read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / m.GOLDEN_FILE).write_bytes(raw)
    assert refusal(folder).startswith("golden.npz: SHA-256 is ")


@pytest.mark.parametrize("name", [m.MODEL_FILE, m.GOLDEN_FILE, m.MANIFEST_FILE])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_bundle(tmp_path)
    (folder / name).unlink()
    assert name in refusal(folder)


@pytest.mark.parametrize("cut", [0, 1, 100, 1000])
def test_a_truncated_manifest_is_refused(tmp_path: Path, cut: int) -> None:
    folder = write_bundle(tmp_path)
    path = folder / m.MANIFEST_FILE
    path.write_text(path.read_text()[:cut])
    assert "is not valid JSON" in refusal(folder)


def test_a_file_that_is_no_model_is_refused_even_when_its_checksum_is_right(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    (folder / m.MODEL_FILE).write_bytes(b"no model")
    write_manifest(folder, with_checksums(folder, m.Manifest.read(folder)))
    assert "ONNX Runtime cannot load it" in refusal(folder)


def test_a_graph_of_another_feature_spec_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, Options(fingerprint="0" * 64))
    assert "was exported for the feature spec" in refusal(folder)


def test_a_spec_edited_by_hand_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    path = folder / m.MANIFEST_FILE
    path.write_text(path.read_text().replace('"25-34"', '"25-35"'))
    assert "bundle.fingerprint" in refusal(folder)


def tensors(manifest: m.Manifest, **changes: TensorSpec | None) -> tuple[TensorSpec, ...]:
    return tuple(t for old in manifest.inputs if (t := changes.get(old.name, old)) is not None)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda x: replace(x, inputs=tensors(x, price=None)), "the graph has an input 'price', the manifest has not"),
        (
            lambda x: replace(x, inputs=(*x.inputs, TensorSpec("shown", "int64", ("batch",)))),
            "the manifest has an input 'shown', the graph has not",
        ),
        (
            lambda x: replace(x, inputs=tensors(x, window=TensorSpec("window", "int32", ("batch",)))),
            "input 'window' is int64, but the manifest says int32",
        ),
        (
            lambda x: replace(x, inputs=tensors(x, price=TensorSpec("price", "float32", ("batch",)))),
            "input 'price' has shape ['batch', 15], but the manifest says ['batch']",
        ),
        (
            lambda x: replace(x, inputs=tensors(x, price=TensorSpec("price", "float32", ("batch", 16)))),
            "input 'price' has shape ['batch', 15], but the manifest says ['batch', 16]",
        ),
        (lambda x: replace(x, outputs=x.outputs[1:]), "the graph has an output 'order', the manifest has not"),
        (lambda x: replace(x, fallback="ctr*("), "bundle.fallback"),
        (lambda x: replace(x, queues=(m.QueueSpec("bad", "max(ctr)"),)), "bundle.queues.bad"),
        (lambda x: replace(x, files={}), "bundle.files.model.onnx: is missing"),
        (lambda x: replace(x, files={**x.files, "../../x": "0"}), "is not in the bundle's own folder"),
    ],
)
def test_a_manifest_that_contradicts_the_graph_is_refused(
    tmp_path: Path, change: Callable[[m.Manifest], m.Manifest], text: str
) -> None:
    assert text in refusal(write_bundle(tmp_path, Options(change=change)))


def test_a_graph_that_asks_for_an_unknown_input_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    graph = onnx.load(folder / m.MODEL_FILE)
    graph.graph.input.append(onnx.helper.make_tensor_value_info("mood", onnx.TensorProto.FLOAT, ["batch"]))
    onnx.save(graph, folder / m.MODEL_FILE)
    manifest = m.Manifest.read(folder)
    manifest = replace(manifest, inputs=(*manifest.inputs, TensorSpec("mood", "float32", ("batch",))))
    write_manifest(folder, with_checksums(folder, manifest))
    assert "asks for the input 'mood'" in refusal(folder)


def edit_golden(folder: Path, name: str, edit: Callable[[np.ndarray], np.ndarray]) -> None:
    with np.load(folder / m.GOLDEN_FILE) as file:
        arrays = {key: file[key] for key in file.files}
    arrays[name] = edit(arrays.get(name, np.zeros(())))
    save_golden(folder, arrays)
    write_manifest(folder, with_checksums(folder, m.Manifest.read(folder)))


def first_step(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def edit(array: np.ndarray) -> np.ndarray:
        changed = array.copy()
        changed[2].flat[0] = value
        return changed

    return edit


def test_a_golden_request_with_another_order_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    edit_golden(folder, "output.order", first_step(7))
    assert "request 2: step 0 chose slot" in refusal(folder)
    load_bundle(folder, SessionConfig(), golden=False)  # Where they have been replayed in another process.


def test_another_order_is_excused_from_a_near_tie_on(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    edit_golden(folder, "output.order", first_step(7))
    edit_golden(folder, "output.margin", lambda _: np.full((4, 5), 1e-6, np.float32))
    load_bundle(folder, SessionConfig())
    edit_golden(folder, "output.margin", lambda _: np.full((4, 5), 1e-4, np.float32))
    assert "request 2: step 0 chose slot" in refusal(folder)


@pytest.mark.parametrize("margins", [np.zeros(4, np.float32), np.full((4, 5), np.nan, np.float32)])
def test_margins_that_are_not_one_number_a_step_excuse_nothing(tmp_path: Path, margins: np.ndarray) -> None:
    folder = write_bundle(tmp_path)
    edit_golden(folder, "output.margin", lambda _: margins)
    assert "output.margin must hold a number for every step, [4, 5]" in refusal(folder)


@pytest.mark.parametrize("name", ["value", "penalty", "score"])
def test_a_golden_value_that_differs_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_bundle(tmp_path)
    edit_golden(folder, f"output.{name}", first_step(123.0))
    assert f"request 2: {name} of step 0" in refusal(folder)


def test_a_golden_file_without_an_array_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    with np.load(folder / m.GOLDEN_FILE) as file:
        arrays = {key: file[key] for key in file.files if key != "input.price"}
    save_golden(folder, arrays)
    write_manifest(folder, with_checksums(folder, m.Manifest.read(folder)))
    assert "has no array 'input.price'" in refusal(folder)


def test_a_golden_file_without_requests_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    with np.load(folder / m.GOLDEN_FILE) as file:
        arrays = {key: file[key][:0] for key in file.files}
    save_golden(folder, arrays)
    write_manifest(folder, with_checksums(folder, m.Manifest.read(folder)))
    assert "at least 1" in refusal(folder)
    edit_golden(folder, "input.price", lambda _: np.zeros(()))
    assert "at least 1" in refusal(folder)


def test_a_bundle_from_before_verdicts_and_beams_loads_and_is_unmeasured(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    data = json.loads((folder / m.MANIFEST_FILE).read_text("utf-8"))
    assert data.pop("valued") == ["click", "conversion", "gmv"]
    assert data.pop("verdict")["outcome"] == "same"
    assert "shares" not in data
    del data["limits"]["beam_width"], data["limits"]["queue_length"]
    (folder / m.MANIFEST_FILE).write_text(json.dumps(data), "utf-8")
    manifest = load_bundle(folder, SessionConfig()).manifest
    assert (manifest.verdict, manifest.shares, manifest.limits.beam_width) == (UNMEASURED, None, 1)


def test_versions_are_in_natural_order(tmp_path: Path) -> None:
    for name in ("9", "10", "2", "1.10", "1.9"):
        (tmp_path / "x" / name).mkdir(parents=True)
        (tmp_path / "x" / name / m.MANIFEST_FILE).touch()
    (tmp_path / "x" / "11").mkdir()
    assert versions(tmp_path / "x") == ["1.9", "1.10", "2", "9", "10"]
