"""Count one listener's connections and the bytes they hold; refuse those over a limit."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from time import monotonic
from typing import Final, Literal, NamedTuple, cast, get_args

from service.transport.limits import Limits

RefusedReason = Literal["limit", "descriptors", "unfinished"]
"""limit: too many connections; descriptors: no files left; unfinished: too many bytes of requests in part."""

HeadReason = Literal["malformed-http", "uri-too-long", "headers-too-large", "not-implemented", "timeout"]
"""The slug of the problem with a request's HTTP; timeout: its head did not end in time, which has no answer."""

_HEAD_REASONS: Final = frozenset(get_args(HeadReason))


class RefusedHead(NamedTuple):
    """A request that ended its connection, and that no handler records.

    `status` and `request_id` are those of its answer; None: it had none.
    """

    reason: HeadReason
    peer: str
    status: int | None = None
    request_id: str | None = None


OnHead = Callable[[RefusedHead], None]

_log = logging.getLogger(__name__)
_LOG_SECONDS: Final = 60.0
_SPARE_FILES: Final = 64
# A refused client that is sending gets the answer only if the connection stays open for a moment.
_MOST_LINGERING: Final = 128


class Unfinished:
    """Count the bytes of requests that have come in part, in all and by address."""

    def __init__(self, most: int, most_per_peer: int) -> None:
        self._most = most
        self._most_per_peer = most_per_peer
        self._peers: Counter[str] = Counter()
        self.total = 0

    def change(self, peer: str, by: int) -> bool:
        """Add `by` bytes of a peer, fewer if negative; tell whether all limits hold."""
        self.total += by
        self._peers[peer] += by
        own = self._peers[peer]
        if not own:
            del self._peers[peer]
        return by <= 0 or (self.total <= self._most and own <= self._most_per_peer)


class Connections:
    """Admit connections up to the limits, and count those refused.

    `on_refuse` is told of connections that are refused, each of `on_head` of requests that end theirs and that no
    handler records; those of POST at `recorded_paths` record all that they see. `descriptors` is the process's limit
    on open files, None for no limit; it is set when the listener starts.
    """

    def __init__(
        self,
        limits: Limits,
        on_refuse: Callable[[RefusedReason], None] | None = None,
        on_head: Sequence[OnHead] = (),
        recorded_paths: Collection[str] = (),
    ) -> None:
        self.limits = limits
        self.recorded_paths = recorded_paths
        self.unfinished = Unfinished(limits.unfinished_bytes, limits.unfinished_per_peer_bytes)
        self.descriptors: int | None = None
        self.open = 0
        self.lingering = 0
        self._on_refuse = on_refuse
        self._on_head = tuple(on_head)
        self._unlogged: Counter[RefusedReason] = Counter()
        self._logged_at = -_LOG_SECONDS

    def admit(self, descriptor: int) -> RefusedReason | None:
        """Say why a connection with this file descriptor is refused; None: it may stay."""
        reason: RefusedReason | None = None
        if self._files_left(descriptor) < _SPARE_FILES:
            reason = "descriptors"
        elif self.open >= self.limits.connections:
            reason = "limit"
        if reason is not None:
            self.refuse(reason)
        return reason

    def may_linger(self, descriptor: int) -> bool:
        """Tell whether a refused connection may stay open until its client has read the answer."""
        return self.lingering < _MOST_LINGERING and self._files_left(descriptor) > _SPARE_FILES // 2

    def refuse(self, reason: RefusedReason) -> None:
        """Count one refusal, and log it unless that was done within the last minute."""
        self._unlogged[reason] += 1
        if self._on_refuse is not None:
            self._on_refuse(reason)
        self.report()

    def refuse_head(self, reason: str, peer: str, status: int | None = None, request_id: str | None = None) -> None:
        """Tell of a request that ends its connection; `refuse` counts those over a limit."""
        if reason in _HEAD_REASONS:
            refused = RefusedHead(cast(HeadReason, reason), peer, status, request_id)
            for tell in self._on_head:
                tell(refused)

    def report(self) -> None:
        """Log the refusals since the last such line, at most once a minute."""
        now = monotonic()
        if self._unlogged and now - self._logged_at >= _LOG_SECONDS:
            counts = ", ".join(f"{reason} {count}" for reason, count in sorted(self._unlogged.items()))
            _log.warning("%d connections refused or ended: %s", self._unlogged.total(), counts)
            self._unlogged.clear()
            self._logged_at = now

    def _files_left(self, descriptor: int) -> float:
        """Return how many more files may be opened; the system gives the lowest free number."""
        return float("inf") if self.descriptors is None else self.descriptors - descriptor
