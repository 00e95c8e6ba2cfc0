"""`listwright catalogue`: what it prints, its exit statuses, and what `--spec` may be."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models import cli
from models.contract.catalogue.manifest import CatalogueManifest
from models.contract.manifest import DEMO_BUNDLE, Manifest
from models.nets.checkpoint import Checkpoint, save_checkpoint
from models.nets.value import ValueConfig
from tests.models.catalogue.making import OTHER_SPEC, delta, write_items
from tests.models.planners.examples import random_model
from tests.models.specs import fit_spec
from tests.models.training.records import make_records

BUNDLE = Manifest.read(DEMO_BUNDLE)
DIGITS = BUNDLE.spec.fingerprint[:12]


def built(tmp_path: Path) -> Path:
    """A root of catalogues, with two versions for the demo's bundle."""
    items, root = write_items(tmp_path / "items.parquet"), tmp_path / "catalogue"
    assert cli.main(["catalogue", "build", f"--items={items}", f"--spec={DEMO_BUNDLE}", f"--out={root}"]) == 0
    items = write_items(tmp_path / "delta.parquet", delta(["a", "e"], deleted=[True, False]))
    spec = DEMO_BUNDLE / "bundle.json"
    assert cli.main(["catalogue", "update", f"--items={items}", f"--spec={spec}", f"--out={root}"]) == 0
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return built(tmp_path)


def test_a_build_and_an_update_print_what_there_is_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = built(tmp_path)
    made, lacking, first, updated, _, second = capsys.readouterr().out.splitlines()
    assert made.startswith("4 items in 1 segment, ")
    assert updated.startswith("4 items in 2 segments, ")
    assert lacking == "not in the items, so that requests must say it: category, style"
    assert (first, second) == (str(root / DIGITS / "1"), str(root / DIGITS / "2"))


