"""`listwright fetch`: whole versions or none, from folders, HTTP and stores, whatever fails on the way."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from models.catalogue.showing import faults as catalogue_faults
from models.contract.manifest import EMBEDDED_BUNDLES, Manifest
from models.fetching.source import FetchError, open_folder
from service.bundles.folder import BundleFolder
from tests.models.data.buckets import WITHOUT_STORE, running_bucket
from tests.models.fetching.conftest import SCENES
from tests.models.fetching.copies import bundle, fetched, problems, same, whole
from tests.models.fetching.web import Fault, Web

fsspec = pytest.importorskip("fsspec", reason=WITHOUT_STORE)
pytest.importorskip("aiohttp", reason=WITHOUT_STORE)
CATALOGUE = next((EMBEDDED_BUNDLES / "catalogue").glob("*/*"))


def test_a_folder_of_bundles_comes_over_http_with_its_catalogue_and_scenes(
    web: Web, store: Path, tmp_path: Path
) -> None:
    said = fetched(tmp_path / "to", web.url)
    assert [line.split(":")[0] for line in said] == [
        f"catalogue/{'/'.join(CATALOGUE.parts[-2:])}",
        "demo/10",
        "scenes.toml",
    ]
    assert said[1].startswith(f"demo/10: fetched from {web.url}/demo/10, 5 files, ")
    assert BundleFolder(tmp_path / "to").scan().bundles == {"demo": ["10"]}
    assert whole(tmp_path / "to", "10")
    assert same(tmp_path / "to" / "catalogue", store / "catalogue")
    assert catalogue_faults(tmp_path / "to" / CATALOGUE.relative_to(EMBEDDED_BUNDLES)) == []
    assert (tmp_path / "to" / "scenes.toml").read_text() == SCENES


def test_a_second_time_nothing_is_copied(web: Web, tmp_path: Path) -> None:
    fetched(tmp_path / "to", web.url)
    web.downloads.clear()
    said = fetched(tmp_path / "to", web.url)
    assert [line.partition(": ")[2] for line in said] == ["is there already"] * 3
    assert web.downloads["model.onnx"] == 0


def test_a_url_may_be_one_version_or_all_of_one_name(web: Web, tmp_path: Path) -> None:
    fetched(tmp_path / "to", f"{web.url}/demo/2/")
    fetched(tmp_path / "to", f"{web.url}/demo", newest=2)
    assert BundleFolder(tmp_path / "to").scan().bundles == {"demo": ["2", "10"]}


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_folder_of_this_machine_is_a_source_too(form: str, store: Path, tmp_path: Path) -> None:
    fetched(tmp_path / "to", form.format(store), newest=9)
    assert same(tmp_path / "to" / "demo", store / "demo")


def test_a_mounted_configmap_gives_the_scenes_beside_a_bundle_from_elsewhere(web: Web, tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    (mounted / "..2026_11_29").mkdir(parents=True)
    (mounted / "..2026_11_29" / "scenes.toml").write_text("")
    (mounted / "..data").symlink_to("..2026_11_29")
    (mounted / "scenes.toml").symlink_to("..data/scenes.toml")
    fetched(tmp_path / "to", f"{web.url}/demo/1", str(mounted))
    assert (tmp_path / "to" / "scenes.toml").read_text() == ""
    assert not (tmp_path / "to" / "scenes.toml").is_symlink()


def test_s3_is_a_source_too(store: Path, tmp_path: Path) -> None:
    with running_bucket("bundles") as url:
        fsspec.filesystem("s3").put(f"{store}/", f"{url}/release/", recursive=True)
        said = fetched(tmp_path / "to", f"{url}/release")
        assert said[1].startswith(f"demo/10: fetched from {url}/release/demo/10, ")
        assert whole(tmp_path / "to", "10")
        assert problems(tmp_path / "to", f"{url}/nothing") == [f"{url}/nothing: there is no such file or folder"]


@pytest.mark.parametrize("fault", ["cut", "busy", "other"])
def test_a_download_that_fails_is_tried_again(fault: Fault, web: Web, tmp_path: Path) -> None:
    web.faults["model.onnx"] = [fault]
    web.faults["bundle.json"] = ["busy"]
    fetched(tmp_path / "to", f"{web.url}/demo/2")
    assert whole(tmp_path / "to", "2")
    assert web.downloads["model.onnx"] == 2


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("cut", r".* \(tried 3 times\)"),
        ("busy", r".*503.* \(tried 3 times\)"),
        ("gone", "there is no such file or folder"),
    ],
)
def test_a_download_that_fails_for_good_is_named_by_url_and_leaves_nothing(
    fault: Fault, problem: str, web: Web, tmp_path: Path
) -> None:
    web.faults["ruled.onnx"] = [fault] * 3
    (found,) = problems(tmp_path / "to", f"{web.url}/demo/2")
    assert re.fullmatch(rf"{web.url}/demo/2/ruled.onnx: {problem}", found, re.DOTALL), found
    assert not (tmp_path / "to" / "demo").exists()


def test_a_wrong_checksum_is_named_with_both_digests(store: Path, tmp_path: Path) -> None:
    model = store / "demo" / "10" / "model.onnx"
    expected = hashlib.sha256(model.read_bytes()).hexdigest()
    model.write_bytes(b"damaged")
    (found,) = problems(tmp_path / "to", f"file://{store}/demo", retries=0)
    wrong = hashlib.sha256(b"damaged").hexdigest()
    assert found == f"file://{store}/demo/10/model.onnx: SHA-256 is {wrong} (7 bytes), but the manifest says {expected}"


def test_what_is_sound_comes_even_if_something_else_does_not(store: Path, tmp_path: Path) -> None:
    bundle(store, "1", name="other")
    (store / "demo" / "10" / "golden.npz").unlink()
    (store / "scenes.toml").write_text("[scenes.home")
    found = problems(tmp_path / "to", str(store))
    assert [line.partition(": ")[0] for line in found] == [f"{store}/demo/10/golden.npz", f"{store}/scenes.toml"]
    assert BundleFolder(tmp_path / "to").scan().bundles == {"other": ["1"]}
    assert not (tmp_path / "to" / "scenes.toml").exists()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"version": "../../x"}, "bundle.version: '../../x' is not a plain name"),
        ({"name": ".."}, "bundle.name: '..' is not a plain name"),
        ({"name": "catalogue"}, "bundle.name: 'catalogue' is the folder of catalogues"),
        ({"files": {"../outside": "0" * 64}}, "bundle.files: '../outside' is not a plain name"),
        ({"files": {"/etc/passwd": "0" * 64}}, "bundle.files: '/etc/passwd' is not a plain name"),
        ({"format": 99}, "bundle.format: this version reads format 1, not 99"),
    ],
)
def test_a_manifest_that_leads_elsewhere_is_refused(changes: dict[str, Any], problem: str, tmp_path: Path) -> None:
    folder = bundle(tmp_path / "store", "3")
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**manifest, **changes}))
    (found,) = problems(tmp_path / "to", str(folder))
    assert found.startswith(f"{folder}/bundle.json: {problem}")
    assert list((tmp_path / "to").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "to"]


def test_another_content_under_a_version_that_is_there_is_refused(store: Path, tmp_path: Path) -> None:
    fetched(tmp_path / "to", str(store))
    shutil.rmtree(store / "demo" / "10")
    bundle(store, "10", fallback="cvr")
    (found,) = problems(tmp_path / "to", str(store))
    place = tmp_path / "to" / "demo" / "10"
    assert found == (
        f"{store}/demo/10: {place} has another content under this version; a version never changes, publish a new one"
    )
    assert Manifest.read(place).fallback != "cvr"


@pytest.mark.parametrize("name", ["model.onnx", "bundle.json"])
def test_a_copy_that_is_damaged_is_replaced(name: str, store: Path, tmp_path: Path) -> None:
    fetched(tmp_path / "to", str(store))
    (tmp_path / "to" / "demo" / "10" / name).write_bytes(b"")
    fetched(tmp_path / "to", str(store))
    assert whole(tmp_path / "to", "10")


def test_older_versions_go_if_only_some_are_kept_but_never_one_just_fetched(store: Path, tmp_path: Path) -> None:
    fetched(tmp_path / "to", str(store), newest=9)
    said = fetched(tmp_path / "to", str(store / "demo" / "1"), keep=1)
    assert said == ["demo/1: is there already", "demo/2: removed, 1 are kept"]
    assert BundleFolder(tmp_path / "to").scan().bundles == {"demo": ["1", "10"]}


def test_what_a_killed_run_has_left_does_not_matter(store: Path, tmp_path: Path) -> None:
    for name in (".fetching", ".former"):
        (tmp_path / "to" / name / "demo").mkdir(parents=True)
    (tmp_path / "to" / ".lock").write_text("1")
    fetched(tmp_path / "to", str(store))
    assert whole(tmp_path / "to", "10")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("{}/nowhere", "{}/nowhere: there is no such file or folder"),
        ("{}/empty", "{}/empty: holds no bundle, no catalogue and no scenes.toml"),
        ("nosuch://bucket/x", "nosuch://bucket/x: Protocol not known: nosuch"),
        ("https://me:secret@host/x", "https://…@host/x: may have no password"),
        ("https://host/x?sig=secret", "https://host/x: may have no query"),
    ],
)
def test_a_wrong_source_is_named_without_its_secrets(url: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (found,) = problems(tmp_path / "to", url.format(tmp_path), retries=0)
    assert found.startswith(problem.format(tmp_path))
    assert "secret" not in found


def test_without_fsspec_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(FetchError, match=r"s3://bucket/x: .*; needs the extra store: pip install '\.\[store\]'"):
        open_folder("s3://bucket/x", 0)
