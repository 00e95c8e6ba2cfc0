"""Keep the live catalogues those of their folder.

A version that is refused changes nothing: an older sound one serves, or the one before goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from models.contract.catalogue.manifest import FINGERPRINT_DIGITS, CatalogueError
from models.contract.catalogue.manifest import CatalogueManifest as Manifest
from service.bundles.renewing import OnRenewal, Renewal, Renewing
from service.bundles.retired_catalogues import RetiredCatalogues
from service.catalogues.choosing import Choice, choose
from service.catalogues.folder import CatalogueFolder, Stamp
from service.catalogues.load import CheckedCatalogue, SoundCatalogue
from service.inference.aside import low_priority, run_aside
from service.settings import Settings

_log = logging.getLogger(__name__)

SwitchCatalogues = Callable[[Sequence[CheckedCatalogue]], Awaitable[None]]
"""Opens catalogues and lets them serve, and no other. Raises `CatalogueError`, `RuntimeError` or `Interrupted`."""


@dataclass(frozen=True)
class CatalogueOptions:
    """Say where catalogues are.

    `needed` says that this folder must be there, `copy` that files are copied into sealed memory, `seconds` how long a
    look at them may take.
    """

    root: Path
    needed: bool = False
    copy: bool = False
    seconds: float | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Read the options from the settings."""
        return cls(
            settings.catalogue_root,
            needed=settings.catalogue is not None,
            copy=settings.catalogue_copy,
            seconds=settings.load_timeout_seconds,
        )


class CatalogueFiles(Renewing):
    """Check the catalogues of a folder, and switch to those that are new and sound.

    `gently` tells whether requests are answered meanwhile.
    """

    def __init__(
        self,
        options: CatalogueOptions,
        switch: SwitchCatalogues,
        on_renewal: OnRenewal,
        gently: Callable[[], bool],
    ) -> None:
        super().__init__(CatalogueError, on_renewal)
        self._folder = CatalogueFolder(options.root, needed=options.needed)
        self._copy, self._seconds = options.copy, options.seconds
        self._switch = switch
        self._gently = gently
        self._served = Choice()
        self._retired = RetiredCatalogues()
        self._root: Stamp = ()
        self._watched: tuple[Path, ...] = ()
        self._missing: Mapping[str, str] | None = None

    @property
    def served(self) -> list[Manifest]:
        """Return the manifests of the live catalogues."""
        return [sound.manifest for sound in self._served.sound.values()]

    @property
    def failure(self) -> str | None:
        """Return why catalogues of the start do not serve, or None."""
        if self._missing is None:  # None has been found that could be served.
            return self.outcome.problem
        return "; ".join(self._missing.values()) or None

    async def _renew(self) -> Renewal:
        try:
            return await self._switch_to(await self._look())
        except _Replaced as error:
            _log.warning("catalogues are looked at again: %s", error)
            return await self._switch_to(await self._look())

    async def _look(self) -> Choice:
        """Choose what to serve, in a thread. Raises `CatalogueError`."""

        served, gently = self._served, self._gently()

        def look() -> Choice:
            with low_priority(gently):
                return choose(self._folder, served, copy=self._copy)

        self._root, self._watched = await asyncio.to_thread(self._folder.root_stamp), ()
        self._tried = self._last = (self._root,)
        try:
            async with asyncio.timeout(self._seconds):  # A store that hangs must not keep bundles from being loaded.
                choice = await run_aside(look)
        except TimeoutError:
            limit = f"{self._seconds} s (LISTWRIGHT_LOAD_TIMEOUT_SECONDS)"
            raise CatalogueError(f"reading it took longer than {limit}") from None
        self._watch({path: refusal.stamp for path, refusal in choice.refused.items()})
        return choice

    async def _switch_to(self, choice: Choice) -> Renewal:
        """Let a choice serve, unless it does already. Raises `_Replaced`, or as `SwitchCatalogues` does."""
        switched = choice.checked != self._served.checked
        if switched:
            await self._switch_and_retire(choice)
            _log.info("serving catalogues: %s", ", ".join(map(_name, choice.sound.values())) or "none")
        self._served = choice
        started = self._missing is not None
        self._missing = {k: why for k, why in choice.missing.items() if not started or k in (self._missing or ())}
        return Renewal(switched=switched, problem=choice.problem)

    async def _switch_and_retire(self, choice: Choice) -> None:
        """Let a choice serve, then give up the one that does not.

        Raises like `_switch_to`.
        """
        try:
            await self._switch(choice.checked)
        except CatalogueError as error:  # Sound when they were checked, so they have been replaced since.
            self._watch({Path(sound.checked.folder): sound.stamp for sound in choice.sound.values()})
            self._retired.drop(choice)
            raise _Replaced(str(error)) from None
        except BaseException:
            self._retired.drop(choice)
            raise
        self._retired.drop(self._served)

    def _log_refusal(self, problem: str) -> None:
        _log.error("a catalogue is refused, and what served before goes on: %s", problem)

    def _watch(self, versions: Mapping[Path, Stamp]) -> None:
        """Take these versions, as they were, for those that are tried again when they change."""
        self._watched = tuple(versions)
        self._tried = self._last = (self._root, *versions.values())

    def _stamp(self) -> tuple[Stamp, ...]:
        return (self._folder.root_stamp(), *map(self._folder.stamp, self._watched))


class _Replaced(CatalogueError):
    """Files were replaced between their check and their opening."""


def _name(sound: SoundCatalogue) -> str:
    return f"{sound.manifest.fingerprint[:FINGERPRINT_DIGITS]}/{sound.manifest.version}"
