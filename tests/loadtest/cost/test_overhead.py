"""The keep-alive client and the arithmetic of the overhead measurement, against a real socket and known times."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest

from loadtest.cost.overhead import TimedBlock, measure, missed, summarise, table
from loadtest.rig.client import ConnectionLost, KeepAliveClient, post_message
from tests.loadtest.stub import in_input_order, stub_service
from tests.loadtest.tables import squeezed

REQUEST = json.dumps({"request_id": "é", "candidates": [{"id": "a"}, {"id": "b"}], "top_n": 2}).encode()


def test_one_connection_carries_many_requests() -> None:
    with stub_service() as port, KeepAliveClient(port) as client:
        message = post_message(REQUEST)
        for _ in range(20):
            status, body = client.send(message)
            assert status == 200
            assert [item["id"] for item in json.loads(body)["items"]] == ["a", "b"]


def test_a_connection_that_closes_mid_answer_is_an_error() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer_half() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
        connection.close()

    thread = threading.Thread(target=answer_half)
    thread.start()
    with listener, KeepAliveClient(listener.getsockname()[1]) as client:
        with pytest.raises(ConnectionLost):
            client.send(post_message(b"{}"))
        thread.join()


def test_blocks_take_inference_from_the_response() -> None:
    with stub_service() as port, KeepAliveClient(port) as client:
        block = measure(client, [post_message(REQUEST)], 5)
    assert block.infer == [0.25] * 5
    assert len(block.total) == 5
    assert min(block.total) > 0


def test_answers_that_no_model_made_are_not_measured() -> None:
    def degraded(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return 200, in_input_order(request)[1] | {"degraded": {"reason": "deadline", "level": "formula"}}

    def refused(_: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return 503, {"title": "overloaded"}

    for answer, problem in ((degraded, "without its model"), (refused, "answered 503: .*overloaded")):
        with (
            stub_service(answer) as port,
            KeepAliveClient(port) as client,
            pytest.raises(ValueError, match=problem),
        ):
            measure(client, [post_message(REQUEST)], 1)


def test_figures_are_medians_over_blocks_and_overhead_is_taken_request_by_request() -> None:
    blocks = [
        TimedBlock([3.0, 5.0, 9.0], [1.0, 4.0, 8.5]),
        TimedBlock([4.0] * 3, [1.0] * 3),
        TimedBlock([90.0] * 3, [1.0] * 3),
    ]
    row = summarise(100, 12.34, blocks)
    assert (row.total_p50, row.total_p99) == (5.0, 9.0)
    assert row.infer_p50 == 1.0
    assert row.overhead_p50 == 3.0, "of the blocks' 1, 3 and 89"
    assert row.requests == 9


def test_a_missed_target_is_named_and_a_size_without_target_is_not_judged() -> None:
    slow = summarise(100, 1.0, [TimedBlock([3.0], [1.0])])
    quick = summarise(1000, 1.0, [TimedBlock([5.0], [1.0])])
    other = summarise(300, 1.0, [TimedBlock([500.0], [1.0])])
    assert missed([slow, quick, other]) == ["objects, 100 candidates: overhead_p50 is 2.00 ms, not under 1 ms"]
    assert (
        squeezed(table([slow])).splitlines()[-1]
        == "| objects | 100 | 1.0 | 3.00 | 3.00 | 1.00 | 2.00 | 2.00 | – | – | – |"
    )


def test_inference_is_held_to_the_loop_next_to_it_and_not_to_the_average_loop() -> None:
    blocks = [TimedBlock([3.0], [1.5 * slow], [slow]) for slow in (1.0, 2.0, 4.0, 8.0, 8.0)]
    row = summarise(100, 1.0, blocks)
    assert (row.tight_p50, row.infer_ratio, row.infer_ratio_low, row.infer_ratio_high) == (4.0, 1.5, 1.5, 1.5)
    assert "objects, 100 candidates: infer_ratio is 1.50, not under 1.3" in missed([row])
    assert squeezed(table([row])).endswith("| 4.00 | 1.50 (1.5 to 1.5) | – |")


def test_another_form_is_held_to_the_objects_next_to_it() -> None:
    objects = [TimedBlock([1.0 + slow], [1.0]) for slow in (1.0, 2.0, 4.0)]
    blocks = [TimedBlock([1.0 + slow / 2], [1.0]) for slow in (1.0, 2.0, 4.0)]
    row = summarise(1000, 1.0, blocks, "catalogue", objects)
    assert (row.overhead_ratio, row.overhead_ratio_low, row.overhead_ratio_high) == (0.5, 0.5, 0.5)
    assert missed([row]) == ["catalogue, 1000 candidates: overhead_ratio is 0.50, not under 0.3"]
    assert squeezed(table([row])).splitlines()[-1].startswith("| catalogue | 1000 |")
    assert squeezed(table([row])).endswith("| – | – | 0.50 (0.5 to 0.5) |")


def test_a_catalogues_requests_may_grow_only_so_much() -> None:
    small, large = (summarise(n, 1.0, [TimedBlock([t], [1.0])], "catalogue") for n, t in ((100, 2.0), (1000, 3.2)))
    assert missed([small, large]) == ["catalogue: 1000 candidates take 1.60 times as long as 100, over 1.5"]
    assert missed([large]) == []
