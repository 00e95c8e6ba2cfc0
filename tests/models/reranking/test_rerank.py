"""`listwright rerank`: a file of lists through a real service, its own or one that runs."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from models.commands import rerank
from models.data.list_writer import write_lists
from models.data.records import ListRecord
from models.datasets import simulated_logs
from models.datasets.simulator import SimulatorConfig
from models.reranking.child import serving
from models.reranking.client import Address, BatchClient, RankedList, RerankError
from models.reranking.pool import counted
from models.reranking.requests import MOST_BYTES, batches, encode_record
from models.reranking.warnings import FieldWarning, WarningTally
from service.bundles.load import load_bundle
from service.inference.onnx.session import SessionConfig
from tests.service.live import WAIT_SECONDS, Live, fake_model, live_app
from tests.service.tiny_bundle import Options, write_bundle

LISTS = 150
TOO_LONG = "x" * 200
"""A request id that a list file may have and a request may not."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def records() -> list[ListRecord]:
    source = simulated_logs.load(SimulatorConfig(candidates=9, items=60, users=50), seed=3, lists=LISTS, length=5)
    return list(source.records)


@pytest.fixture
def lists(tmp_path: Path, records: list[ListRecord]) -> Path:
    path = tmp_path / "lists.parquet"
    write_lists(path, records, {})
    return path


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    rerank.configure(parser)
    return rerank.run(parser.parse_args(list(map(str, arguments))))


