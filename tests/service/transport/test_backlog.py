"""Emptying a listening socket's queue so that no connection slips in between."""

from __future__ import annotations

import socket
import sys

import pytest

from service.transport.sockets import stop_connecting, take_all


@pytest.fixture
def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_all_that_waits_is_taken_and_no_more_than_asked(listening: socket.socket) -> None:
    with listening:
        clients = [socket.create_connection(listening.getsockname()) for _ in range(3)]
        taken = take_all(listening, 2)
        assert len(taken) == 2
        taken += take_all(listening, 10)
        assert [sock.getpeername() for sock in taken] == [client.getsockname() for client in clients]
        assert take_all(listening, 10) == []
        for sock in (*clients, *taken):
            sock.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has socket filters")
def test_nobody_connects_any_more_but_who_has_connected_is_there(listening: socket.socket) -> None:
    with listening, socket.create_connection(listening.getsockname()) as early:
        stop_connecting(listening)
        with pytest.raises(TimeoutError):
            socket.create_connection(listening.getsockname(), timeout=0.2)
        (taken,) = take_all(listening, 10)
        with taken:
            early.sendall(b"still here")
            assert taken.recv(100) == b"still here"
