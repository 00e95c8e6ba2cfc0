"""Catalogues are reloaded while requests are answered: a wrong one changes nothing, and no answer mixes two."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.catalogues.test_choosing import DIGITS, array, either_way, spoil
from tests.service.contract.test_bad_input import assert_problem
from tests.service.item_catalogues import ITEMS, OTHER, price, publish, request
from tests.service.live import Reply
from tests.service.test_admin import Served, serving
from tests.service.tiny_bundle import SPEC, write_bundle

CATALOGUE = "catalogue"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    write_bundle(tmp_path)
    publish(tmp_path / CATALOGUE, "1", 10)
    with serving(tmp_path) as found:
        yield found


def reload_catalogues(served: Served) -> Reply:
    return served.admin.request("POST", "/admin/v1/catalogue/reload", b"", {"Content-Type": "application/json"})


def reloads(served: Served) -> list[float | None]:
    return [served.public.series("rerank_catalogue_reloads_total", result=result) for result in ("ok", "refused")]


def served_price(served: Served) -> float:
    reply = served.public.post(request())
    assert reply.status == 200, reply.json
    return price(reply.json)


def test_the_catalogue_beside_the_bundles_serves_from_the_start(served: Served) -> None:
    assert served.public.get("/v2/health/ready").status == 200
    assert served_price(served) == 10
    assert reloads(served) == [0, 0]


def test_a_reload_switches_to_the_newest_version_and_says_what_serves(served: Served) -> None:
    publish(served.root / CATALOGUE, "2", 20)
    assert served_price(served) == 10
    live = {"fingerprint": SPEC.fingerprint, "items": ITEMS, "embedding_width": 0, "segments": 2}
    answer = {"result": "ok", "problem": None, "catalogues": [{**live, "version": "2"}]}
    assert reload_catalogues(served).json == answer
    assert served_price(served) == 20
    assert reload_catalogues(served).json == {**answer, "result": "unchanged"}
    assert reloads(served) == [1, 0]


def test_a_reload_of_a_bundle_reloads_catalogues_too_and_says_so(served: Served) -> None:
    assert served.reload({"model": "tiny"}).json["catalogues"]["result"] == "unchanged"
    publish(served.root / CATALOGUE, "2", 20)
    found = served.reload({"model": "tiny"}).json["catalogues"]
    assert (found["result"], found["catalogues"][0]["version"]) == ("ok", "2")
    assert served_price(served) == 20


def test_a_refused_version_changes_nothing_and_is_named(served: Served) -> None:
    spoil(publish(served.root / CATALOGUE, "2", 20))
    named = f"{DIGITS}/2: segment-0/price.npy: SHA-256 is"
    assert_problem(reload_catalogues(served), 422, "catalogue-refused", text=named)
    assert served_price(served) == 10
    assert served.public.get("/v2/health/ready").status == 200
    found = served.reload({"model": "tiny"}).json["catalogues"]
    assert found["result"] == "refused"
    assert named in found["problem"]
    assert found["catalogues"][0]["version"] == "1"
    assert reloads(served) == [0, 2]


def test_without_the_folder_there_are_no_catalogues(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    with serving(tmp_path) as served:
        assert served.public.get("/v2/health/ready").status == 200
        assert reload_catalogues(served).json == {"result": "unchanged", "problem": None, "catalogues": []}
        publish(tmp_path / CATALOGUE, "1", 10)
        assert reload_catalogues(served).json["result"] == "ok"
        assert served_price(served) == 10
        shutil.rmtree(tmp_path / CATALOGUE)
        assert reload_catalogues(served).json["catalogues"] == []
        assert served_price(served) == SPEC.price.default  # type: ignore[union-attr]


def test_a_folder_that_a_setting_names_is_looked_at_instead(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundles")
    publish(tmp_path / "bundles" / CATALOGUE, "9", 90)
    publish(tmp_path / "items", "1", 10)
    with serving(tmp_path / "bundles", catalogue=tmp_path / "items") as served:
        assert served_price(served) == 10
        (tmp_path / "items").rename(tmp_path / "away")
        assert_problem(reload_catalogues(served), 422, "catalogue-refused", text="cannot be read: No such file")
        assert served_price(served) == 10


def test_a_start_without_a_sound_version_is_not_ready_and_says_why(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    folder = publish(tmp_path / CATALOGUE, "1", 10)
    spoil(folder)
    with serving(tmp_path) as served:
        why = f"a catalogue was not loaded: {DIGITS}/1: segment-0/price.npy: SHA-256 is"
        assert_problem(served.public.get("/v2/health/ready"), 503, "not-ready", text=why)
        assert served.public.post(request()).status == 200
        publish(tmp_path / CATALOGUE, "2", 20)
        assert reload_catalogues(served).status == 200
        assert served.public.get("/v2/health/ready").status == 200
        assert served_price(served) == 20


def test_a_fingerprint_that_comes_broken_later_keeps_nothing_from_being_ready(served: Served) -> None:
    folder = publish(served.root / CATALOGUE, "1", 10, OTHER)
    spoil(folder)
    assert_problem(reload_catalogues(served), 422, "catalogue-refused", text=f"{OTHER.fingerprint[:12]}/1: ")
    assert served.public.get("/v2/health/ready").status == 200


def test_a_second_reload_meanwhile_is_409(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, leave = threading.Event(), threading.Event()
    prepare = served.loader._catalogue_switch.prepare

    def slow(wanted: Any) -> Any:
        entered.set()
        assert leave.wait(30)
        return prepare(wanted)

    monkeypatch.setattr(served.loader._catalogue_switch, "prepare", slow)
    publish(served.root / CATALOGUE, "2", 20)
    first: list[Reply] = []
    thread = threading.Thread(target=lambda: first.append(reload_catalogues(served)))
    thread.start()
    assert entered.wait(30)
    try:
        assert_problem(reload_catalogues(served), 409, "conflict")
        assert served_price(served) == 10
    finally:
        leave.set()
        thread.join()
    assert first[0].status == 200


def test_a_file_that_is_replaced_between_check_and_map_is_noticed_and_checked_anew(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = served.loader._catalogue_switch.prepare
    second = publish(served.root / CATALOGUE, "2", 20)
    replaced: list[Path] = []

    def replace_first(wanted: Any) -> Any:
        if not replaced:
            replaced.append(array(second, "price.npy"))
            shutil.copy(array(second.with_name("1"), "price.npy"), second.parent / ".price.npy")
            (second.parent / ".price.npy").replace(replaced[0])
        return prepare(wanted)

    monkeypatch.setattr(served.loader._catalogue_switch, "prepare", replace_first)
    assert_problem(reload_catalogues(served), 422, "catalogue-refused", text="segment-0/price.npy: SHA-256 is")
    assert replaced
    assert served_price(served) == 10


@pytest.mark.long
@either_way
def test_requests_go_on_while_catalogues_come_and_go_and_none_mixes_two(tmp_path: Path, copy: bool) -> None:
    write_bundle(tmp_path)
    root = tmp_path / CATALOGUE
    publish(root, "1", 10)
    stop, found = threading.Event(), []
    with serving(tmp_path, catalogue_copy=copy) as served:

        def ask() -> None:
            while not stop.is_set():
                reply = served.public.post(request(ITEMS))
                found.append((reply.status, price(reply.json) if reply.status == 200 else reply.json))

        asking = [threading.Thread(target=ask) for _ in range(2)]
        for thread in asking:
            thread.start()
        try:
            for version in range(2, 8):
                folder = publish(root, str(version), 10 * version)
                assert reload_catalogues(served).json["result"] == "ok"
                shutil.rmtree(folder.with_name(str(version - 1)))
                spoil(publish(root, "99", 99))
                assert reload_catalogues(served).status == 422
                shutil.rmtree(folder.with_name("99"))
                seen = len(found)
                while len(found) < seen + 4:
                    asking[0].join(0.01)
        finally:
            stop.set()
            for thread in asking:
                thread.join()
        assert served_price(served) == 70
    assert {status for status, _ in found} == {200}
    assert {price for _, price in found} == {10 * version for version in range(1, 8)}
