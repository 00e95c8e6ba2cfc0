"""Keep what serves that of its files; a wrong file changes nothing.

Scenes and catalogues of items are kept so, beside the bundles.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from service.bundles.model import Interrupted

Result = Literal["ok", "unchanged", "refused"]


@dataclass(frozen=True, slots=True)
class Renewal:
    """Tell what a look at the files has led to.

    `switched` says that something new serves; `problem` why something was refused; `fault` that the reason is none of
    the files'.
    """

    switched: bool = False
    problem: str | None = None
    fault: bool = False

    @property
    def result(self) -> Result:
        """Say it in one word; a refusal counts for more than a switch."""
        if self.problem is not None:
            return "refused"
        return "ok" if self.switched else "unchanged"


UNCHANGED: Final = Renewal()

OnRenewal = Callable[[Renewal, bool], None]
"""Told what came of each look at the files, and whether it counts: the one at start does not."""


class Renewing(ABC):
    """Look at some files, and switch to what they say.

    Used from the event loop only.
    """

    def __init__(self, refusal: type[Exception], on_renewal: OnRenewal) -> None:
        """Take errors of type `refusal` for faults of the files."""
        self._refusal = refusal
        self._on_renewal = on_renewal
        self._tried: object = None
        self._last: object = None
        self.outcome = UNCHANGED
        """What came of the last look that was noted."""

    @abstractmethod
    def _stamp(self) -> object:
        """Describe the files: equal while they stay as they are. In any thread."""

    @abstractmethod
    async def _renew(self) -> Renewal:
        """Look, and switch. Raises a refusal, `Interrupted` or `RuntimeError`; then nothing has changed."""

    @abstractmethod
    def _log_refusal(self, problem: str) -> None:
        """Log that something was refused, and what goes on instead."""

    async def renew(self) -> Renewal:
        """Switch to what the files say, unless it serves already; say what came of it."""
        self._tried = self._last = await asyncio.to_thread(self._stamp)
        try:
            return await self._renew()
        except self._refusal as error:
            return Renewal(problem=str(error))
        except (Interrupted, RuntimeError) as error:
            return Renewal(problem=f"{error}; nothing has changed", fault=True)

    def note(self, outcome: Renewal, *, count: bool = True) -> None:
        """Keep an outcome, log a refusal, and tell; `count` unless it is the start's."""
        self.outcome = outcome
        if outcome.problem is not None:
            self._log_refusal(outcome.problem)
        self._on_renewal(outcome, count)

    @property
    def is_refused(self) -> bool:
        """Tell whether anything was refused when the files were last looked at."""
        return self.outcome.problem is not None

    async def changed(self) -> bool:
        """Tell whether refused files should be tried again.

        Those are files that have changed, but not since the last call: who writes may not have finished. Files that
        were refused for a `fault` need not have changed.
        """
        if not self.is_refused:
            return False
        now = await asyncio.to_thread(self._stamp)
        stable, self._last = now == self._last, now
        return stable and (self.outcome.fault or now != self._tried)
