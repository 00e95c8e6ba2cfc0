"""Keep every name at its newest sound version, in one process or in several workers.

What is refused is passed over: the next older version is tried, or what serves goes on. A refused version is tried
again when its files change.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

from service.bundles.folder import Catalogue
from service.bundles.model import BundleError
from service.bundles.refusals import POLL_SECONDS, OnRefusal, Refusals

_log = logging.getLogger(__name__)

Staged = TypeVar("Staged")
"""A version that is ready to serve."""


OnReload = Callable[[str], None]
"""Told ``ok`` or ``refused`` of every version that a reload has looked at."""


class Interrupted(Exception):
    """A switch could not be done for a reason that says nothing about the bundle."""


class Switcher(ABC, Generic[Staged]):
    """Choose the versions to serve.

    How they come to serve is the subclass's. `on_refusal` is told of versions that are refused though they would have
    served. Used from the event loop only.
    """

    def __init__(self, root: Path, on_reload: OnReload, on_refusal: OnRefusal) -> None:
        self._on_reload = on_reload
        self._catalogue = Catalogue(root)
        self._refusals = Refusals(root, on_refusal)
        self._lock = asyncio.Lock()
        self._failed: set[str] = set()

    @abstractmethod
    async def _stage(self, name: str, version: str) -> Staged:
        """Load and check a version aside. Raises `BundleError`, `RuntimeError` or `Interrupted`."""

    @abstractmethod
    async def _serve(self, staged: Staged) -> object:
        """Let a version serve, as the current one of its name."""

    @abstractmethod
    def _drop(self, staged: Staged) -> None:
        """Give up a version that was to serve."""

    @abstractmethod
    def _current(self, name: str) -> str | None:
        """Return the version that serves requests that name none, or None."""

    @abstractmethod
    def _is_current(self, name: str, version: str) -> bool:
        """Tell whether a version is current, and as it is on disk now."""

    @abstractmethod
    def _fail(self, name: str, reason: str) -> None:
        """Note why a name of the start is not live."""

    async def _load_first(self, name: str, versions: Sequence[str], count: int) -> None:
        """Load a name at start, without which the service is not ready. Raises `Interrupted`."""
        self._failed.add(name)
        await self._load_newest(name, versions, count)

    async def reload_all(self) -> None:
        """Switch every name in the folder to its newest sound version, new names included.

        A version that is current already is not loaded again. A bundle that is refused is logged, and its
        predecessor goes on serving.
        """
        async with self._lock:
            for name, versions in self._catalogue.bundles().items():
                await self._renew(name, candidates(versions, self._current(name)))

    async def watch(self, seconds: float = POLL_SECONDS) -> NoReturn:
        """Try refused versions again when their files have changed, and then not for `seconds`."""
        while True:
            await asyncio.sleep(seconds)
            for name, version in await self._refusals.changed():
                async with self._lock:
                    if version in candidates(self._catalogue.versions(name), self._current(name)):
                        _log.info("the files of bundle %s version %s have changed: trying it again", name, version)
                        await self._renew(name, [version])

    async def _renew(self, name: str, versions: Sequence[str]) -> None:
        """Switch to the newest sound version of these, unless it serves already; count the results."""
        if self._is_current(name, versions[-1]):
            return
        try:
            served, refused = await self._load_newest(name, versions, 1)
        except Interrupted as error:
            _log.error("reload of bundle %s was refused: %s", name, error)
            served, refused = 0, 1
        for result in ["ok"] * served + ["refused"] * refused:
            self._on_reload(result)

    async def _load_newest(self, name: str, versions: Sequence[str], count: int) -> tuple[int, int]:
        """Let the `count` newest sound versions of these serve.

        Returns how many do, and how many were refused. Raises `Interrupted`, and then nothing has changed.
        """
        staged: list[Staged] = []
        reasons: list[str] = []
        try:
            for version in reversed(versions):
                if len(staged) == count:
                    break
                before = await self._refusals.look(name, version)
                try:
                    staged.append(await self._stage(name, version))
                except Interrupted:  # Also where it is a RuntimeError.
                    raise
                except (BundleError, RuntimeError) as error:
                    _log.warning("bundle %s: version %s is refused: %s", name, version, error)
                    self._refusals.add(name, version, before)
                    reasons.append(str(error))
        except BaseException:
            for one in staged:
                self._drop(one)
            raise
        for one in reversed(staged):  # The newest last, which makes it the current one.
            await self._serve(one)
        if staged:
            self._failed.discard(name)
        elif reasons:
            _log.error("bundle %s was not loaded: %s", name, reasons[0])
            if name in self._failed:
                self._fail(name, reasons[0])
        return len(staged), len(reasons)


def candidates(versions: Sequence[str], current: str | None) -> Sequence[str]:
    """Return the versions that may replace the current one: those that are newer.

    If there is none, the newest: its files may have changed. All, if no version is live.
    """
    if current is None:
        return versions
    place = versions.index(current) + 1 if current in versions else len(versions)
    return versions[place:] or versions[-1:]
