"""`listwright fetch`: whole versions or none, from folders, HTTP and stores, whatever fails on the way."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.catalogue.showing import faults as catalogue_faults
from models.commands import fetch as command
from models.contract.manifest import DEMO_BUNDLE, EMBEDDED_BUNDLES, Manifest
from models.fetching import source
from models.fetching.fetch import Fetch
from models.fetching.source import FetchError, open_folder
from service.bundles.folder import BundleFolder
from service.bundles.load import check_files
from tests.models.data.buckets import WITHOUT_STORE, running_bucket
from tests.models.fetching.web import Fault, Web, running_web

fsspec = pytest.importorskip("fsspec", reason=WITHOUT_STORE)
pytest.importorskip("aiohttp", reason=WITHOUT_STORE)
SCENES = "[scenes.home]\ntop_n = 4\n"
CATALOGUE = next((EMBEDDED_BUNDLES / "catalogue").glob("*/*"))


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "FIRST_WAIT", 0.01)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder of bundles with three versions of the demo, its catalogue, and scenes."""
    root = tmp_path / "store"
    shutil.copytree(EMBEDDED_BUNDLES / "catalogue", root / "catalogue")
    for version in ("1", "2", "10"):
        bundle(root, version)
    (root / "scenes.toml").write_text(SCENES)
    (root / "README").write_text("not a bundle")
    return root


@pytest.fixture
def web(store: Path) -> Iterator[Web]:
    with running_web(store) as running:
        yield running


def bundle(root: Path, version: str, name: str = "demo", **changes: Any) -> Path:
    """Write the demo bundle under another version, its manifest changed at will."""
    folder = root / name / version
    shutil.copytree(DEMO_BUNDLE, folder)
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**manifest, "name": name, "version": version, **changes}))
    return folder


def fetched(root: Path, *urls: str, retries: int = 2, newest: int = 1, keep: int | None = None) -> list[str]:
    """Fetch without problems, and return what was said."""
    said: list[str] = []
    fetch = Fetch(root, newest, keep, retries, say=said.append)
    fetch.run(urls)
    assert fetch.problems == []
    assert [path.name for path in root.iterdir() if path.name.startswith(".")] == []
    return said


def problems(root: Path, url: str, retries: int = 2) -> list[str]:
    """Fetch with problems, and return them; nothing partial is left."""
    fetch = Fetch(root, retries=retries, say=lambda _: None)
    fetch.run([url])
    assert [path.name for path in root.iterdir() if path.name.startswith(".")] == []
    return fetch.problems


def whole(root: Path, version: str, name: str = "demo") -> bool:
    """Tell whether the service finds a version of the demo, and its checksums agree."""
    folder = BundleFolder(root).folder(name, version)
    check_files(Manifest.read(folder), folder)
    return True


def same(a: Path, b: Path) -> bool:
    """Tell whether two folders have the same files."""
    inside = [{p.relative_to(r): p.read_bytes() for p in r.rglob("*") if p.is_file()} for r in (a, b)]
    return inside[0] == inside[1]


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
    with pytest.raises(FetchError, match=r"s3://bucket/x: .*; pip install 'listwright\[store\]'"):
        open_folder("s3://bucket/x", 0)


def _start(*arguments: str) -> subprocess.Popen[str]:
    """Run the command in a process of its own."""
    code = (
        "import argparse, sys; from models.commands import fetch as f; p = argparse.ArgumentParser(); "
        "f.configure(p); sys.exit(f.run(p.parse_args()))"
    )
    command_line = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_at_once_into_one_folder_do_it_once(web: Web, tmp_path: Path) -> None:
    web.faults["model.onnx"] = ["hang"]
    arguments = (web.url, "--to", str(tmp_path / "to"))
    with _start(*arguments) as first:
        assert web.hanging.wait(60)
        with _start(*arguments) as second:
            assert second.stdout is not None
            assert "another process" in second.stdout.readline()
            web.released.set()
            out = [process.communicate(timeout=120) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), out
    assert "demo/10: fetched" in out[0][0]
    assert "demo/10: is there already" in out[1][0]
    assert whole(tmp_path / "to", "10")


@pytest.mark.parametrize("ending", ["timeout", "sigterm", "sigkill"])
def test_a_run_that_ends_early_publishes_nothing_and_the_next_one_all(ending: str, web: Web, tmp_path: Path) -> None:
    web.faults["model.onnx"] = ["hang"]
    limit = ("--timeout", "3") if ending == "timeout" else ()
    with _start(web.url, "--to", str(tmp_path / "to"), *limit) as process:
        if ending != "timeout":
            assert web.hanging.wait(60)
            process.send_signal(signal.SIGTERM if ending == "sigterm" else signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == {"timeout": 1, "sigterm": 143, "sigkill": -9}[ending], err
    assert (ending == "timeout") == ("listwright fetch: --timeout: 3 seconds were not enough" in err)
    assert not (tmp_path / "to" / "demo").exists()
    web.released.set()
    fetched(tmp_path / "to", web.url)
    assert whole(tmp_path / "to", "10")


def test_the_command_says_what_is_missing_and_ends_with_1(tmp_path: Path) -> None:
    with _start(str(tmp_path / "nowhere"), "--to", str(tmp_path / "to"), "--retries", "0") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == f"listwright fetch: {tmp_path}/nowhere: there is no such file or folder\n"


@pytest.mark.parametrize("option", ["newest", "keep", "timeout"])
def test_a_number_that_makes_no_sense_is_refused(option: str, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    arguments = parser.parse_args(["x", "--to", str(tmp_path), f"--{option}", "0"])
    with pytest.raises(ValueError, match=f"--{option}: must be at least 1"):
        command.run(arguments)


def test_a_serving_installation_needs_no_more_than_the_extra_for_it(store: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from models.commands import fetch; from models.fetching.fetch import Fetch; from pathlib import "
        f"Path; Fetch(Path({str(tmp_path / 'to')!r})).run([{str(store)!r}]); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    modules = set(done.stdout.splitlines()[-1].split())
    assert not modules & {"torch", "numpy", "pyarrow", "onnxruntime", "fastapi", "s3fs"}
