"""Count the attempts of each address with a wrong key, within bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from time import monotonic
from typing import Final

WINDOW_SECONDS: Final = 60.0
MOST_PEERS: Final = 4096
_NO_ADDRESS: Final = "unix"
"""Stands for the clients of a Unix socket, which count as one."""

_HOST_BITS: Final = 64


@dataclass(slots=True)
class _Window:
    ends: float
    failures: int = 0


class FailureLimit:
    """Allow each peer `most` wrong keys in a window; used from the event loop only.

    The peer that failed longest ago is forgotten first. `clock` gives seconds and never goes back.
    """

    def __init__(
        self,
        most: int,
        *,
        seconds: float = WINDOW_SECONDS,
        most_peers: int = MOST_PEERS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._most = most
        self._seconds = seconds
        self._most_peers = most_peers
        self._clock = clock
        self._peers: OrderedDict[str, _Window] = OrderedDict()

    def note(self, peer: str) -> float | None:
        """Count a failure; return the seconds to wait if it is one too many.

        `peer` is as `peer_name` makes it.
        """
        now = self._clock()
        window = self._peers.pop(peer, None)
        if window is None or now >= window.ends:
            window = _Window(now + self._seconds)
        window.failures += 1
        self._peers[peer] = window
        if len(self._peers) > self._most_peers:
            self._peers.popitem(last=False)
        return window.ends - now if window.failures > self._most else None

    def __len__(self) -> int:
        """Return how many peers are remembered."""
        return len(self._peers)


def peer_name(client: tuple[str, int] | None) -> str:
    """Return the address under which a client's failures are counted.

    Of an IPv6 address it is the network of 64 bits, since one host can use all addresses in it.
    """
    if client is None:
        return _NO_ADDRESS
    try:
        address = ip_address(client[0].partition("%")[0])
    except ValueError:
        return client[0]
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> _HOST_BITS << _HOST_BITS)}/64"
