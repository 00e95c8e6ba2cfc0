from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtest.demo_catalogue import as_columns, catalogue_lines
from loadtest.demo_folder import demo_folder, has_catalogue
from loadtest.demo_requests import read_demo_requests
from loadtest.demo_scene import SCENES
from loadtest.demo_undated import main
from loadtest.rig.server import ServerError
from loadtest.rig.statistics import Latency
from models.contract.candidates import ObjectTable
from models.contract.catalogue.catalogue import Catalogue
from models.contract.catalogue.manifest import CATALOGUE_FILE, CATALOGUE_FOLDER, CatalogueManifest, fingerprint_folder
from models.contract.features import Encoder
from models.contract.layers import LayeredTable
from models.contract.manifest import DEMO_BUNDLE, Manifest
from models.data.records import Candidate
from service.telemetry.catalogues import built_at

MANIFEST = Manifest.read(DEMO_BUNDLE)
EMBEDDED = DEMO_BUNDLE.parents[1] / CATALOGUE_FOLDER


def test_the_folder_of_the_demo_has_bundle_scene_and_catalogue_and_is_gone_afterwards() -> None:
    with demo_folder(DEMO_BUNDLE, MANIFEST, SCENES) as folder:
        assert Manifest.read(folder / MANIFEST.name / MANIFEST.version).spec == MANIFEST.spec
        assert (folder / "scenes.toml").read_bytes() == SCENES.read_bytes()
        versions = fingerprint_folder(folder / CATALOGUE_FOLDER, MANIFEST.spec.fingerprint)
        assert CatalogueManifest.read(versions / "1").fingerprint == MANIFEST.spec.fingerprint
        path = folder
    assert not path.exists()


def test_a_bundle_elsewhere_has_no_catalogue_beside_it(tmp_path: Path) -> None:
    assert has_catalogue(DEMO_BUNDLE, MANIFEST)
    assert not has_catalogue(tmp_path / "bundles" / "demo" / "1", MANIFEST)
    with demo_folder(DEMO_BUNDLE, MANIFEST) as folder:
        assert not (folder / "scenes.toml").exists()


def test_embedded_catalogues_have_no_date_since_an_alert_on_their_age_would_fire_for_ever() -> None:
    found = [CatalogueManifest.read(path.parent) for path in EMBEDDED.glob(f"*/*/{CATALOGUE_FILE}")]
    assert found
    for manifest in found:
        assert manifest.provenance["made"] == "build"
        assert built_at(manifest.provenance) is None, manifest.provenance


def test_the_date_is_left_out_and_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "catalogue"
    shutil.copytree(EMBEDDED, root)
    (path,) = root.glob(f"*/*/{CATALOGUE_FILE}")
    undated = json.loads(path.read_text("utf-8"))
    dated = {**undated, "provenance": {**undated["provenance"], "at": "2026-11-29T11:47:42+00:00"}}
    path.write_text(json.dumps(dated), "utf-8")
    assert main([str(root)]) == 0
    assert path.read_text("utf-8") == next(EMBEDDED.glob(f"*/*/{CATALOGUE_FILE}")).read_text("utf-8")
    assert main([str(tmp_path / "none")]) == 1


def test_the_embedded_catalogue_knows_all_that_the_demo_s_requests_say_of_their_items() -> None:
    folder = fingerprint_folder(EMBEDDED, MANIFEST.spec.fingerprint) / "1"
    catalogue = Catalogue(CatalogueManifest.read(folder), folder)
    encoder = Encoder(MANIFEST.spec)
    for request in read_demo_requests():
        whole = [Candidate(**candidate) for candidate in request["candidates"]]
        bare = ObjectTable([Candidate(candidate.id, scores=candidate.scores) for candidate in whole])
        places = np.arange(len(whole))
        wanted = encoder.encode_slots(whole, places)
        found = encoder.encode_slots(LayeredTable(bare, [catalogue.layer(bare.ids, encoder)]), places)
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_columns_say_ids_and_scores_and_nothing_else_of_candidates() -> None:
    request = {
        "request_id": "r",
        "candidates": [{"id": "a", "scores": {"ctr": 0.5}, "price": 3.0}, {"id": "b", "scores": {"cvr": 0.25}}],
    }
    assert as_columns(request) == {
        "request_id": "r",
        "candidates": {"id": ["a", "b"], "scores": {"ctr": [0.5, None], "cvr": [None, 0.25]}},
    }


def test_another_list_with_the_catalogue_is_an_error() -> None:
    requests = read_demo_requests()[:2]

    def rerank(asked: Mapping[str, Any]) -> dict[str, Any]:
        return {"items": [type(asked["candidates"]).__name__]}

    with pytest.raises(ServerError, match="another list for request 'sim-7-12'"):
        list(catalogue_lines(requests, rerank, lambda _: Latency.of([1.0])))


def test_both_forms_are_timed_over_the_same_candidates() -> None:
    timed: list[Sequence[bytes]] = []

    def quick(bodies: Sequence[bytes]) -> Latency:
        timed.append(bodies)
        return Latency.of([1.0])

    lines = list(catalogue_lines(read_demo_requests(), lambda _: {"items": []}, quick))
    assert "ids and scores alone gave the same lists for all 24 requests" in lines[0]
    whole, short = ([json.loads(body) for body in bodies] for bodies in timed)
    assert [[c["id"] for c in one["candidates"]] for one in whole] == [one["candidates"]["id"] for one in short]
    assert len(whole[0]["candidates"]) == 100
