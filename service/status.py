"""Answer the read-only routes.

They are off the hot path, so their types are pydantic models that FastAPI documents itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from models.contract.catalogue.manifest import CatalogueManifest
from models.contract.verdict import Outcome
from service.bundles.model import Model
from service.bundles.registry import Registry
from service.bundles.renewing import Renewal, Result
from service.catalogues.live import Catalogues
from service.telemetry.objectives import SERVICE_OBJECTIVES, TARGET_SHARE
from service.telemetry.rolling import Gathered, WindowCounts


class Health(BaseModel):
    """The service can answer."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    status: Literal["ok"] = "ok"


class VerdictStatus(BaseModel):
    """Verdict of training on the model's lists beside a plain sort by prior scores."""

    outcome: Outcome = Field(
        description="better, same, worse: than the sort; sort: nothing learnt is kept, and the sort is served; "
        "unmeasured: they have not been compared."
    )
    sentence: str = Field(description="The same in plain English.")


class RulesStatus(BaseModel):
    """Rules that a model keeps while it builds a list."""

    groups: int = Field(description="G: the most groups of candidates that it keeps count of.")


class CatalogueStatus(BaseModel):
    """One live catalogue of items."""

    fingerprint: str = Field(description="Of the feature spec that it is encoded for.")
    version: str
    items: int
    embedding_width: int = Field(description="0: no item has an embedding.")
    segments: int = Field(description="A base, and the updates since.")


class ModelStatus(BaseModel):
    """One live model, and the requests that it can answer."""

    name: str
    version: str
    family: str
    provider: str = Field(description="Provider of ONNX Runtime: cpu or cuda.")
    default: bool = Field(description="Serves requests that name no model.")
    current: bool = Field(description="Serves requests that name no version.")
    fingerprint: str = Field(description="SHA-256 of the feature spec.")
    list_length: int = Field(description="L: the longest list that the model makes, and the default top_n.")
    max_queues: int
    max_encoded: int = Field(description="Most candidates that the model looks at; the rest follow by the fallback.")
    max_candidates: int = Field(description="As `max_encoded`; not that of `limits` in `/v1/models/{name}`.")
    head_width: int
    beam_width: int = Field(description="Number of lists that are built side by side; 1: greedy.")
    queues: list[dict[str, str]] = Field(description="Default queues in priority order.")
    partition: str
    objectives: dict[str, float] = Field(description="Default weights.")
    fixed_objectives: bool = Field(description="The model takes only the mix of its default weights.")
    valued: list[str] = Field(description="Objectives that the model values; a weight on another is refused.")
    shares: dict[str, float] | None = Field(
        description="Share of the learnt correction that is kept, 0 to 1; null: not known. If it is 0 for all "
        "objectives with a weight, the sort by `fallback` is served without running the model."
    )
    verdict: VerdictStatus
    units: dict[str, float] = Field(description="Mean increment per slot in training; weights are relative to it.")
    diversity: dict[str, float] = Field(description="Default lambda and window.")
    fallback: str = Field(description="Formula that orders the candidates after the model's.")
    rules: RulesStatus | None = Field(description="null: rules that the model itself would have to keep are refused.")
    catalogue: CatalogueStatus | None = Field(
        description="Catalogue of items that requests to the model are answered with; null: there is none for its spec."
    )
    loaded_at: float = Field(description="Unix time.")


class SceneReload(BaseModel):
    """Outcome of a reload for the file of scenes."""

    result: Result = Field(
        description="ok: its scenes serve now; unchanged: they did before; refused: the scenes before it go on."
    )
    problem: str | None = Field(description="Why it was refused; null: it was not.")


class KeyReload(BaseModel):
    """Outcome of a reload for the files of API keys."""

    result: Result = Field(description="ok: keys have changed; unchanged: none has, or none comes from a file.")


class CatalogueReload(BaseModel):
    """Outcome of a reload for the catalogues, and those that serve now."""

    result: Result = Field(
        description="ok: a new version serves; unchanged: there was none; refused: a version was, and an older one "
        "serves or what served before goes on."
    )
    problem: str | None = Field(description="Why it was refused; null: it was not.")
    catalogues: list[CatalogueStatus]


class Reloaded(ModelStatus):
    """The model that a reload has switched to, and what became of scenes and catalogues."""

    scenes: SceneReload
    catalogues: CatalogueReload


class Models(BaseModel):
    """All live models."""

    models: list[ModelStatus]


class SloStatus(BaseModel):
    """One objective and its present state."""

    name: str
    description: str
    target: float
    current: float | None = Field(description="Share in the window; null when there were no requests.")


class SloCount(BaseModel):
    """One objective in one window."""

    name: str
    valid: int = Field(description="Requests, or lists, that count for it.")
    good: int = Field(description="Those that meet it.")
    current: float | None = Field(description="good / valid; null when there were none.")


