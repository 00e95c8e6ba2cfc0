"""A request as the peers read it: what the pipeline looks at, and msgspec structs that hold just that.

FastAPI's own models are in `fastapi_server.py`, since they are part of what is measured there. Nothing is checked
beyond types: the peers do no more work than Listwright, and less checking is in their favour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct, field

from models.contract.features import CandidateLike, Scalar

PATH = "/v1/rerank"
"""Where every peer that lets its user choose the path answers."""


class AnyCandidate(CandidateLike, Protocol):
    """A candidate with its id."""

    @property
    def id(self) -> str: ...


class AnyObjectives(Protocol):
    """α, β, γ; None takes the bundle's."""

    @property
    def click(self) -> float | None: ...
    @property
    def conversion(self) -> float | None: ...
    @property
    def gmv(self) -> float | None: ...


class AnyDiversity(Protocol):
    """λ and window; None takes the bundle's."""

    @property
    def trade_off(self) -> float | None: ...
    @property
    def window(self) -> int | None: ...


class AnyQueue(Protocol):
    """One objective queue."""

    @property
    def name(self) -> str: ...
    @property
    def score(self) -> str: ...


class AnyRequest(Protocol):
    """What the pipeline reads of a request, whichever library decoded it."""

    @property
    def request_id(self) -> str | None: ...
    @property
    def candidates(self) -> Sequence[AnyCandidate]: ...
    @property
    def user(self) -> Mapping[str, Scalar]: ...
    @property
    def context(self) -> Mapping[str, Scalar]: ...
    @property
    def top_n(self) -> int | None: ...
    @property
    def objectives(self) -> AnyObjectives | None: ...
    @property
    def diversity(self) -> AnyDiversity | None: ...
    @property
    def queues(self) -> Sequence[AnyQueue] | None: ...
    @property
    def partition(self) -> Literal["bfs", "dfs"] | None: ...


class Candidate(Struct, gc=False):
    """One item that may be shown."""

    id: str
    scores: dict[str, float]
    price: float | None = None
    features: dict[str, Scalar] = {}
    embedding: list[float] | None = None


class Objectives(Struct, gc=False):
    """α, β, γ."""

    click: float | None = None
    conversion: float | None = None
    gmv: float | None = None


class Diversity(Struct, gc=False):
    """Maximal marginal relevance."""

    trade_off: float | None = field(default=None, name="lambda")
    window: int | None = None


class Queue(Struct, gc=False):
    """One objective queue."""

    name: str
    score: str


class Request(Struct, gc=False):
    """Candidates to re-rank. Fields that are not here (model, timeout_ms, explain) are skipped by the decoder."""

    candidates: list[Candidate]
    request_id: str | None = None
    user: dict[str, Scalar] = {}
    context: dict[str, Scalar] = {}
    top_n: int | None = None
    objectives: Objectives | None = None
    diversity: Diversity | None = None
    queues: list[Queue] | None = None
    partition: Literal["bfs", "dfs"] | None = None
