"""Hold the limits of one listener's connections, and raise the process's own limit on files."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import Final, Self

from service.contract.batch import batch_bytes
from service.environment import PREFIX
from service.options.listeners import MEBIBYTE
from service.settings import Settings, flag

HEAD_BYTES: Final = 64 * 1024
"""Most bytes of a request line with its header fields, and of the fields and extensions of a chunked body."""

FIELDS: Final = 100
"""Most header fields of a request, and most trailer fields."""

PIPELINED: Final = 16
"""Most requests of one connection that wait for their answers before more is read."""

ADMIN_CONNECTIONS: Final = 256
# Files of the process beside its connections: bundles, pipes, the event loop, what libraries open.
_OTHER_FILES: Final = 512

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of the connections of one listener, in bytes and seconds.

    `body_bytes` are of one request's body, `batch_bytes` of a batch's.
    """

    connections: int
    read_seconds: float
    body_bytes: int
    batch_bytes: int
    unfinished_bytes: int
    unfinished_per_peer_bytes: int
    retry_after_seconds: int

    @classmethod
    def of(cls, settings: Settings, *, admin: bool = False) -> Self:
        """Read the limits from the settings; the admin listener takes fewer connections."""
        return cls(
            connections=min(settings.max_connections, ADMIN_CONNECTIONS) if admin else settings.max_connections,
            read_seconds=settings.read_timeout_seconds,
            body_bytes=settings.max_body_bytes,
            batch_bytes=batch_bytes(settings.max_body_bytes, settings.max_unfinished_per_peer_mb * MEBIBYTE),
            unfinished_bytes=settings.max_unfinished_mb * MEBIBYTE,
            unfinished_per_peer_bytes=settings.max_unfinished_per_peer_mb * MEBIBYTE,
            retry_after_seconds=settings.retry_after_seconds,
        )


def raise_descriptor_limit(connections: int) -> int | None:
    """Raise the soft limit on open files for so many connections; return it.

    None: there is no limit. Logs a warning that names the setting if the hard limit does not allow it.
    """
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < wanted:
            _log.warning(
                "%sMAX_CONNECTIONS (%s) is %d, but the process may open only %d files (RLIMIT_NOFILE)",
                *(PREFIX, flag("max_connections"), connections, soft),
            )
    return None if soft == resource.RLIM_INFINITY else soft
