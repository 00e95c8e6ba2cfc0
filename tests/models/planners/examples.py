"""Models with random weights, for tests of planners and export."""

from __future__ import annotations

from typing import TypeVar, cast

import torch
from torch import nn

from models.contract.spec import Category, FeatureSpec, Hashed, Number
from models.nets.generator import GeneratorConfig, PointerGenerator
from models.nets.heads import HazardHead
from models.nets.value import ListValueModel, ValueConfig

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
    """An untrained model whose weights are large enough for the context to matter, those that start at zero too."""
    torch.manual_seed(seed)
    model = _enlarged(ListValueModel(spec, config))
    if config.head == "hazard":
        with torch.no_grad():
            for head in model.hazard_heads:
                _fill(head)
            if model.context_token is not None:
                model.context_token.weight.normal_(std=0.3)
            if model.affinity is not None:
                model.affinity.earlier.weight.normal_(std=0.5)
    return model


def _fill(head: HazardHead) -> None:
    """Give every part of a head something to say."""
    head.skip.uniform_(0.3, 1.0)
    head.state_offset.normal_(-0.5, 0.7)
    head.place_offset.normal_(-0.5, 0.3)
    head.out.weight.normal_(std=0.3)
    head.out_by_state.weight.normal_(std=0.2)
    head.share.fill_(0.75)
    if isinstance(head.context, nn.Linear):
        head.context.weight.normal_(std=0.4)
    elif head.context is not None:
        first, last = (cast(nn.Linear, cast(nn.Sequential, head.context)[i]) for i in (0, -1))
        first.bias.normal_(std=0.5)
        last.weight.normal_(std=0.4)


def random_generator(spec: FeatureSpec, config: GeneratorConfig, seed: int) -> PointerGenerator:
    """An untrained generator, likewise."""
    torch.manual_seed(seed)
    return _enlarged(PointerGenerator(spec, config))


def _enlarged(model: Model) -> Model:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.8)
    return model.eval()
