"""Empty the queue of connections that the kernel has made and nobody has accepted.

Between finding it empty and closing the socket another client may connect, and its request would be lost. So Linux is
told first to make no more connections. Knows nothing about event loops.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import sys
from typing import Final

_SO_ATTACH_FILTER: Final = 26
# A classic BPF program over the TCP header, one (code, jump if true, jump if false, operand) an instruction.
_DROP_SYN: Final = (
    (0x30, 0, 0, 13),  # load the byte of flags
    (0x45, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep all of it
)


def stop_connecting(sock: socket.socket) -> None:
    """Let the kernel make no more connections on the listening `sock`.

    That holds in every process in which it is open. A client that tries meanwhile tries again after a second, and is
    refused then if the socket has been closed. Where the system has no such filters nothing happens, and a client may
    connect in the instant before the closing.
    """
    if sys.platform != "linux":
        return
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _DROP_SYN))
    program = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(code))
    with contextlib.suppress(OSError):  # Some sandboxes do not offer it.
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def take_all(sock: socket.socket, most: int) -> list[socket.socket]:
    """Accept the connections that wait, at most `most`, without waiting."""
    taken: list[socket.socket] = []
    with socket.socket(fileno=os.dup(sock.fileno())) as backlog, contextlib.suppress(BlockingIOError):
        backlog.setblocking(False)
        while len(taken) < most:
            taken.append(backlog.accept()[0])
    return taken
