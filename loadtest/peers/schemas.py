"""Define a request as msgspec structs, for every peer but plain FastAPI.

Nothing is checked beyond types: the peers do no more work than Listwright, and less checking is in their favour.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from models.contract.scalars import Scalar


class Candidate(Struct, gc=False):
    """Hold one item that may be shown."""

    id: str
    scores: dict[str, float]
    price: float | None = None
    features: dict[str, Scalar] = {}
    embedding: list[float] | None = None


class CandidateColumns(Struct, gc=False):
    """Hold the candidates as columns: arrays, or base64 of float32."""

    id: list[str]
    scores: dict[str, list[float | None] | str]
    price: list[float | None] | str | None = None
    features: dict[str, list[Scalar] | str] = {}
    embedding: list[list[float] | None] | str | None = None
    tags: dict[str, list[Scalar] | str] = {}


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


class PeerRequest(Struct, gc=False):
    """Hold the candidates to re-rank; the decoder skips other fields, such as `explain`."""

    candidates: list[Candidate] | CandidateColumns
    request_id: str | None = None
    user: dict[str, Scalar] = {}
    context: dict[str, Scalar] = {}
    top_n: int | None = None
    objectives: Objectives | None = None
    diversity: Diversity | None = None
    queues: list[Queue] | None = None
    partition: Literal["bfs", "dfs"] | None = None
