"""Check the keys that open a listener: `Authorization: Bearer KEY`.

Without keys in the settings, everyone may use the service. Used from the event loop only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import sha256
from typing import Final, Literal, NamedTuple, Self, get_args

from fastapi import Request

from service.access.failures import NO_PEER, FailureLimit, host_of, peer_of
from service.access.key import ApiKey, numbered
from service.contract.problems import RATE_LIMITED, TOO_MANY_ATTEMPTS, UNAUTHORIZED, Problem
from service.settings import Settings
from service.timing.bucket import TokenBucket

_SCHEME: Final = "bearer"
_FAILURES: Final = 20

FailureReason = Literal["missing", "unknown", "limited"]
FAILURE_REASONS: Final[tuple[FailureReason, ...]] = get_args(FailureReason)
"""missing: no key was sent. unknown: the key is none of the live ones. limited: the same, after too many of them."""


class KeyLimit(NamedTuple):
    """The limit of a key, as a request that is over it is told.

    `rate` is that of all processes together; after `retry_after_seconds` there is surely a token.
    """

    key: str
    rate: float
    retry_after_seconds: int

    def problem(self) -> Problem:
        """Make the 429."""
        detail = f"the key {self.key!r} may send {self.rate:g} requests per second"
        return Problem(RATE_LIMITED, detail, headers={"retry-after": str(self.retry_after_seconds)})


class ApiKeys:
    """The live keys of a listener, which are swapped all at once.

    Where keys are `needed` and there is none yet, nothing is let in. Each of `shares` processes lets through its part
    of a key's limit.
    """

    def __init__(
        self,
        keys: Sequence[ApiKey] = (),
        *,
        needed: bool | None = None,
        shares: int = 1,
        failures: FailureLimit | None = None,
    ) -> None:
        self.needed = bool(keys) if needed is None else needed
        self._shares = shares
        self._failures = FailureLimit(_FAILURES) if failures is None else failures
        self._live: tuple[ApiKey, ...] = ()
        self._names: Mapping[bytes, str] = {}
        self._limits: dict[str, tuple[KeyLimit, TokenBucket]] = {}
        self._swapped: list[Callable[[Collection[str]], None]] = []
        self._failed: list[Callable[[FailureReason], None]] = []
        self.swap(keys)

    @classmethod
    def of(cls, settings: Settings, *, keys: Sequence[ApiKey] | None = None, needed: bool | None = None) -> Self:
        """Make what the settings say.

        By default the keys are those of the variable; if they are in a file, none is let in before a swap.
        """
        return cls(
            numbered(settings.api_keys) if keys is None else keys,
            needed=bool(settings.api_keys or settings.api_keys_file) if needed is None else needed,
            shares=settings.workers,
            failures=FailureLimit(settings.key_failures_per_minute),
        )

    @property
    def live(self) -> Sequence[ApiKey]:
        """Return the live keys, to be sent to another process."""
        return self._live

    @property
    def names(self) -> Collection[str]:
        """Return the names of the live keys."""
        return frozenset(self._names.values())

    @property
    def are_limited(self) -> bool:
        """Tell whether any live key has a limit."""
        return bool(self._limits)

    def swap(self, keys: Sequence[ApiKey]) -> None:
        """Let these keys in from now on, and no other.

        A limit that stays as it was goes on with the tokens that it has.
        """
        names: dict[bytes, str] = {}
        limits: dict[str, tuple[KeyLimit, TokenBucket]] = {}
        for key in keys:
            names.setdefault(bytes.fromhex(key.sha256), key.name)
            if (limit := self._limit(key)) is not None:
                former = self._limits.get(key.name)
                kept = former is not None and former[0] == limit
                limits[key.name] = former if kept and former is not None else (limit, self._bucket(limit))
        self._live, self._names, self._limits = tuple(keys), names, limits
        for tell in self._swapped:
            tell(self.names)

    def on_swap(self, tell: Callable[[Collection[str]], None]) -> None:
        """Call `tell` with the names of the keys, now and after each swap."""
        self._swapped.append(tell)
        tell(self.names)

    def on_failure(self, tell: Callable[[FailureReason], None]) -> None:
        """Call `tell` with the reason of each failure."""
        self._failed.append(tell)

    def find(self, authorization: str | None) -> str | None:
        """Return the name of the live key in a header, or None."""
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != _SCHEME:
            return None
        # Looking up a digest takes as long for any number of keys, and its time tells nothing about them: whoever
        # guesses cannot choose digests, and secrets of enough entropy are not found from them.
        return self._names.get(sha256(given.strip().encode("utf-8", "surrogateescape")).digest())

    def check(self, authorization: str | None, peer: str = NO_PEER) -> str | None:
        """Return the name of the key in a header; None where none is needed.

        Raises `Problem`: 401 for a header without a live key, 429 if its peer has tried too many wrong ones.
        """
        if not self.needed:
            return None
        name = self.find(authorization)
        if name is None:
            raise self._refuse(authorization, peer)
        return name

    async def guard(self, request: Request) -> None:
        """Raise `Problem` for a request without a live key. Routes may depend on it."""
        self.check(request.headers.get("authorization"), peer_of(request.scope))

    def take(self, name: str) -> KeyLimit | None:
        """Count one request against the key's limit; return the limit if it is over it."""
        found = self._limits.get(name)
        return None if found is None or found[1].take() else found[0]

    def look(self, name: str) -> KeyLimit | None:
        """Return the key's limit if the next request would be over it."""
        found = self._limits.get(name)
        return found[0] if found is not None and found[1].is_empty else None

    def _limit(self, key: ApiKey) -> KeyLimit | None:
        rate = key.requests_per_second
        return None if rate is None else KeyLimit(key.name, rate, max(1, math.ceil(self._shares / rate)))

    def _bucket(self, limit: KeyLimit) -> TokenBucket:
        """Make a full bucket: it holds the requests of one second, and at least one."""
        rate = limit.rate / self._shares
        return TokenBucket(rate, max(1.0, rate))

    def _refuse(self, authorization: str | None, peer: str) -> Problem:
        """Count a failure, and make its problem."""
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != _SCHEME or not given.strip():
            wait = None
            self._tell("missing")
        else:
            wait = self._failures.note(host_of(peer))
            self._tell("unknown" if wait is None else "limited")
        if wait is None:
            detail = "send Authorization: Bearer KEY with a valid key"
            return Problem(UNAUTHORIZED, detail, headers={"www-authenticate": "Bearer"})
        headers = {"retry-after": str(max(1, math.ceil(wait)))}
        return Problem(TOO_MANY_ATTEMPTS, "too many wrong keys came from this address", headers=headers)

    def _tell(self, reason: FailureReason) -> None:
        for tell in self._failed:
            tell(reason)