def test_compaction_leaves_one_segment(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["catalogue", "compact", f"--spec={DEMO_BUNDLE}", f"--out={root}", "--version=7"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(root / DIGITS / "7")
    manifest = CatalogueManifest.read(root / DIGITS / "7")
    assert (manifest.items, len(manifest.segments)) == (4, 1)
    assert manifest.provenance["made"] == "compact"


def test_a_root_is_shown_by_its_versions(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for folder in (root, root / DIGITS):
        assert cli.main(["catalogue", "show", str(folder)]) == 0
        head, *rows = capsys.readouterr().out.splitlines()
        assert head.split() == ["fingerprint", "version", "items", "segments", "deleted", "MB"]
        assert [row.split()[:5] for row in rows] == [[DIGITS, "1", "4", "1", "0"], [DIGITS, "2", "4", "2", "1"]]


def test_a_version_is_shown_by_its_fields_and_segments(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["catalogue", "show", str(root / DIGITS / "2")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    for row in (["fingerprint", BUNDLE.spec.fingerprint], ["made", "update"], ["base", "1"], ["embeddings", "2"]):
        assert row in rows
    for row in (["brand", "text"], ["height", "number"], ["fresh", "flag"]):
        assert row in rows
    assert [row[:3] for row in rows[-2:]] == [["segment-00", "4", "0"], ["segment-01", "2", "1"]]


def test_a_check_names_every_file_that_is_not_as_it_was_written(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = root / DIGITS / "2"
    capsys.readouterr()
    assert cli.main(["catalogue", "check", str(folder)]) == 0
    assert capsys.readouterr().out == "4 items in 2 segments are as they were written\n"
    (folder / "segment-00" / "price.npy").unlink()
    rows = folder / "segment-01" / "rows.npy"
    rows.write_bytes(rows.read_bytes()[:-1])
    assert cli.main(["catalogue", "check", str(folder)]) == 1
    missing, changed = capsys.readouterr().out.splitlines()
    assert missing == f"{folder / 'segment-00' / 'price.npy'}: is missing"
    assert changed == f"{rows}: its checksum differs from that in the manifest"


def test_a_check_finds_files_that_do_not_fit_the_manifest(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = root / DIGITS / "2"
    text = json.loads((folder / "catalogue.json").read_text("utf-8"))
    text["segments"][0]["rows"] = 5
    (folder / "catalogue.json").write_text(json.dumps(text), "utf-8")
    assert cli.main(["catalogue", "check", str(folder)]) == 2
    assert "listwright catalogue: segment-00/" in capsys.readouterr().err


def test_a_folder_without_catalogues_is_no_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["catalogue", "show", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"listwright catalogue: {tmp_path}: holds no catalogue\n"


def test_a_mistake_is_printed_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = write_items(tmp_path / "items.parquet", id=["a", "b", "a", "c"])
    assert cli.main(["catalogue", "build", f"--items={items}", f"--spec={DEMO_BUNDLE}", f"--out={tmp_path}"]) == 2
    printed = capsys.readouterr()
    error = f"{items}: row 2, column id: 'a' is there already, in {items}, row 0"
    assert (printed.out, printed.err) == ("", f"listwright catalogue: {error}\n")


def test_several_files_and_folders_are_read_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_items(tmp_path / "one.parquet")
    write_items(tmp_path / "parts" / "1.parquet", id=["e", "f", "g", "h"])
    write_items(tmp_path / "parts" / "2.parquet", id=["i", "j", "k", "l"])
    options = [f"--spec={DEMO_BUNDLE}", f"--out={tmp_path / 'root'}"]
    assert cli.main(["catalogue", "build", "--items", str(one), str(tmp_path / "parts"), *options]) == 0
    assert capsys.readouterr().out.startswith("12 items in 1 segment, ")


def test_a_bundle_of_another_fingerprint_gets_its_catalogue(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, digits = tmp_path / "bundle", OTHER_SPEC.fingerprint[:12]
    shutil.copytree(DEMO_BUNDLE, bundle)
    text = json.loads((bundle / "bundle.json").read_text("utf-8"))
    text.update(spec=OTHER_SPEC.to_json(), fingerprint=OTHER_SPEC.fingerprint)
    (bundle / "bundle.json").write_text(json.dumps(text), "utf-8")
    older = root / DIGITS / "2"
    assert cli.main(["catalogue", "build", f"--items={older}", f"--spec={bundle}", f"--out={root}"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(root / digits / "1")
    origin = CatalogueManifest.read(root / digits / "1").provenance["catalogue"]
    assert origin == {"fingerprint": BUNDLE.spec.fingerprint, "version": "2"}


def test_the_spec_may_be_a_checkpoints(tmp_path: Path) -> None:
    spec, path = fit_spec(make_records(20)), tmp_path / "checkpoint.pt"
    config = ValueConfig(dim=8, layers=1, heads=2, list_length=4, field_dim=4)
    save_checkpoint(
        path, Checkpoint(random_model(spec, config, seed=0), dict.fromkeys(("click", "conversion", "gmv"), 1.0), {})
    )
    items = write_items(tmp_path / "items.parquet", {"id": ["a"]})
    assert cli.main(["catalogue", "build", f"--items={items}", f"--spec={path}", f"--out={tmp_path / 'root'}"]) == 0
    assert (tmp_path / "root" / spec.fingerprint[:12] / "1").is_dir()


@pytest.mark.parametrize("spec", ["nothing", "bundle.json", "items.parquet"])
def test_what_is_no_spec_is_named(tmp_path: Path, spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    items = write_items(tmp_path / "items.parquet")
    options = [f"--items={items}", f"--spec={tmp_path / spec}", f"--out={tmp_path / 'root'}"]
    assert cli.main(["catalogue", "build", *options]) == 2
    assert f"{tmp_path / spec}: " in capsys.readouterr().err


SLOW = """
import sys, time
from models import cli
from models.catalogue import making

def write_segment(*_):
    print("writing", flush=True)
    time.sleep(60)

making.write_segment = write_segment
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_build_that_is_ended_leaves_nothing(tmp_path: Path) -> None:
    items, root = write_items(tmp_path / "items.parquet"), tmp_path / "root"
    options = ["catalogue", "build", f"--items={items}", f"--spec={DEMO_BUNDLE}", f"--out={root}"]
    build = subprocess.Popen([sys.executable, "-c", SLOW, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert build.stdout is not None
        assert build.stdout.readline() == "writing\n"
    finally:
        build.send_signal(signal.SIGTERM)
        build.communicate()
    assert build.returncode == 128 + signal.SIGTERM
    assert not [path for path in root.rglob("*") if path.is_file()]
