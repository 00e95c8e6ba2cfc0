"""What happened to one request: a frozen record, emitted by the endpoint and consumed by observers (metrics, logs)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, Literal, get_args

from service.contract.schemas import DegradedReason, Source

Outcome = Literal["ok", "degraded", "invalid", "cancelled", "rejected", "error"]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
"""ok, degraded: a list. invalid: 4xx. cancelled: the client left. rejected: 503. error: 500."""

Stage = Literal["lag", "decode", "queue", "encode", "wait", "infer", "respond"]
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)

NO_MODEL: Final = "none"
"""Label of requests that ended before their model was known."""

Choice = Literal["plan", "sort", "bypass"]
CHOICES: Final[tuple[Choice, ...]] = get_args(Choice)
"""Who made a list that is not degraded. plan: the model. sort: the model valued the sort's list higher than its own.
bypass: nothing of what the model learnt is kept for what was asked, so it was not run and the sort decided."""

ShadowOutcome = Literal["scored", "dropped", "skipped", "unfit", "unknown", "failed"]
SHADOW_OUTCOMES: Final[tuple[ShadowOutcome, ...]] = get_args(ShadowOutcome)
"""scored: compared. dropped: there was other work, or no time. skipped: the shadow itself had answered, or no model had
chosen an item. unfit: no request for the shadow. unknown: the shadow is not live. failed: it broke."""

SHADOW_DEPTHS: Final = (1, 3, 5, 10)
"""How many of the first items are looked at for their overlap; what is past the end of the list is left out."""


@dataclass(frozen=True, slots=True)
class ListHealth:
    """Figures of one list. `diversity` is None where fewer than two items have an embedding."""

    diversity: float | None
    displacement: float
    queues: tuple[int, ...]
    sources: Mapping[Source, int]


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request, whatever became of it. Times are in seconds; `reason` is the slug of the problem, if any.

    `choice` says who made the list, if it is not degraded; `degraded` why it is not the model's, and `would_degrade`
    what it would have been, had deadlines been enforced. `ignored_headers` are wishes for a deadline that made no
    sense.
    """

    request_id: str
    trace_id: str | None
    outcome: Outcome
    status: int
    seconds: float
    reason: str | None
    model: str
    version: str
    stages: Mapping[Stage, float]
    candidates: int
    batch_size: int
    health: ListHealth | None
    degraded: DegradedReason | None = None
    would_degrade: DegradedReason | None = None
    ignored_headers: tuple[str, ...] = ()
    choice: Choice | None = None


@dataclass(frozen=True, slots=True)
class ShadowRecord:
    """One sampled request: the shadow's name and version and, if it was scored, how far its list agrees.

    `tau` is Kendall's τ-b, −1…1, and `overlap` the share of common items, 0…1, by the number of items looked at.
    """

    model: str
    version: str
    outcome: ShadowOutcome
    tau: float | None = None
    overlap: Mapping[int, float] = field(default_factory=dict)


Observer = Callable[[RequestRecord], None]


@dataclass(slots=True)
class Progress:
    """What is known so far of a request in progress; becomes its record.

    `health` is called when the answer is on its way: figures for the SRE are not worth the client's time.
    `foreseen_wait` is how many seconds the model was expected to take when the request was ready for it.
    """

    arrival: float
    model: str = NO_MODEL
    version: str = NO_MODEL
    candidates: int = 0
    batch_size: int = 0
    health: Callable[[], ListHealth] | None = None
    degraded: DegradedReason | None = None
    would_degrade: DegradedReason | None = None
    ignored_headers: tuple[str, ...] = ()
    choice: Choice | None = None
    foreseen_wait: float = 0.0
    stages: dict[Stage, float] = field(default_factory=dict)
    _last: float = 0.0

    def __post_init__(self) -> None:
        self._last = self.arrival

    def end(self, stage: Stage) -> None:
        """The time since the last call (or arrival) went into `stage`."""
        now = perf_counter()
        self.stages[stage] = now - self._last
        self._last = now

    def skip(self) -> None:
        """The time since the last call is accounted for already."""
        self._last = perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds since arrival."""
        return perf_counter() - self.arrival
