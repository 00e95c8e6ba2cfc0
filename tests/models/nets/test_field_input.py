"""DeGRe's input block (eq. 5) against the same thing said one field at a time."""

from __future__ import annotations

import math
from typing import Final

import pytest
import torch
from torch import Tensor

from models.contract.features import Encoder
from models.contract.spec import Category, FeatureSpec, Hashed, Number, SpecError
from models.data.field_choices import FieldChoices
from models.data.slates import encode_slates
from models.nets.inputs import Domain, FieldInput
from models.nets.value import ValueConfig
from tests.models.specs import fit_spec
from tests.models.training.records import make_records

CONFIG: Final = ValueConfig(dim=8, layers=1, heads=2, list_length=4, field_dim=4, input_block="fields")
FULL: Final = FeatureSpec(
    user=(Category("plan", ("free", "pro")), Number("age")),
    context=(Number("hour"), Category("device", ("a", "b"))),
    item=(Category("category", ("x", "y")), Hashed("brand", 16), Number("stars")),
    scores=(Number("ctr", transform="logit"), Number("cvr", transform="logit")),
    price=Number("price", transform="log1p"),
)
SPECS: Final = [
    FULL,
    FeatureSpec(scores=(Number("ctr"),)),
    FeatureSpec(item=(Category("category", ("x", "y")),)),
    FeatureSpec(context=(Number("hour"),), item=(Number("stars"),)),
]


def random_batch(spec: FeatureSpec, b: int, n: int) -> dict[str, Tensor]:
    def ids(rows: list[int], *shape: int) -> Tensor:
        offset = 0
        columns = []
        for size in rows:
            columns.append(offset + torch.randint(size, shape))
            offset += size
        return torch.stack(columns, -1) if columns else torch.zeros(*shape, 0, dtype=torch.int64)

    return {
        "user_ids": ids([f.rows for f in spec.user_categoricals], b),
        "user_numbers": torch.randn(b, len(spec.user_numbers)),
        "item_ids": ids([f.rows for f in spec.item_categoricals], b, n),
        "item_numbers": torch.randn(b, n, len(spec.item_numbers)),
        "item_scores": torch.randn(b, n, len(spec.scores)),
    }


def domain_of(part: FieldInput, name: str) -> Domain:
    domain = part.domains[name]
    assert isinstance(domain, Domain)
    return domain


def from_numbers(part: FieldInput, name: str, numbers: Tensor) -> Tensor:
    layer = domain_of(part, name).project
    assert layer is not None
    return layer.weight @ numbers + layer.bias


def normalised(domain: Domain, x: Tensor) -> Tensor:
    assert domain.norm is not None
    return (x - x.mean()) / (x.var(unbiased=False) + domain.norm.eps).sqrt() * domain.norm.weight + domain.norm.bias


def slow_token(part: FieldInput, spec: FeatureSpec, batch: dict[str, Tensor], b: int, n: int) -> Tensor:
    """One candidate's token: its fields gathered, normalised and attended to one by one."""
    fields: list[tuple[str, Tensor]] = []
    user_column, number_column = 0, 0
    for domain, members in (("user", spec.user), ("context", spec.context)):
        numbers = [f for f in members if isinstance(f, Number)]
        for _ in range(len(members) - len(numbers)):
            assert part.user_table is not None
            fields.append((domain, part.user_table.weight[batch["user_ids"][b, user_column]]))
            user_column += 1
        if numbers:
            values = batch["user_numbers"][b, number_column : number_column + len(numbers)]
            fields.append((domain, from_numbers(part, domain, values)))
            number_column += len(numbers)
    for column in range(len(spec.item_categoricals)):
        assert part.item_table is not None
        fields.append(("item", part.item_table.weight[batch["item_ids"][b, n, column]]))
    if spec.item_numbers:
        fields.append(("item", from_numbers(part, "item", batch["item_numbers"][b, n])))
    if spec.scores:
        fields.append(("score", from_numbers(part, "score", batch["item_scores"][b, n])))

    normed = [normalised(domain_of(part, domain), x) for domain, x in fields]
    query, key, value = part.qkv.weight.view(3, CONFIG.field_dim, CONFIG.field_dim)
    enhanced = []
    for x in normed:
        logits = torch.stack([(query @ x) @ (key @ y) / math.sqrt(CONFIG.field_dim) for y in normed])
        weights = logits.exp() / logits.exp().sum()
        enhanced.append(sum((w * (value @ y) for w, y in zip(weights, normed, strict=True)), torch.zeros(4)))
    token: Tensor = part.project(torch.cat([*(x for _, x in fields), *enhanced]))
    return token


@pytest.mark.parametrize("spec", SPECS)
def test_tokens_are_the_equation_worked_out_field_by_field(spec: FeatureSpec) -> None:
    torch.manual_seed(3)
    part = FieldInput(spec, CONFIG)
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        batch = random_batch(spec, 2, 3)
        found = part.tokens(batch)
        for b in range(2):
            for n in range(3):
                torch.testing.assert_close(found[b, n], slow_token(part, spec, batch, b, n), atol=1e-5, rtol=1e-5)


def test_every_domain_has_affine_parameters_of_its_own() -> None:
    part = FieldInput(FULL, CONFIG)
    batch = random_batch(FULL, 1, 2)
    before = part.tokens(batch)
    for domain in ("user", "context", "item", "score"):
        module = domain_of(part, domain)
        assert module.norm is not None
        with torch.no_grad():
            module.norm.bias.add_(torch.randn(4))
        after = part.tokens(batch)
        assert not torch.allclose(before, after)
        before = after


def test_it_reads_what_the_encoder_makes_of_records() -> None:
    records = make_records(5)
    spec = fit_spec(records, FieldChoices(min_count=1))
    slates = encode_slates(records, spec, 4)
    batch = slates.tensors(torch.device("cpu"))
    part = FieldInput(spec, CONFIG)
    assert part.tokens(batch).shape == (5, 6, 8)
    assert part.request(batch).shape == (5, part.request_fields * 4)
    single = Encoder(spec).encode_items(records[2].candidates)
    assert (batch["item_ids"][2].numpy() == single["item_ids"]).all()


def test_a_spec_that_cannot_tell_candidates_apart_is_refused() -> None:
    with pytest.raises(SpecError, match="at least one item feature"):
        FieldInput(FeatureSpec(user=(Number("age"),)), CONFIG)
