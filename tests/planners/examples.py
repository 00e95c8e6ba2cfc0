"""Models with random weights, for tests of planners and export."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from models.generator import GeneratorConfig, PointerGenerator
from models.spec import Category, FeatureSpec, Hashed, Number
from models.value import ListValueModel, ValueConfig

Model = TypeVar("Model", bound=nn.Module)

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
    return _enlarged(ListValueModel(spec, config))


def random_generator(spec: FeatureSpec, config: GeneratorConfig, seed: int) -> PointerGenerator:
    """An untrained generator, likewise."""
    torch.manual_seed(seed)
    return _enlarged(PointerGenerator(spec, config))


def _enlarged(model: Model) -> Model:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.8)
    return model.eval()
