"""Bound the time and size of requests, and say when they are refused."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from service.options.values import LONGEST_SECONDS, Milliseconds

DeadlineMode = Literal["enforce", "observe"]


class RequestOptions(BaseModel):
    """Budgets of requests, their size, and refusals."""

    budget_ms: Milliseconds = Field(19.0, description="Latency budget of one request, in milliseconds.")
    batch_budget_ms: Milliseconds = Field(
        250.0, description="Latency budget of each request of `POST /v1/rerank/batch`, in milliseconds."
    )
    deadline_mode: DeadlineMode = Field(
        "enforce",
        description="`enforce`: the score formula answers if the model cannot be in time, and requests are shed while "
        "a queue stands. `observe`: both are only counted (`rerank_would_degrade_total`).",
    )
    queue_target_ms: Milliseconds = Field(
        5.0, description="A queue stands, and requests are shed, if its shortest delay stays above this."
    )
    queue_interval_ms: Milliseconds = Field(
        50.0, description="Time for which the shortest delay must stay above the target."
    )
    max_in_flight: int = Field(
        64, ge=1, le=100_000, description="Most requests in progress at once; more get 503 before their body is read."
    )
    retry_after_seconds: int = Field(1, ge=1, le=LONGEST_SECONDS, description="`Retry-After` of a 503, in seconds.")
    max_candidates: int = Field(2000, ge=1, description="Most candidates in one request; more get 422.")
    warnings: bool = Field(
        True,
        description="Answers say what the model could not use: fields that are missing, fields that it does not have, "
        "values that it does not know. The counters of it do not depend on this.",
    )

    @property
    def budget_seconds(self) -> float:
        return self.budget_ms / 1e3

    @property
    def batch_budget_seconds(self) -> float:
        return self.batch_budget_ms / 1e3
