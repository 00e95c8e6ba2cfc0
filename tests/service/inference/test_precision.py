"""A bundle in float16 is served on CPU as well, with a warning, and may excuse in its replay only so much."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.bundle import BundleOptions, write_bundle
from export.families.sort_gen import SortGen
from models.contract.manifest import MANIFEST_FILE, DiversityDefaults, Limits, Manifest, QueueSpec
from models.nets.checkpoint import Checkpoint
from models.nets.value import ValueConfig
from service.bundles.load import load_bundle
from service.bundles.model import BundleError
from service.inference.onnx.session import SessionConfig
from tests.models.planners.examples import random_model
from tests.service.live import Live, live_app
from tests.service.requests import request
from tests.service.tiny_bundle import SPEC, with_checksums, write_manifest

UNITS = {"click": 0.2, "conversion": 0.1, "gmv": 2.0}
OPTIONS = BundleOptions(
    name="half",
    version="1",
    limits=Limits(list_length=5, queues=2),
    queues=(QueueSpec("click", "ctr"), QueueSpec("gmv", "ctr*cvr*price")),
    fallback="alpha*ctr + gamma*ctr*cvr*price",
    objectives={"click": 5.0, "conversion": 1.0, "gmv": 1.0},
    diversity=DiversityDefaults(trade_off=0.8, window=4),
    precision="fp16",
    most_lost=100.0,
)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = ValueConfig(dim=16, layers=1, heads=2, list_length=5)
    family = SortGen(Checkpoint(random_model(SPEC, config, seed=0), UNITS, {"data": "none"}))
    return write_bundle(tmp_path_factory.mktemp("half"), family, OPTIONS, requests=5).folder


@pytest.fixture(scope="module")
def live(half: Path) -> Iterator[Live]:
    with live_app(load_bundle(half, SessionConfig())) as server:
        yield server


@pytest.mark.long
def test_float16_on_cpu_is_loaded_with_a_warning(half: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_bundle(half, SessionConfig())
    assert "is in float16, which is slower than float32 on CPU" in caplog.text


def test_float16_answers_over_a_socket_with_the_models_own_list(live: Live) -> None:
    body = request()
    reply = live.post(body)
    assert reply.status == 200
    assert reply.json["degraded"] is None
    assert reply.json["model"] == "half"
    ids = [item["id"] for item in reply.json["items"]]
    assert len(set(ids)) == len(ids)
    assert set(ids) <= {candidate["id"] for candidate in body["candidates"]}
    assert any(item["source"] == "model" for item in reply.json["items"])


def with_golden(folder: Path, to: Path, golden: object) -> Path:
    """A copy of the bundle that says otherwise what its replay may differ by; None: nothing."""
    to.mkdir(parents=True)
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    manifest = Manifest.read(folder)
    kept = {key: value for key, value in manifest.provenance.items() if key != "golden"}
    provenance: dict[str, Any] = {**kept, **({} if golden is None else {"golden": golden})}
    table = json.dumps(replace(manifest, provenance=provenance).to_json())
    (to / MANIFEST_FILE).write_text(table, "utf-8")
    return to


@pytest.mark.parametrize(
    ("golden", "message"),
    [
        ({"tie": 0.2, "tolerance": 0.01}, "golden.tie: must be a number above 0 and at most 0.1"),
        ({"tie": 0.01, "tolerance": 0}, "golden.tolerance: must be a number above 0 and at most 0.1"),
        ({"tie": 0.01, "tolerance": True}, "golden.tolerance: must be a number"),
        ({"tie": "1", "tolerance": 0.01}, "golden.tie: must be a number"),
        ({"tie": 0.01}, "golden: must have exactly the keys tie, tolerance"),
        ([0.01, 0.01], "golden: must have exactly the keys tie, tolerance"),
    ],
)
def test_a_replay_that_would_excuse_anything_is_refused(
    half: Path, tmp_path: Path, golden: object, message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        load_bundle(with_golden(half, tmp_path / "half" / "1", golden), SessionConfig())


def test_a_replay_stricter_than_float16_can_be_finds_that_the_answers_differ(half: Path, tmp_path: Path) -> None:
    """The recorded answers are this graph's own, so only a spoilt recording differs; the limits decide by how much."""
    folder = with_golden(half, tmp_path / "half" / "1", {"tie": 1e-5, "tolerance": 0.01})
    load_bundle(folder, SessionConfig())
    with np.load(folder / "golden.npz") as file:
        arrays = {name: file[name] for name in file.files}
    arrays["output.value"] = arrays["output.value"] + np.float32(0.004)
    np.savez(folder / "golden.npz", allow_pickle=False, **arrays)
    reseal(folder)
    load_bundle(folder, SessionConfig())  # within 0.01
    arrays["output.value"] = arrays["output.value"] + np.float32(0.1)
    np.savez(folder / "golden.npz", allow_pickle=False, **arrays)
    reseal(folder)
    with pytest.raises(BundleError, match=r"golden\.npz: request \d+: value of step \d+ is"):
        load_bundle(folder, SessionConfig())


def reseal(folder: Path) -> None:
    """Let the manifest have the checksums of the files as they are."""
    write_manifest(folder, with_checksums(folder, Manifest.read(folder)))
