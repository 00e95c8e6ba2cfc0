"""The newest sound version of each fingerprint is chosen, and whatever is wrong with one is named."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.contract.catalogue.catalogue import Catalogue
from models.contract.catalogue.manifest import CATALOGUE_FILE, CatalogueError, fingerprint_folder
from models.contract.features import Encoder
from models.files import file_digest
from service.catalogues import load
from service.catalogues.choosing import Choice, choose
from service.catalogues.folder import CatalogueFolder
from service.catalogues.load import open_checked
from tests.service.item_catalogues import ITEMS, OTHER, publish
from tests.service.tiny_bundle import SPEC

DIGITS = SPEC.fingerprint[:12]
ENCODER = Encoder(SPEC)
needs_memfd = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has memory that can be sealed")
either_way = pytest.mark.parametrize("copy", [False, pytest.param(True, marks=needs_memfd)], ids=["mapped", "copied"])


def look(root: Path, before: Choice | None = None, *, copy: bool = False, needed: bool = True) -> Choice:
    return choose(CatalogueFolder(root, needed=needed), before or Choice(), copy=copy)


def versions(choice: Choice) -> dict[str, str]:
    return {digits: sound.manifest.version for digits, sound in choice.sound.items()}


def price_of(catalogue: Catalogue, item: str = "sku-3") -> float:
    return float(catalogue.layer([item], ENCODER).prices(np.arange(1))[0])


def array(folder: Path, name: str) -> Path:
    return folder / "segment-0" / name


def cut(folder: Path) -> None:
    path = array(folder, "price.npy")
    path.write_bytes(path.read_bytes()[:-8])


def spoil(folder: Path) -> None:
    path = array(folder, "price.npy")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def take_away(folder: Path) -> None:
    array(folder, "price.npy").unlink()


def write_no_json(folder: Path) -> None:
    (folder / CATALOGUE_FILE).write_text("{")


def claim(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / CATALOGUE_FILE).read_text())
    (folder / CATALOGUE_FILE).write_text(json.dumps({**manifest, **changes}))


def claim_another_spec(folder: Path) -> None:
    claim(folder, fingerprint=OTHER.fingerprint, spec=OTHER.to_json())


def claim_another_fingerprint(folder: Path) -> None:
    claim(folder, fingerprint=OTHER.fingerprint)


def write_fewer_columns(folder: Path) -> None:
    """Columns that do not fit the spec, with the right checksum."""
    path = array(folder, "numbers.npy")
    np.save(path, np.load(path)[:, 1:])
    segments = json.loads((folder / CATALOGUE_FILE).read_text())["segments"]
    segments[0]["files"]["numbers.npy"] = file_digest(path)
    claim(folder, segments=segments)


def claim_another_version(folder: Path) -> None:
    claim(folder, version="7")


def claim_more_rows(folder: Path) -> None:
    segments = json.loads((folder / CATALOGUE_FILE).read_text())["segments"]
    claim(folder, segments=[{**segments[0], "rows": segments[0]["rows"] + 1}, *segments[1:]])


def link_outside(folder: Path) -> None:
    outside = folder.parents[2] / "elsewhere.npy"
    shutil.move(array(folder, "price.npy"), outside)
    array(folder, "price.npy").symlink_to(outside)


def link_in_a_circle(folder: Path) -> None:
    take_away(folder)
    array(folder, "price.npy").symlink_to("price.npy")


def put_a_folder(folder: Path) -> None:
    take_away(folder)
    array(folder, "price.npy").mkdir()


WRONG: list[tuple[Callable[[Path], None], str]] = [
    (cut, "segment-0/price.npy: SHA-256 is"),
    (spoil, "segment-0/price.npy: SHA-256 is"),
    (take_away, "segment-0/price.npy: cannot be read: No such file"),
    (write_no_json, "is not valid JSON"),
    (claim_another_spec, f"is that of {OTHER.fingerprint[:12]}/2, but stands in {DIGITS}/2"),
    (claim_another_fingerprint, f"catalogue.fingerprint: is '{OTHER.fingerprint}', but the spec in it has"),
    (write_fewer_columns, "segment-0/numbers.npy: has the shape ["),
    (claim_another_version, f"is that of {DIGITS}/7, but stands in {DIGITS}/2"),
    (claim_more_rows, "segment-0/hashes.npy: "),
    (link_outside, "segment-0/price.npy: lies outside the folder of catalogues"),
    (link_in_a_circle, "segment-0/price.npy: cannot be read: "),
    (put_a_folder, "segment-0/price.npy: is not a regular file"),
]


@either_way
@pytest.mark.parametrize(("harm", "named"), WRONG, ids=[harm.__name__ for harm, _ in WRONG])
def test_a_version_that_is_wrong_is_named_and_an_older_sound_one_chosen(
    tmp_path: Path, harm: Callable[[Path], None], named: str, copy: bool
) -> None:
    root = tmp_path / "catalogues"
    publish(root, "1", 10)
    harm(publish(root, "2", 20))
    choice = look(root, copy=copy)
    assert versions(choice) == {DIGITS: "1"}
    assert named in str(choice.problem)
    assert str(choice.problem).startswith(f"{DIGITS}/2: ")
    assert not choice.missing


def test_every_fingerprint_has_its_newest_version_in_the_order_of_versions(tmp_path: Path) -> None:
    for version in ("9", "10", "10rc1"):
        publish(tmp_path, version, 10)
    publish(tmp_path, "1", 10, OTHER)
    assert versions(look(tmp_path)) == {DIGITS: "10", OTHER.fingerprint[:12]: "1"}


def test_what_is_left_out_is_logged_but_names_with_a_dot(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = publish(tmp_path, "1", 10)
    shutil.copytree(folder, folder.with_name(".2"))
    (folder.with_name("notes.txt")).touch()
    (tmp_path / "not-digits").mkdir()
    (tmp_path / ".hidden").mkdir()
    (folder.with_name("3")).mkdir()  # Without a manifest it is no version yet.
    assert versions(look(tmp_path)) == {DIGITS: "1"}
    assert len(caplog.messages) == 2
    assert "notes.txt" in caplog.text
    assert "not-digits" in caplog.text


def test_a_default_folder_need_not_be_there_but_one_that_was_named_must(tmp_path: Path) -> None:
    assert look(tmp_path / "catalogue", needed=False) == Choice()
    with pytest.raises(CatalogueError, match="cannot be read: No such file"):
        look(tmp_path / "catalogue")
    with pytest.raises(CatalogueError, match="cannot be read: No such file"):  # The volume itself is away.
        look(tmp_path / "away" / "catalogue", needed=False)


def test_where_no_version_is_sound_the_one_before_goes_on_until_its_folder_is_gone(tmp_path: Path) -> None:
    publish(tmp_path, "1", 10)
    before = look(tmp_path)
    folder = fingerprint_folder(tmp_path, SPEC.fingerprint)
    shutil.rmtree(folder / "1")
    spoil(publish(tmp_path, "2", 20))
    later = look(tmp_path, before)
    assert later.sound == before.sound
    assert later.problem is not None
    shutil.rmtree(folder)
    assert look(tmp_path, later) == Choice()
    assert look(tmp_path, Choice()).missing == {}


def test_a_folder_that_cannot_be_read_now_takes_no_catalogue_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, "1", 10)
    before = look(tmp_path)
    refuse_to_list(monkeypatch, tmp_path)
    with pytest.raises(CatalogueError, match=f"{tmp_path}: cannot be read: Input/output error"):
        look(tmp_path, before)
    refuse_to_list(monkeypatch, tmp_path / DIGITS)
    assert look(tmp_path, before).sound == before.sound


def test_a_folder_that_goes_while_it_is_described_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = publish(tmp_path, "1", 10)
    folder = CatalogueFolder(tmp_path, needed=True)
    whole = folder.stamp(version)
    assert str(array(version, "price.npy")) in [path for path, *_ in whole]
    refuse_to_list(monkeypatch, version / "segment-0")
    assert folder.stamp(version) != whole


def refuse_to_list(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let one folder be as on a store that fails."""

    def failing(listing: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def listed(path: Any = ".") -> Any:
            if Path(path) == folder:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return listing(path)

        return listed

    monkeypatch.undo()
    monkeypatch.setattr(os, "scandir", failing(os.scandir))
    monkeypatch.setattr(os, "listdir", failing(os.listdir))


def test_a_fingerprint_without_a_sound_version_is_missing_and_says_why(tmp_path: Path) -> None:
    spoil(publish(tmp_path, "1", 10))
    choice = look(tmp_path)
    assert choice.sound == {}
    assert "segment-0/price.npy: SHA-256" in choice.missing[DIGITS]


def test_removing_the_newest_version_goes_back_to_the_one_before(tmp_path: Path) -> None:
    publish(tmp_path, "1", 10)
    newest = publish(tmp_path, "2", 20)
    choice = look(tmp_path)
    assert versions(choice) == {DIGITS: "2"}
    shutil.rmtree(newest)
    assert versions(look(tmp_path, choice)) == {DIGITS: "1"}


@either_way
def test_files_that_a_live_version_shares_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy: bool
) -> None:
    read: list[str] = []
    whole = load._read_file

    def counted(path: Path, descriptor: int, found: os.stat_result, where: str, *, copy: bool) -> object:
        read.append(where)
        return whole(path, descriptor, found, where, copy=copy)

    monkeypatch.setattr(load, "_read_file", counted)
    folder = publish(tmp_path, "1", 10)
    choice = look(tmp_path, copy=copy)
    assert len(read) > 10
    read.clear()
    assert look(tmp_path, choice, copy=copy).sound[DIGITS] is choice.sound[DIGITS]
    assert read == []
    link = folder.with_name("2")
    link.mkdir()
    for segment in ("segment-0", "segment-1"):
        shutil.copytree(folder / segment, link / segment, copy_function=os.link)
    shutil.copy(folder / CATALOGUE_FILE, link)
    claim(link, version="2")
    assert versions(look(tmp_path, choice, copy=copy)) == {DIGITS: "2"}
    assert read == []


