"""Fetch bundles, their catalogues and scenes from a store into a folder."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from models.fetching.fetch import Fetch
from models.files import ended_by_sigterm
from models.options import check_at_least

_URL = (
    "a version of a bundle or catalogue, all versions of one, or a whole folder of bundles: a URL of fsspec (s3://, "
    "gs://, https://, file://), or a folder of this machine"
)


class _TimeUp(BaseException):
    """The command's time is up.

    No store may take this for an error of its own.
    """


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the sources, the folder and the limits."""
    parser.add_argument("urls", nargs="+", metavar="URL", help=_URL)
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="folder of bundles to copy into")
    text = "versions of each name that are fetched, the newest ones (default: %(default)s)"
    parser.add_argument("--newest", type=int, default=1, metavar="N", help=text)
    text = "remove all but the newest N versions of each fetched name from FOLDER (default: remove none)"
    parser.add_argument("--keep", type=int, metavar="N", help=text)
    text = "how often a read that failed is tried again, with waits from 1 s that double (default: %(default)s)"
    parser.add_argument("--retries", type=int, default=4, metavar="N", help=text)
    text = "most seconds for all, waiting for another process that fetches included (default: %(default)s)"
    parser.add_argument("--timeout", type=int, default=600, metavar="SECONDS", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Fetch, and return 1 if something could not be fetched.

    Raises `ValueError` for a wrong option.
    """
    check_at_least(arguments, newest=1, keep=1, retries=0, timeout=1)
    fetch = Fetch(arguments.to, arguments.newest, arguments.keep, arguments.retries, say=partial(print, flush=True))
    try:
        with ended_by_sigterm(), _limited(arguments.timeout):
            fetch.run(arguments.urls)
    except _TimeUp:
        fetch.problems.append(f"--timeout: {arguments.timeout} seconds were not enough")
    for problem in fetch.problems:
        print(f"listwright fetch: {problem}", file=sys.stderr)
    return 1 if fetch.problems else 0


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Raise `_TimeUp` in the block when its time is up."""

    def end(_: int, __: object) -> None:
        raise _TimeUp

    handler = signal.signal(signal.SIGALRM, end)
    before = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
        signal.signal(signal.SIGALRM, handler)
