"""Keep the keys of both listeners those of their files; a wrong file changes nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, Self

from service.access.key import ApiKey, KeysError
from service.access.keys import ApiKeys, FailureReason
from service.access.reading import read_keys
from service.environment import PREFIX
from service.settings import Settings, SettingsError, flag
from service.timing.on_demand import OnDemand

_log = logging.getLogger(__name__)

KeyResult = Literal["ok", "unchanged", "refused"]
SwitchKeys = Callable[[Sequence[ApiKey]], Awaitable[None]]
"""Lets these keys into all processes, and no other."""


@dataclass(frozen=True, slots=True)
class KeyRenewal:
    """Tell what looks at the files have led to; `problem` says why one was refused."""

    result: KeyResult = "unchanged"
    problem: str | None = None


UNCHANGED: Final = KeyRenewal()


class AccessObserver(Protocol):
    """Is told of failures, and of looks at files."""

    def failed(self, reason: FailureReason) -> None:
        """Note a request without a valid key."""

    def reloaded(self, result: str) -> None:
        """Note one look at a file: ``ok``, ``unchanged`` or ``refused``."""


class KeyFile:
    """One file of keys, and the keys that serve from it."""

    def __init__(self, option: str, path: Path, keys: ApiKeys, *, limits: bool) -> None:
        self.name = f"{PREFIX}{option.upper()} ({flag(option)}): {path}"
        self.switch: SwitchKeys | None = None
        """Lets keys into other processes, before this one."""
        self._path = path
        self.keys = keys
        self._limits = limits
        self._live: tuple[ApiKey, ...] = ()

    def load(self) -> None:
        """Take the keys of the start. Raises `SettingsError`."""
        try:
            self._live = read_keys(self._path, limits=self._limits)
        except KeysError as error:
            raise SettingsError(f"{self.name}: {error}") from None
        self.keys.swap(self._live)

    async def renew(self) -> KeyRenewal:
        """Let in the keys of the file, or keep those before if it is wrong."""
        try:
            keys = await asyncio.to_thread(read_keys, self._path, limits=self._limits)
        except KeysError as error:
            problem = f"{self.name}: {error}"
            _log.error("a file of keys is refused, and the keys before it go on: %s", problem)
            return KeyRenewal("refused", problem)
        if keys == self._live:
            return UNCHANGED
        before = {key.name for key in self._live}
        if self.switch is not None:
            await self.switch(keys)
        self.keys.swap(keys)
        self._live = keys
        names = sorted(key.name for key in keys)
        gone = sorted(before.difference(names))
        _log.info("the keys of %s are live: %s; gone: %s", self._path, ", ".join(names), ", ".join(gone) or "none")
        return KeyRenewal("ok")


class Access:
    """The keys of both listeners. Used from the event loop only.

    Reading them waits for no bundle, so that a key can be revoked at any time.
    """

    def __init__(self, public: ApiKeys, admin: ApiKeys, files: Sequence[KeyFile]) -> None:
        self.public = public
        self.admin = admin
        self._files = tuple(files)
        self.reloads = OnDemand("the reload of the keys", self.reload)
        self._turn = asyncio.Lock()
        self._observers: list[AccessObserver] = []

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Read the files that the settings name. Raises `SettingsError`."""
        public = ApiKeys.of(settings)
        admin = public
        files = []
        if settings.api_keys_file is not None:
            files.append(KeyFile("api_keys_file", settings.api_keys_file, public, limits=True))
        if settings.admin_keys_file is not None:
            admin = ApiKeys.of(settings, keys=(), needed=True)
            files.append(KeyFile("admin_keys_file", settings.admin_keys_file, admin, limits=False))
        for file in files:
            file.load()
        return cls(public, admin, files)

    def observe(self, observer: AccessObserver) -> None:
        """Tell `observer` of looks at files, and of failures with keys of the admin listener.

        Failures with those of the public listener are told by `public` itself.
        """
        self._observers.append(observer)
        if self.admin is not self.public:
            self.admin.on_failure(observer.failed)

    def share(self, switch: SwitchKeys) -> None:
        """Let the public listener's keys into other processes first, by `switch`."""
        for file in self._files:
            if file.keys is self.public:
                file.switch = switch

    async def reload(self) -> KeyRenewal:
        """Look at all files; a refusal counts for more than a switch."""
        async with self._turn:
            found = [await file.renew() for file in self._files]
        for renewal in found:
            for observer in self._observers:
                observer.reloaded(renewal.result)
        problems = [renewal.problem for renewal in found if renewal.problem is not None]
        if problems:
            return KeyRenewal("refused", "; ".join(problems))
        return KeyRenewal("ok") if any(renewal.result == "ok" for renewal in found) else UNCHANGED
