"""Describe one live model in full, for those who write requests."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from models.contract.formulas import compile_formula
from models.contract.manifest import Manifest
from models.contract.spec import Category, FeatureSpec, Hashed, Number, Transform
from models.contract.spec import Field as SpecField
from service.bundles.model import Model
from service.bundles.registry import Registry
from service.catalogues.live import Catalogues
from service.contract.field_values import NOT_SCORES
from service.contract.problems import NOT_FOUND, Problem
from service.ranking.example import example_request
from service.settings import Settings
from service.status import CatalogueStatus, ModelStatus, describe_model

_SAMPLE: Final = 20
_LONGEST_VALUE: Final = 64
_LONGEST_TEXT: Final = 200
_EXAMPLE_CANDIDATES: Final = 3
_FALLBACK: Final = "fallback"
_BACK: Final[Mapping[Transform, Callable[[float], float]]] = {
    "identity": lambda x: x,
    "log1p": lambda x: max(math.expm1(x), 0.0),
    "logit": lambda x: 1 / (1 + math.exp(-x)),
}
"""From a transformed number to the number in its own unit."""


class NumberStatus(BaseModel):
    """The reading of a number."""

    default: float = Field(description="Stands for a missing value.")
    transform: Transform
    least: float | None = Field(description="Smaller numbers count as this one; null: too small to say.")
    most: float | None = Field(description="Larger numbers count as this one; null: too large to say.")


class FieldStatus(BaseModel):
    """One field of the user, the context or an item (`features` of a candidate)."""

    group: Literal["user", "context", "item"]
    name: str
    kind: Literal["category", "hashed", "number"]
    vocabulary_size: int | None = Field(description="Number of values that a category knows; null: not a category.")
    vocabulary_sample: list[str] | None = Field(description=f"The first {_SAMPLE} of them, cut to 64 characters.")
    buckets: int | None = Field(description="Number of buckets of a hashed field; null: not hashed.")
    number: NumberStatus | None = Field(description="null: not a number.")


class ScoreStatus(BaseModel):
    """One score, or the price: who uses it."""

    name: str
    model: bool = Field(description="The model itself reads it.")
    formulas: list[str] = Field(description="Default queues whose formulas use it; fallback: the fallback's does.")
    required: bool = Field(
        description="With the default queues the request is refused if no candidate has it; where `number` is null, "
        "if any candidate lacks it."
    )
    number: NumberStatus | None = Field(description="null: the model has no default for it.")


class LimitsStatus(BaseModel):
    """Largest size of a request, and of what the model looks at."""

    list_length: int = Field(description="L: the longest list that the model makes, and the default top_n.")
    max_queues: int
    max_encoded: int = Field(description="Most candidates that the model looks at.")
    max_candidates: int = Field(description="Most candidates of a request.")
    max_top_n: int = Field(description="Largest top_n that has an effect.")
    max_body_bytes: int


class EmbeddingStatus(BaseModel):
    """Use of the candidates' embeddings."""

    used: bool = Field(description="The model reads them, for diversity.")
    width: int | None = Field(description="Numbers in each; null: any, as long as all have the same.")


class ModelDetail(ModelStatus):
    """One live model in full."""

    limits: LimitsStatus
    fields: list[FieldStatus]
    scores: list[ScoreStatus]
    price: ScoreStatus | None = Field(description="null: nothing uses it.")
    embedding: EmbeddingStatus
    needs: list[str] = Field(
        description="What a candidate must have in the request for the model to have all that it reads. With a "
        "catalogue that knows the item, its id and scores are enough."
    )
    provenance: dict[str, Any] = Field(description="Data, options and versions of the training; without deep parts.")
    example: dict[str, Any] = Field(description="A request that is answered without warnings.")


def find_model(registry: Registry, name: str, version: str | None) -> Model:
    """Return a live model. Raises `Problem` (404) that names what is live."""
    model = registry.find(name, version)
    if model is not None:
        return model
    live = ", ".join(f"{m.name} {m.version}" for m in registry.models) or "none"
    what = f"model {name[:_LONGEST_VALUE]!r}" + ("" if version is None else f" in version {version[:_LONGEST_VALUE]!r}")
    raise Problem(NOT_FOUND, f"no {what} is live; live models: {live}")