def test_a_file_that_was_replaced_since_its_check_is_not_opened(tmp_path: Path) -> None:
    folder = publish(tmp_path, "1", 10)
    checked = look(tmp_path).checked[0]
    assert price_of(open_checked(checked)) == 10
    other = array(publish(tmp_path, "2", 20), "price.npy")
    other.replace(array(folder, "price.npy"))
    with pytest.raises(CatalogueError, match=r"^segment-0/price\.npy: has been replaced or changed since"):
        open_checked(checked)


def test_a_file_that_is_replaced_while_it_is_opened_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = publish(tmp_path, "1", 10)
    other = publish(tmp_path, "2", 20)
    checked = look(tmp_path, needed=True).checked[0]
    assert checked.folder == str(other)
    compare = load._compare

    def replace_behind(name: str, file: load.CheckedFile) -> None:
        compare(name, file)
        if name == "segment-0/price.npy" and array(folder, "price.npy").exists():
            array(folder, "price.npy").replace(file.path)

    monkeypatch.setattr(load, "_compare", replace_behind)
    with pytest.raises(CatalogueError, match="has been replaced"):
        open_checked(checked)


@needs_memfd
def test_a_copy_serves_after_its_files_are_gone_and_is_freed_with_its_version(tmp_path: Path) -> None:
    folder = publish(tmp_path, "1", 10)
    choice = look(tmp_path, copy=True)
    checked = choice.checked[0]
    shutil.rmtree(folder.parent)
    catalogue = open_checked(checked)
    assert len(catalogue) == ITEMS
    assert price_of(catalogue) == 10
    sealed = Path(checked.files["segment-0/price.npy"].path)
    with sealed.open("r+b", buffering=0) as file, pytest.raises(PermissionError):
        file.write(b"x")
    with pytest.raises(PermissionError):
        os.truncate(sealed, 0)
    del choice
    assert not sealed.exists()
    assert price_of(catalogue) == 10, "what is mapped stays"
    with pytest.raises(CatalogueError, match="cannot be read"):
        open_checked(checked)


def test_what_the_manifest_has_no_checksum_of_is_not_opened(tmp_path: Path) -> None:
    publish(tmp_path, "1", 10)
    checked = look(tmp_path).checked[0]
    del checked.files["segment-1/rows.npy"]
    with pytest.raises(CatalogueError, match=r"segment-1/rows\.npy: has no checksum"):
        open_checked(checked)
