"""`listwright evaluate logs`: simulated lists, a trained and exported model, the real service over a real socket."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from loadtest.rig.server import Server, running_server
from models.cli import main
from models.data.list_file import read_lists
from models.data.list_writer import write_lists
from models.data.records import ListRecord
from models.evaluation.client import RerankClient, ServiceError
from models.evaluation.logs import WEIGHTS
from models.judging.list_orders import bypassed
from models.nets.checkpoint import load_checkpoint
from tests.models.evaluation.lists import logged_list
from tests.models.tables import compact
from tests.service.live import fake_model, live_app

SHOWN = 4


@dataclass(frozen=True)
class Line:
    """A list file and the folder of bundles that was made from it."""

    lists: Path
    bundles: Path


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    folder = tmp_path_factory.mktemp("line")
    made = Line(folder / "lists.parquet", folder / "bundles")
    run = str(folder / "run")
    sizes = ["--list-length", str(SHOWN), "--dim", "16", "--layers", "1", "--heads", "2", "--field-dim", "4"]
    world = ["--candidates", "12", "--length", str(SHOWN), "--items", "40", "--users", "20", "--quiet"]
    assert main(["data", "simulator", "-o", str(made.lists), "--lists", "300", *world]) == 0
    assert main(["train", "sort-gen", "--data", str(made.lists), "--out", run, "--epochs", "1", *sizes]) == 0
    export = ["export", "--checkpoint", f"{run}/checkpoint.pt", "--out", str(made.bundles), "--requests", "5"]
    assert main([*export, "--name", "tiny", "--version", "1", "--head-width", "1"]) == 0
    return made


@pytest.fixture(scope="module")
def service(line: Line) -> Iterator[Server]:
    with running_server(line.bundles, options=("--budget-ms", "30000")) as server:
        yield server


def evaluate(lists: Path, url: str, out: Path, *options: str) -> int:
    return main(["evaluate", "logs", "--data", str(lists), "--url", url, "--json", str(out), *options])


@pytest.mark.long
def test_every_test_list_is_re_ranked_and_every_order_measured(
    line: Line, service: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results.json"
    assert evaluate(line.lists, service.url, out) == 0
    results = json.loads(out.read_text("utf-8"))
    lists = list(read_lists(line.lists, "test"))
    assert [row["request_id"] for row in results["lists"]] == [r.request_id for r in lists]
    served = results["served_by"]
    assert (served["model"], served["version"], served["requests"]) == ("tiny", "1", 4 * len(lists))
    # Requests for objectives of which nothing learnt was kept are answered with the sort.
    checkpoint = load_checkpoint(line.lists.parent / "run" / "checkpoint.pt")
    kept = [not bypassed(checkpoint.model, w) for w in WEIGHTS]
    assert served["bypassed"] == kept.count(False) * len(lists)
    assert served["by_model"] == served["places"] == kept.count(True) * SHOWN * len(lists)
    clicked = sum(any(r.clicks) for r in lists)
    click = results["summary"]["all lists"]["click"]
    assert click["lists"] == clicked < len(lists)
    orders = ["random", "as shown", "sort by ctr", "sort by ctr*cvr", "sort by ctr*cvr*price"]
    assert list(click["ndcg"]) == [*orders, "served 5/1/1", "served 1/0/0", "served 0/1/0", "served 0/0/1"]
    shown = capsys.readouterr().out
    assert f"clicks ({clicked} lists)" in shown
    assert "| served 5/1/1 |" in compact(shown)


@pytest.mark.long
def test_the_measure_is_that_of_the_list_the_service_returns(line: Line, service: Server, tmp_path: Path) -> None:
    """Ask again by hand, in another order; the ids that come back give the recorded figure."""
    out = tmp_path / "results.json"
    assert evaluate(line.lists, service.url, out, "--objectives", "1,0,0", "--k", "3") == 0
    rows = {row["request_id"]: row["ndcg"] for row in json.loads(out.read_text("utf-8"))["lists"]}
    lists = [r for r in read_lists(line.lists, "test") if sum(r.clicks) == 1][:5]
    assert lists
    with RerankClient(service.url) as client:
        for record in lists:
            ranking = client.rerank(_by_hand(record))
            rank = ranking.order.tolist().index(record.clicks.index(1))
            expected = 1 / math.log2(rank + 2) if rank < 3 else 0
            assert rows[record.request_id]["click"]["served 1/0/0"] == pytest.approx(expected)


def _by_hand(record: ListRecord) -> dict[str, Any]:
    shown = [record.candidates[i] for i in record.exposed]
    return {
        "request_id": "by-hand",
        "user": record.user,
        "context": record.context,
        "candidates": [{"id": c.id, "scores": c.scores, "price": c.price, "features": c.features} for c in shown],
        "top_n": len(shown),
        "objectives": {"click": 1, "conversion": 0, "gmv": 0},
        "diversity": {"lambda": 1},
    }


def lists_file(path: Path, *records: ListRecord) -> Path:
    write_lists(path, records, {})
    return path


def test_a_service_that_is_down_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists, out = lists_file(tmp_path / "lists.parquet", logged_list([1, 0])), tmp_path / "results.json"
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as unused:
        url = f"http://127.0.0.1:{unused.server_port}"
    assert evaluate(lists, url, out) == 2
    message = capsys.readouterr().err
    assert url in message
    assert "refused" in message
    assert not out.exists()


def test_a_refused_request_is_reported_with_the_problems_detail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = lists_file(tmp_path / "lists.parquet", logged_list([1, 0], name="r-9", ctr=[0.2, 1.5]))
    out = tmp_path / "results.json"
    with live_app(fake_model()) as live:
        assert evaluate(lists, f"http://127.0.0.1:{live.port}", out) == 2
    message = capsys.readouterr().err
    assert "list 'r-9': the service answered 422: candidates[" in message
    assert "must be a probability in 0..1, not 1.5" in message
    assert not out.exists()


def test_a_service_without_a_model_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = lists_file(tmp_path / "lists.parquet", logged_list([1, 0]))
    with live_app(ready=False) as live:
        assert evaluate(lists, f"http://127.0.0.1:{live.port}", tmp_path / "results.json") == 2
    assert "the service answered 503: " in capsys.readouterr().err


def test_lists_longer_than_the_horizon_are_counted(tmp_path: Path) -> None:
    lists, out = lists_file(tmp_path / "lists.parquet", logged_list([1, *[0] * 7])), tmp_path / "results.json"
    with live_app(fake_model()) as live:
        assert evaluate(lists, f"http://127.0.0.1:{live.port}", out, "--objectives", "1,1,1") == 0
    served = json.loads(out.read_text("utf-8"))["served_by"]
    assert (served["places"], served["by_model"]) == (8, 5)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"<html>", "the service's answer is not a list"),
        (b'{"model": "m", "version": "1", "items": [{"index": 0, "source": "model"}]}', "return every candidate once"),
        (
            b'{"model": "m", "version": "1", "items": [], "degraded": {"reason": "deadline", "level": "formula"}}',
            r"answered 4 times without its model \(deadline\); start it with --deadline-mode observe",
        ),
        (
            b'{"model": "m", "version": "1", "items": [], "degraded": {"reason": "model-error", "level": "formula"}}',
            r"answered 4 times without its model \(model-error\)$",
        ),
    ],
)
def test_an_answer_that_is_no_list_of_the_model_is_refused(answer: bytes, message: str) -> None:
    with answering(answer) as url, RerankClient(url, pause=0) as client, pytest.raises(ServiceError, match=message):
        client.rerank({"request_id": "r", "candidates": [{"id": "a"}, {"id": "b"}]})


def test_a_list_that_was_late_is_asked_for_again() -> None:
    late = b'{"model": "", "version": "", "items": [], "degraded": {"reason": "deadline", "level": "formula"}}'
    listed = b'{"model": "m", "version": "1", "items": [{"index": 0, "source": "model"}]}'
    with answering(late, late, late, listed) as url, RerankClient(url, pause=0) as client:
        assert client.rerank({"request_id": "r", "candidates": [{"id": "a"}]}).by_model == 1


def test_what_the_service_warned_of_is_counted_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [logged_list([1, 0], name=f"r-{i}") for i in range(3)]
    lists, out = lists_file(tmp_path / "lists.parquet", *records), tmp_path / "results.json"
    with live_app(fake_model()) as live:
        assert evaluate(lists, f"http://127.0.0.1:{live.port}", out, "--objectives", "1,1,1") == 0
    warnings = json.loads(out.read_text("utf-8"))["warnings"]
    assert {"field": "user.age", "problem": "missing", "answers": 3} in warnings
    assert "user.age: missing in 3 of 3 answers\n" in capsys.readouterr().err


class answering:
    """A server that gives POSTs these answers in turn, and then the last one."""

    def __init__(self, *answers: bytes) -> None:
        left = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                answer = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(ServiceError, match=r"--url: must be like http://127\.0\.0\.1:8000, not 'localhost:8000'"):
        RerankClient("localhost:8000")


def test_a_file_without_lists_of_the_split_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = lists_file(tmp_path / "lists.parquet", logged_list([1, 0], split="train"))
    assert evaluate(lists, "http://127.0.0.1:9", tmp_path / "results.json") == 2
    assert "has no lists of split 'test'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"), [("--objectives", "0,0,0"), ("--objectives", "1,2"), ("--prior", "clicks=ctr")]
)
def test_bad_options_are_named(option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        evaluate(tmp_path / "none.parquet", "http://127.0.0.1:9", tmp_path / "out.json", option, value)
    assert f"argument {option}: must be" in capsys.readouterr().err
