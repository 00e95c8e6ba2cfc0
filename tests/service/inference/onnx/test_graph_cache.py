"""The cache of optimised graphs: it saves work when it can, and whatever is wrong with it never stops a model."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from models.contract.manifest import GOLDEN_FILE, MODEL_FILE, Manifest
from service.bundles.load import load_bundle
from service.inference.onnx import graph_cache
from service.inference.onnx.graph_cache import GraphCache
from service.inference.onnx.session import SessionConfig, session_options
from tests.service.live import make_settings

Model = str | bytes


class Maker:
    """Makes sessions and notes what from."""

    def __init__(self) -> None:
        self.made: list[tuple[type[Model], ort.GraphOptimizationLevel]] = []

    def __call__(self, model: Model, options: ort.SessionOptions) -> ort.InferenceSession:
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.made.append((type(model), options.graph_optimization_level))
        return session


ORIGINAL = (str, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
CACHED = (bytes, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)


@pytest.fixture(autouse=True)
def _forget_warnings() -> Iterator[None]:
    graph_cache._say_once.cache_clear()
    yield
    graph_cache._say_once.cache_clear()


def load(folder: Path, model: Path, make: Maker, *key: str) -> ort.InferenceSession:
    return GraphCache(folder, make).load(model, lambda: session_options(SessionConfig()), key=key or ("cpu", "sha"))


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_the_second_load_skips_optimisation_and_answers_the_same(any_bundle: Path, tmp_path: Path) -> None:
    make, model = Maker(), any_bundle / MODEL_FILE
    first, second = load(tmp_path / "c", model, make), load(tmp_path / "c", model, make)
    assert make.made == [ORIGINAL, CACHED]
    with np.load(any_bundle / GOLDEN_FILE) as file:
        feeds = {t.name: file[f"input.{t.name}"] for t in Manifest.read(any_bundle).inputs}
    for a, b in zip(first.run(None, feeds), second.run(None, feeds), strict=True):
        np.testing.assert_array_equal(a, b)
    assert first.get_modelmeta().custom_metadata_map == second.get_modelmeta().custom_metadata_map


def test_only_the_user_may_look_into_the_folder_and_only_whole_entries_lie_there(bundle: Path, tmp_path: Path) -> None:
    load(tmp_path / "a" / "b", bundle / MODEL_FILE, Maker())
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    (entry,) = entries(tmp_path / "a" / "b")
    onnx.load(entry)


def test_another_model_version_or_cpu_gets_an_entry_of_its_own(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, model = Maker(), bundle / MODEL_FILE
    load(tmp_path, model, make, "cpu", "a")
    load(tmp_path, model, make, "cpu", "b")
    monkeypatch.setattr(graph_cache, "_cpu", lambda: "another")
    load(tmp_path, model, make, "cpu", "a")
    monkeypatch.setattr(ort, "__version__", "0.0.0")
    load(tmp_path, model, make, "cpu", "a")
    assert make.made == [ORIGINAL] * 4
    assert len(entries(tmp_path)) == 4


@pytest.mark.parametrize("damage", [lambda raw: raw[:-20], lambda raw: raw[:99] + b"?" + raw[100:], lambda _: b""])
def test_a_damaged_entry_is_found_and_replaced(bundle: Path, tmp_path: Path, damage: object) -> None:
    make, model = Maker(), bundle / MODEL_FILE
    load(tmp_path, model, make)
    (entry,) = entries(tmp_path)
    sound = entry.read_bytes()
    assert callable(damage)
    entry.write_bytes(damage(sound))
    load(tmp_path, model, make)
    assert make.made == [ORIGINAL, ORIGINAL]
    assert [path.read_bytes() for path in entries(tmp_path)] == [sound]
    load(tmp_path, model, make)
    assert make.made[-1] == CACHED


def test_an_entry_that_onnx_runtime_cannot_read_is_replaced_even_if_it_is_as_written(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make, model = Maker(), bundle / MODEL_FILE
    load(tmp_path, model, make)
    (entry,) = entries(tmp_path)
    digest = entry.stem.partition("-")[0]
    entry.unlink()
    bad = tmp_path / f"{digest}-{hashlib.sha256(b'no model').hexdigest()}.onnx"
    bad.write_bytes(b"no model")
    load(tmp_path, model, make)
    assert make.made == [ORIGINAL, ORIGINAL]
    assert not bad.exists()
    assert "is made again" in caplog.text


def test_a_bad_model_is_refused_as_without_a_cache_and_leaves_nothing(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"no model")
    with pytest.raises(Exception, match=r"ModelProto|INVALID_PROTOBUF|Protobuf"):
        load(tmp_path / "cache", model, Maker())
    assert entries(tmp_path / "cache") == []


def test_a_folder_that_cannot_be_made_costs_one_warning_and_nothing_else(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    make = Maker()
    for _ in range(3):
        load(tmp_path / "file" / "cache", bundle / MODEL_FILE, make)
    assert make.made == [ORIGINAL] * 3
    assert [record.message.startswith("optimised graphs are not kept in") for record in caplog.records] == [True]


def test_a_folder_that_others_may_write_to_is_not_trusted(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o777)
    make = Maker()
    for _ in range(2):
        load(tmp_path, bundle / MODEL_FILE, make)
    assert make.made == [ORIGINAL] * 2
    assert entries(tmp_path) == []
    assert "others may write to it" in caplog.text


def test_a_graph_that_cannot_be_written_leaves_the_service_without_a_cache(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    make = Maker()
    monkeypatch.setattr(Path, "replace", full)
    load(tmp_path, bundle / MODEL_FILE, make)
    monkeypatch.setattr(tempfile, "mkstemp", full)
    load(tmp_path, bundle / MODEL_FILE, make)
    assert make.made == [ORIGINAL] * 2
    assert entries(tmp_path) == []
    assert [r.message for r in caplog.records if "No space left" in r.message]


def test_old_entries_go_and_used_ones_stay(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_cache, "_KEPT", 2)
    make, model = Maker(), bundle / MODEL_FILE
    for age, name in ((300, "old"), (200, "used")):
        load(tmp_path, model, make, name)
        newest = max(entries(tmp_path), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (newest.stat().st_mtime - age,) * 2)
    load(tmp_path, model, make, "old")
    load(tmp_path, model, make, "new")
    made = len(make.made)
    load(tmp_path, model, make, "old")
    load(tmp_path, model, make, "new")
    assert make.made[made:] == [CACHED, CACHED]
    assert len(entries(tmp_path)) == 2


def test_a_bundle_is_served_from_the_cache_and_checked_as_ever(bundle: Path, tmp_path: Path) -> None:
    config = SessionConfig(cache_folder=tmp_path / "cache")
    for _ in range(2):
        model = load_bundle(bundle, config)
        assert (model.name, model.engine.provider) == ("tiny", "cpu")
    assert len(entries(tmp_path / "cache")) == 1


@pytest.mark.parametrize(
    ("value", "xdg", "expected"),
    [
        (None, "/caches", Path("/caches/listwright")),
        (None, "", Path("/home/me/.cache/listwright")),
        (None, "relative", Path("/home/me/.cache/listwright")),
        ("/else", "/caches", Path("/else")),
        ("~/else", "", Path("/home/me/else")),
        ("", "/caches", None),
    ],
)
def test_where_graphs_are_kept(
    value: str | None, xdg: str, expected: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    assert make_settings(cache_folder=value).graph_cache == expected