def rows(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


def check(record: ListRecord, row: dict[str, Any], length: int = 5) -> None:
    assert row["request_id"] == record.request_id
    assert (row["model"], row["version"], row["degraded"], row["error"]) == ("tiny", "1", None, None)
    assert [item["position"] for item in row["items"]] == list(range(1, length + 1))
    assert all(record.candidates[item["index"]].id == item["id"] for item in row["items"])
    assert len({item["index"] for item in row["items"]}) == length
    assert row["value"]["click"] > 0


@pytest.mark.long
def test_every_list_is_a_row_in_the_order_of_the_file_and_one_bundle_may_be_served_alone(
    lists: Path, records: list[ListRecord], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = write_bundle(tmp_path / "bundles")
    write_bundle(tmp_path / "bundles", Options(version="2"))
    out = lists.with_name("ranked.parquet")
    assert run("--in", lists, "--out", out, "--bundle", one, "--workers", 1) == 0
    for record, row in zip(records, rows(out), strict=True):
        check(record, row)
    assert "explanation" not in rows(out)[0]["items"][0]
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert json.loads(pq.read_schema(out).metadata[b"listwright"]) == {"source": "lists.parquet", "options": {}}


def test_options_reach_the_service(bundle: Path, lists: Path, records: list[ListRecord]) -> None:
    out = lists.with_name("ranked.parquet")
    options = ("--objectives", "0,0,1", "--lambda", 0.5, "--window", 2, "--top-n", 3, "--explain", "--limit", 70)
    named = ("--model", "tiny", "--version", "1")
    with live_app(load_bundle(bundle, SessionConfig())) as live:
        url = f"http://127.0.0.1:{live.port}"
        assert run("--in", lists, "--out", out, "--url", url, "--workers", 1, *options, *named) == 0
    for record, row in zip(records[:70], rows(out), strict=True):
        check(record, row, 3)
        assert row["items"][0]["explanation"]["parts"]["click"] == 0
        assert row["items"][1]["explanation"]["penalty"] == pytest.approx(0.25)


def test_a_refused_list_is_a_row_with_its_reason_and_the_status_is_1(
    bundle: Path, lists: Path, records: list[ListRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [replace(record, request_id=TOO_LONG) if i == 70 else record for i, record in enumerate(records)]
    write_lists(lists, broken, {})
    out = lists.with_name("ranked.parquet")
    with live_app(load_bundle(bundle, SessionConfig())) as live:
        assert run("--in", lists, "--out", out, "--url", f"http://127.0.0.1:{live.port}", "--workers", 2) == 1
    for i, (record, row) in enumerate(zip(broken, rows(out), strict=True)):
        if i == 70:
            assert row["error"].startswith("422: request_id: ")
            assert (row["items"], row["value"], row["model"]) == (None, None, None)
        else:
            check(record, row)
    printed = capsys.readouterr().out
    assert "1 lists were refused" in printed
    assert TOO_LONG in printed


def test_fields_that_the_lists_lack_are_told_at_the_end(
    bundle: Path, lists: Path, records: list[ListRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    write_lists(lists, [replace(record, user={}) for record in records[:20]], {})
    with live_app(load_bundle(bundle, SessionConfig())) as live:
        url = f"http://127.0.0.1:{live.port}"
        assert run("--in", lists, "--out", lists.with_name("ranked.parquet"), "--url", url, "--workers", 1) == 0
    assert "user.age: missing in 20 of 20 lists\n" in capsys.readouterr().err


def test_answers_are_counted_by_warning_and_by_reason() -> None:
    tally = WarningTally()
    gap, twice = FieldWarning("item.brand", "unknown-values"), [FieldWarning("context.hour", "missing")] * 2
    late = RankedList("m", "1", [], {}, {"reason": "deadline", "level": "formula"})
    lists = [RankedList("m", "1", [], {}, None, [gap, *twice]), RankedList("m", "1", [], {}, None, [gap]), late]
    assert len(list(counted([*((str(i), found) for i, found in enumerate(lists)), ("r", "422: no")], tally))) == 4
    assert list(tally.lines("lists")) == [
        "not ranked by the model (deadline): 1 of 3 lists",
        "item.brand: unknown values in 2 of 3 lists",
        "context.hour: missing in 1 of 3 lists",
    ]
    tally.add(FieldWarning(f"user.f{i}", "missing") for i in range(30))
    assert list(tally.lines("lists"))[-1] == "and 12 more warnings"


def test_one_split_may_be_taken(bundle: Path, lists: Path, records: list[ListRecord]) -> None:
    out = lists.with_name("ranked.parquet")
    with live_app(load_bundle(bundle, SessionConfig())) as live:
        url = f"http://127.0.0.1:{live.port}"
        assert run("--in", lists, "--out", out, "--url", url, "--split", "test", "--workers", 1) == 0
    assert [row["request_id"] for row in rows(out)] == [r.request_id for r in records if r.split == "test"]


def test_a_service_with_keys_is_given_the_first(bundle: Path, lists: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = lists.with_name("ranked.parquet")
    with live_app(load_bundle(bundle, SessionConfig()), api_keys="one,two") as live:
        options = ("--in", lists, "--out", out, "--url", f"http://127.0.0.1:{live.port}", "--limit", 1)
        with pytest.raises(RerankError, match="answered 401"):
            run(*options)
        assert list(lists.parent.glob("*ranked*")) == [], "nothing is left of it"
        monkeypatch.setenv("LISTWRIGHT_API_KEYS", "two, one")
        assert run(*options) == 0


def asking(live: Live) -> BatchClient:
    return BatchClient(Address(url=f"http://127.0.0.1:{live.port}"), pause=0.001)


def test_a_batch_that_is_too_large_is_sent_in_halves(records: list[ListRecord]) -> None:
    bodies = [encode_record(record, {}) for record in records[:40]]
    with live_app(fake_model(), max_body_bytes=5_000) as live, asking(live) as client:
        outcomes = client.rerank([*bodies, b" " * 30_000 + bodies[0]])
    assert all(isinstance(outcome, RankedList) for outcome in outcomes[:-1])
    assert outcomes[-1] == "413: the body is larger than 20000 bytes"


def test_what_found_no_place_is_sent_again(records: list[ListRecord]) -> None:
    bodies = [encode_record(record, {}) for record in records[:8]]
    with live_app(fake_model(), max_in_flight=1) as live, asking(live) as client:
        outcomes = client.rerank(bodies)
        assert live.series("rerank_batch_requests_total", outcome="rejected")
    assert all(isinstance(outcome, RankedList) for outcome in outcomes)


def test_what_never_finds_a_place_is_an_outcome(records: list[ListRecord]) -> None:
    with live_app(ready=False) as live, asking(live) as client:
        assert client.rerank([encode_record(records[0], {})]) == ["503: bundles are being loaded and warmed"]


def test_batches_hold_so_many_requests_and_so_many_bytes() -> None:
    sizes = [len(batch) for batch in batches((str(i), b"x") for i in range(130))]
    assert sizes == [64, 64, 2]
    large = b"x" * (MOST_BYTES // 3)
    assert [len(batch) for batch in batches((str(i), large) for i in range(7))] == [3, 3, 1]
    assert [len(batch) for batch in batches([("a", large * 9), ("b", b"x")])] == [1, 1]


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://a", "http://"])
def test_an_address_that_is_none_is_named(lists: Path, url: str) -> None:
    with pytest.raises(RerankError, match="--url: must be like"):
        run("--in", lists, "--out", lists.with_name("x"), "--url", url)


@pytest.mark.long
def test_a_bundle_that_cannot_be_loaded_is_named_and_its_service_ended(lists: Path, tmp_path: Path) -> None:
    broken = write_bundle(tmp_path / "bundles")
    (broken / "model.onnx").write_bytes(b"spoilt")
    before = children()
    with pytest.raises(RerankError, match=r"not ready: .*SHA-256"):
        run("--in", lists, "--out", tmp_path / "ranked.parquet", "--bundles", broken.parents[1], "--workers", 1)
    assert children() <= before
    assert not (tmp_path / "ranked.parquet").exists()


@pytest.mark.long
def test_its_service_ends_whatever_happens(bundle: Path) -> None:
    before = children()

    def interrupted() -> None:
        with serving(["--bundles", str(bundle.parents[1])], 2) as address, BatchClient(address) as client:
            assert len(children() - before) >= 3, "the service and its workers"
            assert client.ready() is None
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert children() <= before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_both_and_leaves_no_file(bundle: Path, tmp_path: Path, number: signal.Signals) -> None:
    # A process that was started in the background of a shell ignores SIGINT, and so would its children.
    waits = "import signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    waits += "from models.commands import rerank\nrerank.write_ranked = lambda *_, **__: time.sleep(600)\n"
    start = "import argparse, sys\np = argparse.ArgumentParser()\nrerank.configure(p)\n"
    start += "rerank.run(p.parse_args(sys.argv[1:]))"
    source = simulated_logs.load(SimulatorConfig(candidates=5, items=20), seed=0, lists=1, length=2)
    write_lists(tmp_path / "lists.parquet", source.records, {})
    options = ("--in", tmp_path / "lists.parquet", "--out", tmp_path / "ranked.parquet", "--workers", "1")
    command = [sys.executable, "-c", waits + start, *map(str, options), "--bundles", str(bundle.parents[1])]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        eventually(lambda: process.pid in dict(_parents()).values())
        child = next(pid for pid, parent in _parents() if parent == process.pid)
        process.send_signal(number)
        try:
            assert process.wait(WAIT_SECONDS) != 0
        finally:
            process.kill()
    eventually(lambda: child not in dict(_parents()))
    assert [path.name for path in tmp_path.iterdir()] == ["lists.parquet"]


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children() -> set[int]:
    """The processes that this one has started, and those that they have."""
    return tree(os.getpid()) - {os.getpid()}


def tree(root: int) -> set[int]:
    parents = dict(_parents())
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                yield int(stat.parent.name), int(fields[1])
