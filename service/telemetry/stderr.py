"""Write log lines to stderr without failing or waiting for long."""

from __future__ import annotations

import logging
import os
import select
import sys
from typing import Final

STDERR: Final = 2
# A pipe that takes anything takes so much without waiting, and keeps it together (POSIX's PIPE_BUF is 4096 on Linux).
_PIECE_BYTES: Final = 4096
_PATIENCE_MS: Final = 20


def open_missing_streams() -> None:
    """Open stdin, stdout and stderr on the null device where they are closed.

    Else the first socket would get their number, and what a library writes to stderr would go to a client.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is the one that is missing. Workers inherit it.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


class StderrHandler(logging.Handler):
    """Write each line at once; lose those that stderr does not take, and count them.

    The next line that is taken follows one that says how many were lost. The event loop writes its own lines, so a
    reader that stops would stop the service too. It gets 20 ms, and no more until it reads again. Nothing is buffered:
    what a full disk has refused would otherwise fail again at exit.
    """

    def __init__(self, descriptor: int = STDERR) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lost = 0
        self._why = ""
        self._stuck = False
        self._unfinished = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; never raise."""
        if self._lost and self._write(self._notice()):
            self._lost = 0
        if self._lost or not self._write(self._line(record)):
            self._lost += 1

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record)
        except Exception as error:  # A fault in a call of the logger must not become one of the request.
            where = f"{record.module}:{record.lineno}"
            return self.format(_record(logging.ERROR, "a line of the log could not be made at %s: %r", where, error))

    def _notice(self) -> str:
        return self.format(_record(logging.WARNING, "%d lines of the log were lost: %s", self._lost, self._why))

    def _write(self, line: str) -> bool:
        """Write one line; tell whether all of it was taken."""
        data = ("\n" if self._unfinished else "").encode() + line.encode("utf-8", "backslashreplace") + b"\n"
        sent = 0
        while sent < len(data):
            try:
                if not self._takes_more():
                    raise BlockingIOError("nobody reads it")
                sent += os.write(self._descriptor, data[sent : sent + _PIECE_BYTES])
            except OSError as error:
                self._why = error.strerror or str(error)
                self._unfinished = self._unfinished or sent > 0
                return False
        self._unfinished = False
        return True

    def _takes_more(self) -> bool:
        """Wait a little until a write would not wait, or would fail at once."""
        if sys.platform == "win32":
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        ready = bool(poll.poll(0 if self._stuck else _PATIENCE_MS))
        self._stuck = not ready
        return ready


def _record(level: int, message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord(__name__, level, __file__, 0, message, arguments, None)