class SloWindow(BaseModel):
    """The last minutes."""

    seconds: float
    requests: int = Field(description="Valid requests in the window.")
    p99_seconds: float | None = Field(description="Within 2%; null when there were no requests.")
    objectives: list[SloCount]


class Slo(BaseModel):
    """The latency budget, the objectives, and the last minutes of all workers."""

    budget_seconds: float
    window_seconds: float = Field(description="Of the figures beside it, which are those of the first window.")
    requests: int = Field(description="Valid requests in the window: all but 4xx and those whose client left.")
    p99_seconds: float | None = Field(description="Within 2%; null when there were no requests.")
    objectives: list[SloStatus]
    windows: list[SloWindow] = Field(description="The last 1, 5 and 30 minutes; less since the start, if that is less.")
    workers: int = Field(description="Workers whose requests are counted.")
    complete: bool = Field(description="false: another worker, or the supervisor, did not answer in time.")


def describe_models(registry: Registry, catalogues: Catalogues) -> Models:
    """Describe all live models, for `GET /v1/models`."""
    return Models(models=[describe_model(model, registry, catalogues) for model in registry.models])


def describe_model(model: Model, registry: Registry, catalogues: Catalogues) -> ModelStatus:
    """Describe one model for operators."""
    m, catalogue = model.manifest, catalogues.find(model.manifest.spec.fingerprint)
    current = registry.current(m.name) is model
    return ModelStatus(
        name=m.name,
        version=m.version,
        family=m.family,
        provider=model.engine.provider,
        default=m.name == registry.default and current,
        current=current,
        fingerprint=m.spec.fingerprint,
        list_length=m.limits.list_length,
        max_queues=m.limits.queues,
        max_encoded=m.limits.slots,
        max_candidates=m.limits.slots,
        head_width=m.limits.head_width,
        beam_width=m.limits.beam_width,
        queues=[{"name": q.name, "score": q.score} for q in m.queues],
        partition=m.partition,
        objectives=dict(m.objectives),
        fixed_objectives=m.fixed_objectives,
        valued=list(m.valued),
        shares=None if m.shares is None else dict(m.shares),
        verdict=VerdictStatus(outcome=m.verdict.outcome, sentence=m.verdict.sentence),
        units=dict(m.units),
        diversity={"lambda": m.diversity.trade_off, "window": m.diversity.window},
        fallback=m.fallback,
        rules=None if m.ruled is None else RulesStatus(groups=m.ruled.groups),
        catalogue=None if catalogue is None else _describe_catalogue(catalogue.manifest),
        loaded_at=model.loaded_at,
    )


def describe_scenes(outcome: Renewal) -> SceneReload:
    """Describe what came of a reload of scenes."""
    return SceneReload(result=outcome.result, problem=outcome.problem)


def describe_catalogues(outcome: Renewal, served: Sequence[CatalogueManifest]) -> CatalogueReload:
    """Describe what came of a reload of catalogues, and those that serve."""
    return CatalogueReload(
        result=outcome.result,
        problem=outcome.problem,
        catalogues=[_describe_catalogue(manifest) for manifest in served],
    )


def _describe_catalogue(manifest: CatalogueManifest) -> CatalogueStatus:
    return CatalogueStatus(
        fingerprint=manifest.fingerprint,
        version=manifest.version,
        items=manifest.items,
        embedding_width=manifest.embedding_width,
        segments=len(manifest.segments),
    )


def describe_slo(found: Gathered, budget_seconds: float) -> Slo:
    """Describe the objectives and the last minutes, for `GET /v1/slo`."""
    windows = [_window(counts, budget_seconds) for counts in found.windows]
    first = windows[0]
    return Slo(
        budget_seconds=budget_seconds,
        window_seconds=first.seconds,
        requests=first.requests,
        p99_seconds=first.p99_seconds,
        objectives=[
            SloStatus(name=o.name, description=SERVICE_OBJECTIVES[o.name], target=TARGET_SHARE, current=o.current)
            for o in first.objectives
        ],
        windows=windows,
        workers=found.workers,
        complete=found.complete,
    )


def _window(counts: WindowCounts, budget_seconds: float) -> SloWindow:
    pairs = ((counts.valid, counts.in_time), (counts.lists, counts.own))
    return SloWindow(
        seconds=counts.seconds,
        requests=counts.valid,
        p99_seconds=_number(counts.quantile(0.99, budget_seconds)),
        objectives=[
            SloCount(name=name, valid=valid, good=good, current=good / valid if valid else None)
            for name, (valid, good) in zip(SERVICE_OBJECTIVES, pairs, strict=True)
        ],
    )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
