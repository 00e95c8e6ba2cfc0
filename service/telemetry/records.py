"""Record one request and the figures of its list, for metrics and logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, Literal, NamedTuple, get_args

import numpy as np

from models.contract.arrays import AnyArray, Ints
from service.access.failures import NO_PEER
from service.access.key import NO_KEY
from service.contract.field_values import FieldCounts
from service.contract.schemas import DegradedReason, Item, Source
from service.scenes.scene import NO_SCENE
from service.transport.asgi import Trace

RequestOutcome = Literal["ok", "degraded", "invalid", "cancelled", "rejected", "error"]
OUTCOMES: Final[tuple[RequestOutcome, ...]] = get_args(RequestOutcome)
"""ok, degraded: a list. invalid: 4xx. cancelled: the client left. rejected: 503. error: 500."""

ANSWERED: Final[frozenset[RequestOutcome]] = frozenset(("ok", "degraded"))
"""Outcomes with a list."""

RequestStage = Literal["lag", "decode", "deal", "live", "encode", "wait", "infer", "respond"]
STAGES: Final[tuple[RequestStage, ...]] = get_args(RequestStage)
"""lag: from the first bytes to the handler. decode: from arrival to a decoded request. deal: checks, defaults and
objective queues. live: reading live values of items, where there is a source. encode: features. wait: for the engine.
infer: its run. respond: encoding and sending."""

NO_MODEL: Final = "none"
"""Label of requests that ended before their model was known."""

Choice = Literal["plan", "sort", "bypass"]
CHOICES: Final[tuple[Choice, ...]] = get_args(Choice)
"""Who made a list that is not degraded. plan: the model. sort: the model valued the sort's list higher than its own.
bypass: the model was not run, as nothing learnt is kept for the objectives asked for, or no candidate may be
returned."""

ShadowOutcome = Literal["scored", "dropped", "skipped", "unfit", "unknown", "failed"]
SHADOW_OUTCOMES: Final[tuple[ShadowOutcome, ...]] = get_args(ShadowOutcome)
"""scored: compared. dropped: there was other work, or no time. skipped: the shadow itself had answered, or no model had
chosen an item. unfit: no request for the shadow. unknown: the shadow is not live. failed: it broke."""

SHADOW_DEPTHS: Final = (1, 3, 5, 10)
"""Numbers of first items whose overlap is measured; those past the end of the list are left out."""


ItemState = Literal["known", "unknown"]
ITEM_STATES: Final[tuple[ItemState, ...]] = get_args(ItemState)
"""Whether the catalogue of items has a candidate."""


def refused_outcome(status: int) -> RequestOutcome:
    """Return the outcome of a request that was answered with a problem of this status."""
    return "invalid" if status < 500 else "rejected" if status == 503 else "error"


@dataclass(frozen=True, slots=True)
class ItemCounts:
    """Count the encoded candidates of one request by `ITEM_STATES`."""

    known: int
    unknown: int


@dataclass(frozen=True, slots=True)
class ListHealth:
    """Figures of one list. `diversity` is None where fewer than two items have an embedding."""

    diversity: float | None
    displacement: float
    queues: tuple[int, ...]
    sources: Mapping[Source, int]


def list_health(items: Sequence[Item], queues: Ints, of: int, rows: AnyArray) -> ListHealth:
    """Compute the figures of one list.

    `queues` are the queues of the model's choices, out of `of`, and `rows` their embeddings. Rows [n, E] have length 1,
    or are zero where an item has no embedding.
    """
    moved = sum(abs(item.index + 1 - item.position) for item in items)
    return ListHealth(
        diversity=mean_distance(rows),
        displacement=moved / len(items),
        queues=tuple(np.bincount(queues, minlength=of).tolist()),
        sources=Counter([item.source for item in items]),
    )


def mean_distance(rows: AnyArray) -> float | None:
    """Return the mean of 1 − cosine over all pairs of rows [n, E].

    Rows have length 1, or are zero and left out; None for fewer than two. By Σ_{i≠j} v_i·v_j = |Σ v|² − Σ |v|², so the
    cost grows with n, not n².
    """
    vectors = np.asarray(rows, np.float64)
    lengths = np.square(vectors).sum(axis=1)
    n = int(np.count_nonzero(lengths))
    if n < 2:
        return None
    total = vectors.sum(axis=0)
    return float(1 - (total @ total - lengths.sum()) / (n * (n - 1)))


class Lap(NamedTuple):
    """One stage without a break, from `start` to `end` on `perf_counter`'s clock."""

    stage: RequestStage
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class SpanFacts:
    """Hold the trace, the arrival and the laps of a request whose trace is exported."""

    trace: Trace
    arrival: float
    laps: Sequence[Lap]


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request, however it ended.

    Times are in seconds; `reason` is the slug of the problem, if any. `choice` is the maker of a list that is not
    degraded; `degraded` the reason why it is not the model's, and `would_degrade` the reason there would have been, had
    deadlines been enforced. `ignored_headers` are timeouts that cannot be read. `fields` counts the values of the
    candidates that were encoded, `items` those that the catalogue knows, if there is one. `ignored_pins` counts pins of
    the scene that could not be kept. `key` is the name of the API key, never the key. `level` is who chose a degraded
    list, `span_id` our span in the caller's trace, `peer` the address of the connection, `batch_id` the id of the batch
    that the request came in. `spans` has what the spans of a request need, if its trace is exported.
    """

    request_id: str
    trace_id: str | None
    outcome: RequestOutcome
    status: int
    seconds: float
    reason: str | None
    model: str
    version: str
    stages: Mapping[RequestStage, float]
    candidates: int
    batch_size: int
    health: ListHealth | None
    degraded: DegradedReason | None = None
    would_degrade: DegradedReason | None = None
    ignored_headers: tuple[str, ...] = ()
    choice: Choice | None = None
    fields: FieldCounts | None = None
    scene: str = NO_SCENE
    ignored_pins: int = 0
    items: ItemCounts | None = None
    key: str = NO_KEY
    level: Source | None = None
    span_id: str | None = None
    peer: str = NO_PEER
    batch_id: str | None = None
    spans: SpanFacts | None = None


@dataclass(frozen=True, slots=True)
class ShadowRecord:
    """One sampled request, and its list's agreement with the shadow's.

    `tau` is Kendall's τ-b, −1…1, and `overlap` the share of common items, 0…1, by the number of items looked at.
    """

    model: str
    version: str
    outcome: ShadowOutcome
    tau: float | None = None
    overlap: Mapping[int, float] = field(default_factory=dict)


RequestObserver = Callable[[RequestRecord], None]

BatchObserver = Callable[[RequestRecord, Mapping[RequestOutcome, int]], None]
"""Told of a batch as a whole, and of its requests that were answered: how many had each outcome."""


class Stopwatch:
    """Time the stages of one request, in seconds from its arrival."""

    __slots__ = ("_last", "arrival", "stages")

    def __init__(self, arrival: float, lag: float) -> None:
        self.arrival = arrival
        self.stages: dict[RequestStage, float] = {"lag": lag}
        self._last = arrival

    def lap(self, stage: RequestStage) -> None:
        """Add the time since the last lap, or since arrival, to `stage`."""
        now = perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self._last
        self._last = now

    def engine_ran(self, started: float, wait: float, infer: float) -> None:  # noqa: ARG002 - see `spans.py`
        """Give `wait` and `infer` the engine's own times, and begin the next lap.

        The run began at `started` on `perf_counter`'s clock.
        """
        self.stages["wait"], self.stages["infer"] = wait, infer
        self._last = perf_counter()

    def engine_missed(self) -> None:
        """Note that the wait has ended without an answer.

        Its time stays part of the next lap.
        """

    @property
    def elapsed(self) -> float:
        """Seconds since arrival."""
        return perf_counter() - self.arrival
