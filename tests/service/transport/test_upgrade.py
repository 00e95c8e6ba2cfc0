"""A request that asks for another protocol is answered as if it had not, whatever the protocol, and keeps its body."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from service.admin import create_admin_app
from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import HOST, FakeEngine, Live, fake_model, listening, live_app, make_settings
from tests.service.raw import Connection, connected, post
from tests.service.requests import check_list, request
from tests.service.transport.test_transport import eventually

TOKENS: Final = ("h2c", "websocket", "TLS/1.0", "made-up/7, h2c")
JAVA: Final = """
import java.net.URI;
import java.net.http.*;

public class Ask {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int i = 0; i < 5; i++) {
            HttpRequest.BodyPublisher body = i % 2 == 0
                ? HttpRequest.BodyPublishers.ofString(arguments[1])
                : HttpRequest.BodyPublishers.fromPublisher(HttpRequest.BodyPublishers.ofString(arguments[1]));
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("Content-Type", "application/json").POST(body).build();
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.version() + " " + answer.body());
        }
    }
}
"""


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with live_app(fake_model()) as server:
        yield server


def upgrading(token: str = "h2c") -> dict[str, str]:
    return {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": token, "HTTP2-Settings": "AAEAAEAAAAIAAAABAAMAAABk"}


def chunked(body: object, headers: dict[str, str]) -> bytes:
    raw = json.dumps(body).encode()
    parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (raw[:7], raw[7:40], raw[40:]) if part)
    fields = {"Content-Type": "application/json", "Transfer-Encoding": "chunked", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST /v1/rerank HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode() + parts + b"0\r\n\r\n"


def items(answer: dict[str, Any]) -> Any:
    return answer["request_id"], answer["items"]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("form", [post, chunked])
def test_it_is_answered_and_so_are_the_next_ones(live: Live, token: str, form: Any) -> None:
    with connected(live.port) as client:
        for n in (3, 4):
            client.send(form(request(n), upgrading(token)))
            check_list(request(n), client.answer().json)
        client.ask(request(5))
        check_list(request(5), client.answer().json)


def test_its_body_is_not_read_as_a_request(live: Live) -> None:
    inner = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    for apart in (False, True):
        with connected(live.port) as client:
            whole = post(inner, upgrading())
            client.send(whole[: -len(inner)] if apart else whole)
            if apart:
                eventually(lambda: bool(live.series("rerank_unfinished_bytes")))
                client.send(inner)
            assert_problem(client.answer(), 400, "malformed-json")
            client.ask(request())
            check_list(request(), client.answer().json)


def test_without_a_body_on_the_public_port_and_the_admin_port(live: Live) -> None:
    get = b"GET %b HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    app = create_admin_app(settings=make_settings(), registry=live.registry, loader=None, catalogues=live.catalogues)  # type: ignore[arg-type]
    with listening(app, make_settings()) as admin_port:
        for port, path in ((live.port, b"/v2/health/live"), (admin_port, b"/admin/v1/models")):
            with connected(port) as client:
                client.send(get % path * 3)
                assert [client.answer().status for _ in range(3)] == [200, 200, 200]
        with connected(admin_port) as client:
            order = b'{"model": 7}'
            client.send(
                b"POST /admin/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n%b" % (len(order), order)
            )
            assert_problem(client.answer(), 422, "invalid-request", "model")


def test_a_split_anywhere_changes_nothing(live: Live) -> None:
    """Requests in a row, cut in two at every byte, are answered as those that ask for no upgrade."""
    headers = {"Connection": "upgrade", "Upgrade": "h2c"}
    whole = post({"a": 1}, headers) + chunked({"b": 2}, headers) + post({"c": 3})
    wanted = [
        problem["detail"] for problem in exchange(live, [post({"a": 1}) + chunked({"b": 2}, {}) + post({"c": 3})])
    ]
    assert len(set(wanted)) == 3
    for cut in range(1, len(whole)):
        assert [problem["detail"] for problem in exchange(live, [whole[:cut], whole[cut:]])] == wanted, cut


def test_many_splits_at_random_change_nothing(live: Live) -> None:
    chance = random.Random(20)
    wanted = [items(reply) for reply in exchange(live, [pipeline({})])]
    for _ in range(60):
        whole = pipeline(upgrading(chance.choice(TOKENS)))
        cuts = sorted(chance.sample(range(1, len(whole)), chance.randint(2, 40)))
        parts = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        assert [items(reply) for reply in exchange(live, parts)] == wanted, cuts


def pipeline(headers: dict[str, str]) -> bytes:
    bodies = [{**request(n, request_id=f"r{n}"), "top_n": 2} for n in (1, 2, 2)]
    return post(bodies[0], headers) + chunked(bodies[1], headers) + post(bodies[2], headers)


def exchange(live: Live, parts: list[bytes]) -> list[Any]:
    with connected(live.port) as client:
        for part in parts:
            client.send(part)
        return [client.answer().json for _ in range(3)]


def test_a_refusal_of_one_reads_past_its_body() -> None:
    engine = FakeEngine()
    engine.hold.clear()
    with live_app(fake_model(engine), max_in_flight=1) as live, connected(live.port) as first:
        first.ask(request())
        eventually(lambda: live.series("rerank_in_flight") == 1)
        with connected(live.port) as client:
            for form in (post, chunked):
                client.send(form(request(), upgrading()))
                assert_problem(client.answer(), 503, "overloaded")
            client.send(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.answer().status == 200
        engine.hold.set()
        assert first.answer().status == 200


def test_one_that_closes_or_speaks_1_0_is_the_last(live: Live) -> None:
    closing = {**upgrading(), "Connection": "upgrade, close"}
    for raw in (post(request(3), closing), post(request(3), upgrading(), version="1.0")):
        with connected(live.port) as client:
            client.send(raw + post(request(4)))
            reply = client.answer()
            check_list(request(3), reply.json)
            assert reply.headers["connection"] == "close"
            assert client.read() is None


def test_connect_is_refused(live: Live) -> None:
    for headers in ("", "Upgrade: h2c\r\nConnection: upgrade\r\n"):
        with connected(live.port) as client:
            client.send(f"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode() + post(request()))
            reply = client.answer()
            assert_problem(reply, 501, "not-implemented")
            assert reply.headers["connection"] == "close"
            assert client.read() is None


def ask_with_curl(port: int, *more: str) -> str:
    url = f"http://{HOST}:{port}/v1/rerank"
    fields = ("-H", "Content-Type: application/json", "--data-binary", json.dumps(request()))
    command = ["curl", "-sS", "--noproxy", "*", "--max-time", "20", "--http2", *fields, *more, url, url]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("more", [(), ("-H", "Transfer-Encoding: chunked")], ids=["length", "chunks"])
def test_curl_that_would_like_http2(live: Live, more: tuple[str, ...]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    if "HTTP2" not in subprocess.run(["curl", "-V"], check=True, capture_output=True, text=True).stdout:
        pytest.skip("this curl has no HTTP/2")
    answers = ask_with_curl(live.port, *more)
    decoder = json.JSONDecoder()
    first, end = decoder.raw_decode(answers)
    second, _ = decoder.raw_decode(answers[end:])
    for answer in (first, second):
        check_list(request(), answer)


@pytest.mark.slow
def test_the_client_of_the_jdk(live: Live, tmp_path: Path) -> None:
    """It asks for HTTP/2 by upgrade unless told otherwise."""
    if shutil.which("javac") is None:
        pytest.skip("there is no JDK (Debian: apt-get install openjdk-17-jdk-headless)")
    (tmp_path / "Ask.java").write_text(JAVA)
    subprocess.run(["javac", "Ask.java"], cwd=tmp_path, check=True)
    command = ["java", "-cp", str(tmp_path), "Ask", f"http://{HOST}:{live.port}/v1/rerank", json.dumps(request())]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.splitlines()
    assert len(lines) == 5
    for line in lines:
        status, version, body = line.split(" ", 2)
        assert (status, version) == ("200", "HTTP_1_1")
        check_list(request(), json.loads(body))


def test_a_client_that_leaves_in_the_middle_of_one(live: Live) -> None:
    client = Connection(live.port)
    client.send(post(request(), upgrading())[:-5])
    eventually(lambda: bool(live.series("rerank_unfinished_bytes")))
    client.reset()
    eventually(lambda: live.series("rerank_unfinished_bytes") == 0)
    eventually(lambda: live.records[-1].outcome == "cancelled")


def test_one_whose_body_ends_while_the_service_drains_is_answered_and_is_the_last() -> None:
    whole = post(request(), upgrading())
    with live_app(fake_model(), drain_seconds=60, drain_quiet_seconds=0.1) as live, connected(live.port) as client:
        client.send(whole[:-5])
        eventually(lambda: bool(live.series("rerank_unfinished_bytes")))
        live.drain()
        client.send(whole[-5:])
        reply = client.answer()
        check_list(request(), reply.json)
        assert reply.headers["connection"] == "close"
        assert client.read() is None
        eventually(live.ended)


def test_one_that_asks_to_go_ahead_as_well_is_told_so_or_refused_without_its_body() -> None:
    engine = FakeEngine()
    whole = post(request(), {**upgrading(), "Expect": "100-continue"})
    begin, body = whole.partition(b"\r\n\r\n")[::2]
    with live_app(fake_model(engine), max_in_flight=1) as live, connected(live.port) as client:
        client.send(begin + b"\r\n\r\n")
        assert client.answer().status == 100
        client.send(body)
        check_list(request(), client.answer().json)
        eventually(lambda: live.series("rerank_in_flight") == 0)  # An answer is sent before its place is free.
        engine.hold.clear()
        with connected(live.port) as busy:
            busy.ask(request())
            eventually(lambda: live.series("rerank_in_flight") == 1)
            client.send(begin + b"\r\n\r\n")
            reply = client.answer()
            assert_problem(reply, 503, "overloaded")
            assert reply.headers["connection"] == "close"
            assert client.read() is None
            engine.hold.set()
            assert busy.answer().status == 200
