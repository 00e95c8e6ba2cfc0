"""Tiny slates for the tests of generator baselines."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from models.baselines.generators.training import BASELINES, Generator
from models.contract.spec import FeatureSpec
from models.data.batches import Batch
from models.data.slates import SlateArrays, encode_slates
from models.nets.generator import GeneratorConfig
from tests.models.specs import fit_spec
from tests.models.training.records import make_record

LENGTH = 3
CANDIDATES = 6
CONFIG = GeneratorConfig(dim=16, layers=1, heads=2, list_length=LENGTH, field_dim=4)
CPU = torch.device("cpu")


def make_slates(count: int, *, seed: int = 0) -> tuple[FeatureSpec, SlateArrays]:
    """`count` requests that show 3 of 6 candidates, and the spec fitted to them."""
    records = [make_record(i, seed=seed, shown=LENGTH, candidates=CANDIDATES) for i in range(count)]
    spec = fit_spec(records)
    return spec, encode_slates(records, spec, LENGTH)


def build(name: str, spec: FeatureSpec, config: GeneratorConfig = CONFIG, *, seed: int = 0) -> Generator:
    """An untrained generator whose weights are large enough to tell candidates apart."""
    torch.manual_seed(seed)
    model = BASELINES[name].build(spec, config, CANDIDATES)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.8)
    return model.eval()


def unfit(slates: SlateArrays, valid: Tensor) -> Batch:
    """The slates' tensors with only the `valid` [n, N] candidates left, whatever was shown."""
    return slates.tensors(CPU) | {"valid": valid}


def is_valid(lists: Tensor, valid: Tensor) -> bool:
    """Whether every list [n, L] has only valid candidates, none twice, and ends only when none is left."""
    for row, allowed in zip(lists.tolist(), valid.tolist(), strict=True):
        left = {i for i, is_there in enumerate(allowed) if is_there}
        filled = min(len(left), len(row))
        if len(set(row[:filled])) != filled or not set(row[:filled]) <= left or set(row[filled:]) - {-1}:
            return False
    return True


def longer(config: GeneratorConfig, length: int) -> GeneratorConfig:
    """The same sizes for lists of another length."""
    return dataclasses.replace(config, list_length=length)
