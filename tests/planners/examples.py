"""Random value models and random requests for them, in the form in which the graphs take requests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.features import Arrays
from models.manifest import Limits
from models.spec import Category, FeatureSpec, Hashed, Number
from models.value import ListValueModel, ValueConfig

UNITS = {"click": 0.1, "conversion": 0.02, "gmv": 1.5}

SPEC = FeatureSpec(
    user=(Category("age", ("young", "old")),),
    context=(Number("hour", mean=12.0, std=6.0),),
    item=(Category("category", tuple("abcdef")), Hashed("brand", 50), Number("stars", mean=3.0)),
    scores=(Number("ctr", transform="logit"), Number("cvr", transform="logit")),
    price=Number("price", transform="log1p"),
)
SCORES_ONLY = FeatureSpec(scores=(Number("ctr", transform="logit"),))


def random_model(spec: FeatureSpec, config: ValueConfig, seed: int) -> ListValueModel:
    """An untrained model whose weights are large enough for the context to matter."""
    torch.manual_seed(seed)
    model = ListValueModel(spec, config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.8)
    return model


@dataclass(frozen=True)
class RequestShape:
    """How odd a request is."""

    full: bool = False
    embedded: float = 0.9
    twins: bool = False


def random_request(spec: FeatureSpec, limits: Limits, seed: int, shape: RequestShape | None = None) -> Arrays:
    """A batch of one. `twins` makes every second slot a copy of the one before, so that scores tie exactly."""
    shape = shape or RequestShape()
    rng = np.random.default_rng(seed)
    n = limits.slots
    filled = rng.integers(0, limits.list_length + 1, limits.queues)
    filled[rng.integers(limits.queues)] = limits.list_length
    valid = (np.arange(limits.list_length) < filled[:, None]).reshape(1, n) | shape.full
    unit = _normal(rng, 1, n, 5)
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    unit[~valid | (rng.random((1, n)) > shape.embedded)] = 0  # empty slots come without an embedding
    arrays: Arrays = {
        "user_ids": _ids(rng, [f.rows for f in spec.user_categoricals], 1),
        "user_numbers": _normal(rng, 1, len(spec.user_numbers)),
        "item_ids": _ids(rng, [f.rows for f in spec.item_categoricals], n)[None],
        "item_numbers": _normal(rng, 1, n, len(spec.item_numbers)),
        "item_scores": _normal(rng, 1, n, len(spec.scores)),
        "price": np.exp(_normal(rng, 1, n)),
        "embeddings": unit,
        "valid": valid,
    }
    if shape.twins:
        for name in ("item_ids", "item_numbers", "item_scores", "price"):
            array = arrays[name]
            array[:, 1::2] = array[:, : n - n % 2 : 2]
        unit[:, 1::2] = np.where(valid[:, 1::2, None], unit[:, : n - n % 2 : 2], 0)
    return arrays


def with_preferences(arrays: Arrays, weights: tuple[float, float, float], trade_off: float, window: int) -> Arrays:
    """The request with α, β, γ, λ and the window."""
    return {
        **arrays,
        "objective_weights": np.array([weights], np.float32),
        "trade_off": np.array([trade_off], np.float32),
        "window": np.array([window], np.int64),
    }


def _normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return np.asarray(rng.normal(size=shape), np.float32)


def _ids(rng: np.random.Generator, rows: list[int], n: int) -> NDArray[np.int64]:
    """Rows of the shared table [n, C], each column within its field's part of it."""
    offsets = np.cumsum([0, *rows])[:-1]
    columns = [offset + rng.integers(0, size, n) for offset, size in zip(offsets, rows, strict=True)]
    return np.array(columns, np.int64).reshape(len(rows), n).T
