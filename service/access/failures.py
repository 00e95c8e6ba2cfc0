"""Count the attempts of each address with a wrong key, within bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from time import monotonic
from typing import Any, Final

WINDOW_SECONDS: Final = 60.0
MOST_PEERS: Final = 4096
NO_PEER: Final = "unix"
"""Address of clients that have none: they came through the Unix socket, and count as one."""

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

        `peer` is as `host_of` makes it.
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


def peer_of(scope: Mapping[str, Any]) -> str:
    """Return the address of a request's connection, which is a proxy's where there is one."""
    client = scope.get("client")
    return str(client[0]) if client else NO_PEER


def host_of(peer: str) -> str:
    """Return the address under which a peer's failures are counted.

    Of an IPv6 address it is the network of 64 bits, since one host can use all addresses in it.
    """
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> _HOST_BITS << _HOST_BITS)}/64"
