"""Define request and response as pydantic models, as users of FastAPI do."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from models.contract.scalars import Scalar


class Candidate(BaseModel):
    """Hold one item that may be shown."""

    id: str
    scores: dict[str, float]
    price: float | None = None
    features: dict[str, Scalar] = {}
    embedding: list[float] | None = None


class CandidateColumns(BaseModel):
    """Hold the candidates as columns: arrays, or base64 of float32."""

    id: list[str]
    scores: dict[str, list[float | None] | str]
    price: list[float | None] | str | None = None
    features: dict[str, list[Scalar] | str] = {}
    embedding: list[list[float] | None] | str | None = None
    tags: dict[str, list[Scalar] | str] = {}


class Objectives(BaseModel):
    """Hold α, β, γ."""

    click: float | None = None
    conversion: float | None = None
    gmv: float | None = None


class Diversity(BaseModel):
    """Hold the settings of maximal marginal relevance."""

    trade_off: float | None = Field(default=None, alias="lambda")
    window: int | None = None


class Queue(BaseModel):
    """Hold one objective queue."""

    name: str
    score: str


class RerankRequest(BaseModel):
    """Hold the candidates to re-rank."""

    candidates: list[Candidate] | CandidateColumns
    request_id: str | None = None
    user: dict[str, Scalar] = {}
    context: dict[str, Scalar] = {}
    top_n: int | None = None
    objectives: Objectives | None = None
    diversity: Diversity | None = None
    queues: list[Queue] | None = None
    partition: Literal["bfs", "dfs"] | None = None


class Item(BaseModel):
    """Hold one item of the list."""

    id: str
    index: int
    position: int
    source: str


class RerankResponse(BaseModel):
    """Hold the list."""

    request_id: str | None
    model: str
    version: str
    items: list[Item]
    value: dict[str, float]
    degraded: None
    timings_ms: dict[str, float]
