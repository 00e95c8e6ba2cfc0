"""Define a request as the peers read it: protocols, and msgspec structs that satisfy them.

FastAPI's own models are in `fastapi_server.py`, since they are part of what is measured there. Nothing is checked
beyond types: the peers do no more work than Listwright, and less checking is in their favour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct, field

from models.contract.features import CandidateLike, Scalar
from models.contract.slots import QueueLike


class AnyCandidate(CandidateLike, Protocol):
    """Offer a candidate with its id."""

    @property
    def id(self) -> str: ...


class AnyObjectives(Protocol):
    """Offer α, β, γ; None takes the bundle's."""

    click: float | None
    conversion: float | None
    gmv: float | None


class AnyDiversity(Protocol):
    """Offer λ and window; None takes the bundle's."""

    trade_off: float | None
    window: int | None


class AnyRequest(Protocol):
    """Offer the fields that the pipeline reads, from whichever library decoded them."""

    request_id: str | None
    user: dict[str, Scalar]
    context: dict[str, Scalar]
    top_n: int | None
    partition: Literal["bfs", "dfs"] | None

    @property
    def candidates(self) -> Sequence[AnyCandidate]: ...
    @property
    def objectives(self) -> AnyObjectives | None: ...
    @property
    def diversity(self) -> AnyDiversity | None: ...
    @property
    def queues(self) -> Sequence[QueueLike] | None: ...


class Candidate(Struct, gc=False):
    """Hold one item that may be shown."""

    id: str
    scores: dict[str, float]
    price: float | None = None
    features: dict[str, Scalar] = {}
    embedding: list[float] | None = None


class Objectives(Struct, gc=False):
    """Hold α, β, γ."""

    click: float | None = None
    conversion: float | None = None
    gmv: float | None = None


class Diversity(Struct, gc=False):
    """Hold the settings of maximal marginal relevance."""

    trade_off: float | None = field(default=None, name="lambda")
    window: int | None = None


class Queue(Struct, gc=False):
    """Hold one objective queue."""

    name: str
    score: str


class Request(Struct, gc=False):
    """Hold the candidates to re-rank; the decoder skips other fields, such as `explain`."""

    candidates: list[Candidate]
    request_id: str | None = None
    user: dict[str, Scalar] = {}
    context: dict[str, Scalar] = {}
    top_n: int | None = None
    objectives: Objectives | None = None
    diversity: Diversity | None = None
    queues: list[Queue] | None = None
    partition: Literal["bfs", "dfs"] | None = None