def describe_in_full(model: Model, registry: Registry, settings: Settings, catalogues: Catalogues) -> ModelDetail:
    """Describe one model for those who write requests, for `GET /v1/models/{name}`."""
    manifest = model.manifest
    spec = manifest.spec
    used = _users_of_names(manifest)
    status = describe_model(model, registry, catalogues)
    return ModelDetail(
        **status.model_dump(),
        limits=_limits(manifest, settings),
        fields=[
            *(_field("user", f) for f in spec.user),
            *(_field("context", f) for f in spec.context),
            *(_field("item", f) for f in spec.item),
        ],
        scores=_scores(spec, used),
        price=None if spec.price is None and "price" not in used else _price(spec.price, used.get("price", [])),
        embedding=_embedding(manifest),
        needs=_needs(manifest, used, status.catalogue),
        provenance=_summary(manifest.provenance),
        example=example_request(
            manifest,
            candidates=_EXAMPLE_CANDIDATES,
            explain=False,
            embedding_width=0 if status.catalogue is None else status.catalogue.embedding_width,
        ),
    )


def _limits(manifest: Manifest, settings: Settings) -> LimitsStatus:
    limits = manifest.limits
    return LimitsStatus(
        list_length=limits.list_length,
        max_queues=limits.queues,
        max_encoded=limits.slots,
        max_candidates=settings.max_candidates,
        max_top_n=settings.max_candidates,
        max_body_bytes=settings.max_body_bytes,
    )


def _field(group: Literal["user", "context", "item"], field: SpecField) -> FieldStatus:
    values = field.vocabulary if isinstance(field, Category) else None
    return FieldStatus(
        group=group,
        name=field.name,
        kind="number" if isinstance(field, Number) else "category" if isinstance(field, Category) else "hashed",
        vocabulary_size=None if values is None else len(values),
        vocabulary_sample=None if values is None else [value[:_LONGEST_VALUE] for value in values[:_SAMPLE]],
        buckets=field.buckets if isinstance(field, Hashed) else None,
        number=_number(field) if isinstance(field, Number) else None,
    )


def _number(field: Number) -> NumberStatus:
    least, most = (_own_unit(field, sign * field.clip) for sign in (-1, 1))
    return NumberStatus(default=field.default, transform=field.transform, least=least, most=most)


def _own_unit(field: Number, scaled: float) -> float | None:
    try:
        number = _BACK[field.transform](field.mean + field.std * scaled)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _users_of_names(manifest: Manifest) -> dict[str, list[str]]:
    """Return what default formulas name, and the queues that do, or `fallback`."""
    found: dict[str, list[str]] = {}
    formulas = [*((queue.name, queue.score) for queue in manifest.queues), (_FALLBACK, manifest.fallback)]
    for user, text in formulas:
        for name in sorted(compile_formula(text).names):
            found.setdefault(name, []).append(user)
    return found


def _scores(spec: FeatureSpec, used: Mapping[str, list[str]]) -> list[ScoreStatus]:
    """Describe the scores that the model reads, then those that only formulas use."""
    numbers = {field.name: field for field in spec.scores}
    others = sorted(used.keys() - numbers.keys() - NOT_SCORES)
    return [
        ScoreStatus(
            name=name,
            model=name in numbers,
            formulas=used.get(name, []),
            required=_is_in_queue(used.get(name, [])),
            number=_number(numbers[name]) if name in numbers else None,
        )
        for name in (*numbers, *others)
    ]


def _price(field: Number | None, users: list[str]) -> ScoreStatus:
    # A default stands for the price even where no candidate has one.
    return ScoreStatus(
        name="price",
        model=field is not None,
        formulas=users,
        required=field is None and _is_in_queue(users),
        number=None if field is None else _number(field),
    )


def _is_in_queue(users: list[str]) -> bool:
    return any(user != _FALLBACK for user in users)


def _embedding(manifest: Manifest) -> EmbeddingStatus:
    shapes = [tensor.shape for tensor in manifest.inputs if tensor.name == "embeddings"]
    width = shapes[0][-1] if shapes else None
    return EmbeddingStatus(used=bool(shapes), width=width if isinstance(width, int) else None)


def _needs(manifest: Manifest, used: Mapping[str, list[str]], catalogue: CatalogueStatus | None) -> list[str]:
    """List the fields of a candidate that only the request can have."""
    needs = ["id", *(f"scores.{score.name}" for score in _scores(manifest.spec, used))]
    if catalogue is None:
        needs += ["price"] if manifest.spec.price is not None or "price" in used else []
        needs += [f"features.{field.name}" for field in manifest.spec.item]
    if _embedding(manifest).used and not (catalogue is not None and catalogue.embedding_width):
        needs.append("embedding")
    return needs


def _summary(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Keep plain values, and those of tables on the first level."""
    found: dict[str, Any] = {}
    for key, value in provenance.items():
        if isinstance(value, Mapping):
            found[key] = {inner: _plain(v) for inner, v in value.items() if not isinstance(v, (Mapping, list))}
        elif not isinstance(value, list):
            found[key] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value[:_LONGEST_TEXT] if isinstance(value, str) else value
