"""Know how values lie in Redis, and what it has said of them lately.

``<prefix>fingerprint`` is a string: the fingerprint of the spec that the values are for; without it they are for any.
Each field is one hash, from an item's id to its value as JSON: ``<prefix>price`` and ``<prefix>features:<name>``.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

from models.contract.scalars import Scalar
from service.catalogues.live_cache import LiveCache, Unknown
from service.catalogues.live_values import Column
from service.catalogues.redis_link import Command, CommandError, LinkError
from service.catalogues.source import LiveObserver, ValueState
from service.timing.limiter import LogLimiter, left_out

_log = logging.getLogger(__name__)
_MOST_KEYS: Final = 4096  # Rules name fields, so clients could make it grow.

Wanted = dict[Column, dict[str, None]]
"""Ids by column, each once."""


@dataclass(frozen=True, slots=True)
class Question:
    """Hold the commands of one exchange, and what each asks for.

    The first says `mark` back, so that a reply can never be taken for another's. `checked` says for each column of
    `wanted` whether it is asked if the hash exists at all.
    """

    commands: Sequence[Command]
    mark: bytes
    wanted: Wanted
    checked: Sequence[bool]


class RedisStore:
    """Write questions, and take replies into the cache.

    Whether a hash exists is asked once in `seconds`, in the same exchange as its values: one that does not costs
    nothing until then. `clock` never goes back.
    """

    def __init__(
        self, prefix: str, observer: LiveObserver, *, seconds: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self.cache = LiveCache(seconds=seconds, clock=clock)
        self.fault: str | None = None
        self._prefix = prefix
        self._observer = observer
        self._seconds = seconds
        self._clock = clock
        self._fingerprint: str | None = None
        self._fingerprint_until = 0.0
        self._exists: dict[str, tuple[bool, float]] = {}
        self._marks = itertools.count()
        self._limiter = LogLimiter()

    def fits(self, fingerprint: str) -> bool:
        """Tell whether values are for this spec; true while that is not known."""
        if self._clock() >= self._fingerprint_until:
            return True
        if self._fingerprint in (None, fingerprint):
            return True
        self._complain(
            "fingerprint",
            f"live values are for the spec {self._fingerprint!r}, not for {fingerprint!r}: a model does without them",
        )
        return False

    def find(self, column: Column, ids: Sequence[str]) -> Sequence[Scalar | Unknown]:
        """Return what is known of these ids, `UNKNOWN` for what must be asked."""
        exists, until = self._exists.get(column.key, (True, 0.0))
        if not exists and self._clock() < until:
            return [None] * len(ids)
        return self.cache.find(column, ids)

    def question(self, wanted: Wanted) -> Question:
        """Write the commands that ask for these values, and for the fingerprint."""
        mark = f"listwright {next(self._marks)}"
        commands: list[Command] = [("ECHO", mark), ("GET", self._prefix + "fingerprint")]
        checked = []
        now = self._clock()
        for column, ids in wanted.items():
            key = self._prefix + column.key
            checked.append(now >= self._exists.get(column.key, (True, 0.0))[1])
            if checked[-1]:
                commands.append(("EXISTS", key))
            commands.append(("HMGET", key, *ids))
        return Question(commands, mark.encode(), wanted, checked)

    def take(self, question: Question, replies: Sequence[object]) -> None:
        """Take the replies to a question. Raises `LinkError` if they are none to it."""
        reply = iter(replies)
        mark = next(reply)
        if mark != question.mark:
            raise LinkError(mark.text if isinstance(mark, CommandError) else "an answer was to another question")
        self._take_fingerprint(next(reply))
        counts: Counter[ValueState] = Counter()
        for (column, ids), checked in zip(question.wanted.items(), question.checked, strict=True):
            counts.update(self._take_column(column, list(ids), checked, reply))
        if question.wanted:
            self._observer.values(counts)
        self.fault = None

    def failed(self, reason: str) -> None:
        """Note why an exchange failed."""
        self.fault = reason
        self._complain("error", f"live values cannot be read: {reason}")

    def _take_fingerprint(self, reply: object) -> None:
        if isinstance(reply, CommandError) and not reply.wrong_type:
            raise LinkError(reply.text)
        if reply is None:
            found = None
        else:  # A key of another type is a fingerprint that fits no spec.
            found = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else "of the wrong type"
        if found != self._fingerprint:
            self.cache.clear()
        self._fingerprint, self._fingerprint_until = found, self._clock() + self._seconds

    def _take_column(
        self, column: Column, ids: Sequence[str], checked: bool, reply: Iterator[object]
    ) -> Mapping[ValueState, int]:
        exists = next(reply) if checked else 1
        values = next(reply)
        if isinstance(values, CommandError):
            if not values.wrong_type:
                raise LinkError(values.text)
            self._note(column, False)
            self._complain(f"type of {column.key}", f"live values: {self._prefix}{column.key} is no hash")
            return {"refused": len(ids)}
        if not isinstance(values, list) or len(values) != len(ids) or exists not in (0, 1):
            raise LinkError("an answer is not what was asked for")
        if checked:
            self._note(column, exists == 1)
        if not exists:
            return {}
        return self._decode(column, ids, values)

    def _decode(self, column: Column, ids: Sequence[str], raws: Sequence[bytes | None]) -> Mapping[ValueState, int]:
        refused = 0
        try:
            values = column.decode_all(raws)
        except (ValueError, TypeError):
            values, refused = self._decode_each(column, ids, raws)
        self.cache.put(column, dict(zip(ids, values, strict=True)))
        missing = values.count(None) - refused
        return {"known": len(values) - missing - refused, "refused": refused, "missing": missing}

    def _decode_each(
        self, column: Column, ids: Sequence[str], raws: Sequence[bytes | None]
    ) -> tuple[list[Scalar], int]:
        """Decode values one by one, and count those that are refused, which are missing then."""
        values: list[Scalar] = []
        refused = 0
        for name, raw in zip(ids, raws, strict=True):
            try:
                values.append(None if raw is None else column.decode(raw))
            except ValueError as error:
                values.append(None)
                refused += 1
                self._complain("value", f"live values: {self._prefix}{column.key} of {name!r} is refused: {error}")
        return values, refused

    def _note(self, column: Column, exists: bool) -> None:
        if len(self._exists) >= _MOST_KEYS:
            self._exists.clear()
        self._exists[column.key] = exists, self._clock() + self._seconds

    def _complain(self, kind: str, text: str) -> None:
        """Log a fault, but not every time."""
        suppressed = self._limiter.ready(kind)
        if suppressed is not None:
            _log.warning("%s%s", text, left_out(suppressed))
