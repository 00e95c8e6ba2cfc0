"""Sizes that the plan needs: of lists on disk, of their arrays, and of one exchange with a server."""

from __future__ import annotations

import re
import socket
import threading

import pytest

from loadtest.scale.sizes import exchange, list_rows


def served(answer: bytes) -> str:
    """The address of a server that answers one connection, whatever it is asked."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(65_536)
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_exchange_counts_head_and_answer() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
    head, size = exchange(served(answer), b"{}")
    assert size == len(answer)
    assert 100 < head < 140


def test_what_is_no_list_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"no list: b'HTTP/1\.1 503 "):
        exchange(served(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), b"{}")


def test_lists_and_their_arrays_have_sizes() -> None:
    rows = dict(list_rows(lists=400, rounds=1))
    sizes = {name: float(re.findall(r"[\d.,]+", value)[0].replace(",", "")) for name, value in rows.items()}
    assert sizes["a list of 100 candidates on disk"] > 2 * sizes["a list of 20 candidates on disk"]
    # Two user ids and a number; ten items of two ids, six numbers and a price or an embedding's blank; labels; length.
    assert sizes["arrays of a list of 10 shown items"] == 591
