"""Whatever clients do and however they leave, what they held is given back: places, bytes and connections."""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.service.live import FakeEngine, Live, fake_model, live_app
from tests.service.raw import Connection, head, post
from tests.service.requests import check_list, request
from tests.service.transport.test_transport import eventually

CLIENTS: Final = 8
TURNS: Final = 40
MEBIBYTE: Final = 1024 * 1024
GET: Final = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE: Final = {"Connection": "upgrade", "Upgrade": "h2c"}
CHUNKED: Final = {"Transfer-Encoding": "chunked"}
EXPECT: Final = {"Expect": "100-continue"}
BODY: Final = json.dumps(request()).encode()
LIMITS: Final[dict[str, Any]] = {
    "max_in_flight": 3,
    "max_body_bytes": 2 * MEBIBYTE - 4096,
    "max_unfinished_mb": 3,
    "max_unfinished_per_peer_mb": 2,
    "max_connections": CLIENTS - 2,
    "read_timeout_seconds": 0.3,
    "keep_alive_seconds": 0.2,
    "drain_quiet_seconds": 0.1,
}


def in_chunks(body: bytes, size: int) -> bytes:
    parts = (body[start : start + size] for start in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nA: b\r\n\r\n"


def one_request(chance: random.Random) -> bytes:
    """A request, right or wrong, that may end in the middle."""
    headers = {**chance.choice([{}, {}, UPGRADE]), **chance.choice([{}, {}, EXPECT])}
    sent = chance.choice(
        [
            post(BODY, headers),
            post(BODY, headers),
            head(None, {**headers, **CHUNKED}) + in_chunks(BODY, chance.choice([1, 50, 5000])),
            head(None, {**headers, **CHUNKED}) + b"2\r\n{}no chunk",
            post(b" " * chance.choice([100_000, MEBIBYTE]), headers),
            head(10 * MEBIBYTE, headers) + b" " * 200_000,
            head(100 * MEBIBYTE, headers),
            GET,
            GET * 100,
            b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * chance.choice([10, 100_000]),
            b"GET / HTTP/1.1\r\nHost: two words\r\n\r\n",
            b"\r\n" * 50,
        ]
    )
    return sent[: chance.randrange(len(sent))] if chance.random() < 0.2 else sent


def one_turn(port: int, chance: random.Random) -> None:
    """Connect, send some requests in pieces, perhaps read, and leave."""
    client = Connection(port, timeout=chance.choice([0.05, 0.5]))
    with contextlib.closing(client.sock), contextlib.suppress(OSError, AssertionError, ValueError):
        sent = b"".join(one_request(chance) for _ in range(chance.choice([1, 1, 2, 5])))
        size = chance.choice([len(sent), 70_000, max(1, len(sent) // 7)])
        for start in range(0, len(sent), size):
            client.send(sent[start : start + size])
            if chance.random() < 0.1:
                client.read()
        if chance.random() < 0.2:
            client.sock.shutdown(1)
        while chance.random() < 0.7 and client.read():
            pass
        if chance.random() < 0.5:
            client.reset()


def at_once(work: Callable[[random.Random], None], seed: int) -> None:
    """Do `work` in so many threads as there are clients, each with a chance of its own."""
    threads = [threading.Thread(target=work, args=(random.Random(100 * seed + n),)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def assert_all_is_given_back(live: Live) -> None:
    for name in ("rerank_connections", "rerank_unfinished_bytes", "rerank_in_flight", "rerank_queue_depth"):
        eventually(lambda name=name: live.series(name) == 0)  # type: ignore[misc]


@pytest.mark.parametrize("seed", range(2))
def test_all_is_given_back(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine()
    with live_app(fake_model(engine), **LIMITS) as live:

        def work(chance: random.Random) -> None:
            for _ in range(TURNS):
                if chance.random() < 0.1:
                    (engine.hold.set if chance.random() < 0.6 else engine.hold.clear)()
                one_turn(live.port, chance)

        at_once(work, seed)
        engine.hold.set()
        assert_all_is_given_back(live)
        check_list(request(), live.post(request()).json)
        assert not {record.status for record in live.records if record.status >= 500} - {503}
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_all_is_given_back_by_a_service_that_drains_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    with live_app(fake_model(), **LIMITS, drain_seconds=60) as live:

        def work(chance: random.Random) -> None:
            with contextlib.suppress(ConnectionError, TimeoutError):  # Nobody listens any more.
                for turn in range(TURNS):
                    one_turn(live.port, chance)
                    if turn == TURNS // 2:
                        live.stop()

        at_once(work, 7)
        eventually(live.ended)
        assert_all_is_given_back(live)
        assert 500 not in {record.status for record in live.records}
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
