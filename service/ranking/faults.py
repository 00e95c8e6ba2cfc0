"""Log the service's own faults that end requests."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping

from service.timing.limiter import LogLimiter, left_out

_log = logging.getLogger(__name__)


class FaultLog:
    """Log each fault by a line, and the traceback of each place once a minute.

    A fault that many requests meet would otherwise fill the log.
    """

    def __init__(self) -> None:
        self._limiter = LogLimiter()

    def add(self, what: str, error: Exception, ids: Mapping[str, str | None]) -> None:
        """Log that `what` has failed, such as a request and its id.

        `ids` are fields of the line.
        """
        suppressed = self._limiter.ready(_place(error))
        if suppressed is None:
            _log.error("%s failed, as others did: %s", what, type(error).__name__, extra=dict(ids))
        else:
            _log.error("%s failed%s", what, left_out(suppressed), exc_info=error, extra=dict(ids))


def _place(error: Exception) -> Hashable:
    """Return the type of an exception, and the line that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return type(error), trace and (trace.tb_frame.f_code, trace.tb_lineno)
