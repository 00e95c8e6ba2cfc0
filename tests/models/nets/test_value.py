"""The list value model: what may depend on what, and each part against plain arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.proof.requests import RequestShape, random_request
from models.contract.manifest import Limits
from models.contract.spec import Category, FeatureSpec, Hashed, Number, SpecError
from models.nets.blocks import Block
from models.nets.heads import Context
from models.nets.inputs import ConcatInput, FieldGroup
from models.nets.value import ListValueModel, ValueConfig, priced
from tests.models.planners.examples import SCORES_ONLY, SPEC, random_model
from tests.models.planners.plain import shaken

CONFIG = ValueConfig(dim=16, layers=2, heads=4, list_length=6, field_dim=4, context_dim=8, dropout=0.0)
PAPERS = replace(CONFIG, head="independent")
CONFIGS = [
    CONFIG,
    PAPERS,
    replace(CONFIG, context="linear", cosines=True, states=1),
    replace(CONFIG, input_block="fields", context="none"),
]
ITEMS_ONLY = FeatureSpec(item=(Category("category", ("a", "b", "c")),))
PRICE_ONLY = FeatureSpec(price=Number("price"))
NO_CATEGORICALS = FeatureSpec(user=(Number("age"),), item=(Number("stars"),), scores=(Number("ctr"),))
NO_NUMBERS = FeatureSpec(context=(Hashed("city", 9),), item=(Hashed("brand", 9), Category("c", ("a",))))
EVERY_SPEC = [SPEC, SCORES_ONLY, ITEMS_ONLY, PRICE_ONLY, NO_CATEGORICALS, NO_NUMBERS]


def lists_of(spec: FeatureSpec, rows: int, length: int, seed: int = 0) -> dict[str, Tensor]:
    """Random lists as the model takes them: items [rows, length, …]."""
    shape = RequestShape(full=True)
    made = [random_request(spec, Limits(length, 1), seed * 100 + i, shape) for i in range(rows)]
    names = [n for n in made[0] if n.startswith(("item_", "user_"))] + ["price", "embeddings"]
    batch = {n: torch.from_numpy(np.concatenate([m[n] for m in made])) for n in names}
    return batch | {"priors": torch.randn(rows, length, 2, generator=torch.Generator().manual_seed(seed)) - 1.0}


def shaken_model(spec: FeatureSpec, config: ValueConfig, seed: int) -> ListValueModel:
    """A random model, also where training starts from zero."""
    return shaken(random_model(spec, config, seed), seed)


def close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spec", EVERY_SPEC)
def test_a_model_of_any_spec_gives_a_finite_logit_per_position_objective_and_state(spec: FeatureSpec) -> None:
    for config, logits_of_a_head in ((CONFIG, 3), (PAPERS, 6)):
        logits = shaken_model(spec, config, seed=0)(lists_of(spec, 3, 4))
        assert logits.shape == (3, 4, 2, logits_of_a_head)
        assert logits.isfinite().all()


@pytest.mark.parametrize("spec", EVERY_SPEC)
def test_what_stands_before_an_item_does_not_depend_on_it(spec: FeatureSpec) -> None:
    model = shaken_model(spec, CONFIG, seed=1)
    batch, other = lists_of(spec, 2, 6, seed=1), lists_of(spec, 2, 6, seed=2)
    before = model(batch)
    for t in range(6):
        items = {n: torch.cat([a[:, :t], other[n][:, t:]], 1) for n, a in batch.items() if not n.startswith("user_")}
        after = model({**batch, **items})
        assert close(after[:, :t], before[:, :t])


def test_an_item_changes_everything_from_its_position_on() -> None:
    model, batch = shaken_model(SPEC, CONFIG, seed=2), lists_of(SPEC, 1, 6)
    before = model(batch)
    changed = batch["item_scores"].clone()
    changed[:, 2] += 1.0
    difference = (model({**batch, "item_scores": changed}) - before).abs().amax(dim=(0, 2, 3))
    assert (difference[:2] < 1e-6).all()
    assert (difference[2:] > 1e-4).all()


@pytest.mark.parametrize("length", range(1, 6))
def test_a_prefix_is_worth_the_same_whatever_follows(length: int) -> None:
    model, batch = shaken_model(SPEC, CONFIG, seed=3), lists_of(SPEC, 3, 6)
    head = {n: a if n.startswith("user_") else a[:, :length] for n, a in batch.items()}
    assert close(model(head), model(batch)[:, :length])


def test_lists_of_a_batch_do_not_influence_each_other() -> None:
    model, batch = shaken_model(SPEC, CONFIG, seed=4), lists_of(SPEC, 4, 5)
    together = model(batch)
    for i in range(4):
        assert close(model({n: a[i : i + 1] for n, a in batch.items()})[0], together[i])


def test_order_and_user_matter() -> None:
    model, batch = shaken_model(SPEC, CONFIG, seed=5), lists_of(SPEC, 2, 5)
    turned = {n: a if n.startswith("user_") else a.flip(1) for n, a in batch.items()}
    assert not torch.allclose(model(turned)[:, -1], model(batch)[:, -1])
    assert not torch.allclose(model({**batch, "user_numbers": batch["user_numbers"] + 1}), model(batch))


def test_each_objective_has_a_head_of_its_own() -> None:
    model, batch = shaken_model(SPEC, CONFIG, seed=6), lists_of(SPEC, 2, 5)
    before = model(batch)
    with torch.no_grad():
        for parameter in model.heads["conversion"].parameters():
            parameter.add_(0.3)
    after = model(batch)
    assert torch.equal(after[:, :, 0], before[:, :, 0])
    assert not torch.allclose(after[:, :, 1], before[:, :, 1])


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_gains_follow_from_the_logits_place_by_place(config: ValueConfig) -> None:
    model, batch = shaken_model(SPEC, config, seed=9), lists_of(SPEC, 3, 5)
    logits = model(batch)
    gains = model.gains(logits)
    assert gains.shape == (3, 5, 2)
    states = [head.start(logits[:, 0, o, 0]) for o, head in enumerate(model.counting_heads)]
    for j in range(5):
        for o, head in enumerate(model.counting_heads):
            gain, states[o] = head.advance(logits[:, j, o], states[o], j)
            assert close(gain, gains[:, j, o])


def test_hazards_never_bring_less_than_nothing_nor_more_than_one_event() -> None:
    for seed in range(5):
        model = shaken_model(SPEC, CONFIG, seed)
        gains = model.gains(model(lists_of(SPEC, 20, 6, seed)))
        assert ((gains >= 0) & (gains <= 1)).all()


def test_increments_are_gains_and_the_price_times_that_of_conversions() -> None:
    for config in CONFIGS:
        model, batch = shaken_model(SPEC, config, seed=1), lists_of(SPEC, 4, 6)
        gains = model.gains(model(batch))
        assert close(model.increments(batch), torch.stack([*gains.unbind(-1), batch["price"] * gains[..., 1]], -1))


def test_revenue_is_not_cut_at_nothing() -> None:
    gains = torch.tensor([[0.25, 0.25], [0.1, 0.0], [-0.1, -0.1]])
    expected = torch.tensor([[0.25, 0.25, 2.0], [0.1, 0.0, 0.0], [-0.1, -0.1, -5.0]])
    assert close(priced(gains, torch.tensor([8.0, 100.0, 50.0])), expected)


def test_an_objective_that_is_not_valued_brings_nothing_and_leaves_the_other_as_it_is() -> None:
    model, batch = shaken_model(SPEC, CONFIG, seed=2), lists_of(SPEC, 3, 6)
    before = model.increments(batch)
    model.valued.copy_(torch.tensor([1.0, 0.0]))
    after = model.increments(batch)
    assert torch.equal(after[..., 0], before[..., 0])
    assert not after[..., 1:].any()


def test_impossible_thresholds_of_the_papers_head_do_not_count() -> None:
    model = random_model(SPEC, PAPERS, seed=0)
    logits = torch.randn(1, 4, 2, 6, generator=torch.Generator().manual_seed(0))
    wild = logits.clone()
    for j in range(4):
        wild[:, j, :, j + 1 :] = 50.0
    assert torch.equal(model.gains(wild), model.gains(logits))


def test_a_new_model_is_its_prior_and_the_context_has_no_say_yet() -> None:
    torch.manual_seed(0)
    model, batch = ListValueModel(SPEC, CONFIG).eval(), lists_of(SPEC, 3, 6)
    with torch.no_grad():
        for head in model.hazard_heads:
            head.skip.fill_(1.0)
    assert close(model(batch), batch["priors"][..., None].expand(-1, -1, -1, CONFIG.states))


def test_nothing_but_the_prior_counts_where_no_share_of_the_correction_is_kept() -> None:
    model, batch = shaken_model(SPEC, CONFIG, seed=3), lists_of(SPEC, 2, 6)
    for head in model.hazard_heads:
        head.share.zero_()
    turned = {n: a.flip(1) if n in ("item_ids", "item_numbers", "item_scores") else a for n, a in batch.items()}
    assert close(model(turned), model(batch))


@pytest.mark.parametrize("context", ["none", "linear", "full"])
def test_the_context_enters_the_token_only_where_it_is_full(context: Context) -> None:
    model = ListValueModel(SPEC, replace(CONFIG, context=context))
    assert (model.context_token is not None) == (context == "full")
    assert model.uses_context == (context != "none")
    assert [head.context is not None for head in model.hazard_heads] == [context != "none"] * 2


def test_affinities_are_part_of_the_context_and_of_nothing_else() -> None:
    assert ListValueModel(SPEC, CONFIG).affinity is not None
    assert ListValueModel(SPEC, replace(CONFIG, affinity=0)).affinity is None
    assert ListValueModel(SPEC, replace(CONFIG, context="none")).affinity is None
    assert ListValueModel(SCORES_ONLY, CONFIG).affinity is None  # no field to learn them for
    model, batch = shaken_model(SPEC, CONFIG, seed=4), lists_of(SPEC, 2, 6)
    before = model(batch)
    with torch.no_grad():
        model.affinity.earlier.weight.neg_()  # type: ignore[union-attr]
    after = model(batch)
    assert torch.equal(after[:, 0], before[:, 0])
    assert not close(after, before)


def test_embeddings_count_only_where_cosines_are_asked_for() -> None:
    for cosines in (True, False):
        model = shaken_model(SPEC, replace(CONFIG, cosines=cosines), seed=4)
        batch = lists_of(SPEC, 2, 6)
        turned = {**batch, "embeddings": batch["embeddings"].flip(1)}
        assert torch.equal(model(turned), model(batch)) == (not cosines)


def test_the_papers_head_needs_no_priors_and_has_no_context() -> None:
    model, batch = random_model(SPEC, PAPERS, seed=5), lists_of(SPEC, 2, 4)
    bare = {n: a for n, a in batch.items() if n not in ("priors", "embeddings")}
    assert torch.equal(model(bare), model(batch))
    assert not model.uses_context
    with pytest.raises(ValueError, match="has no hazards"):
        _ = model.hazard_heads


def test_a_spec_that_offers_nothing_to_compare_has_no_context() -> None:
    spec = FeatureSpec(item=(Category("category", ("a",)),))
    assert ListValueModel(spec, CONFIG).layout.width == 6
    assert ListValueModel(SCORES_ONLY, replace(CONFIG, context="none")).context_token is None


def explicit_input(part: ConcatInput, spec: FeatureSpec, batch: dict[str, Tensor]) -> Tensor:
    """SORT-Gen's eq. 3 to the letter: one linear layer over everything concatenated, [B, T, D]."""
    length = next(a.shape[1] for n, a in batch.items() if n.startswith("item_"))
    columns, weights = [], []
    for prefix in ("item", "user"):
        if prefix in part.parts:
            group = cast(FieldGroup, part.parts[prefix])
            fields = list(batch[f"{prefix}_numbers"].unbind(-1))
            if group.table is not None:
                rows = [group.table.weight[i] for i in batch[f"{prefix}_ids"].unbind(-1)]
                fields = [c for row in rows for c in row.unbind(-1)] + fields
            block = torch.stack(fields, -1)
            columns.append(block if prefix == "item" else block[:, None].expand(-1, length, -1))
            weights.append(group.project.weight)
    if spec.scores:
        columns.append(batch["item_scores"])
        weights.append(cast(nn.Linear, part.parts["scores"]).weight)
    columns.append(part.position.weight[:length].expand(len(columns[0]), -1, -1))
    weights.append(part.project_position.weight)
    everything = torch.cat(columns, -1)
    layer = nn.Linear(everything.shape[-1], part.bias.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.cat(weights, 1))
        layer.bias.copy_(part.bias)
    return cast(Tensor, layer(everything))


@pytest.mark.parametrize("spec", EVERY_SPEC)
def test_projecting_parts_apart_is_one_linear_layer_over_their_concatenation(spec: FeatureSpec) -> None:
    part = random_model(spec, CONFIG, seed=7).input
    assert isinstance(part, ConcatInput)
    with torch.no_grad():
        part.bias.normal_()
    batch = lists_of(spec, 3, 5)
    found = part.tokens(batch).expand(3, 5, -1) + part.positions()[:5]
    assert close(found, explicit_input(part, spec, batch))


def plain_block(block: Block, x: Tensor) -> Tensor:
    """One list [T, D], one query at a time, one head at a time."""

    def norm(row: Tensor, layer: nn.LayerNorm) -> Tensor:
        centred = row - row.mean()
        return centred / torch.sqrt((centred**2).mean() + layer.eps) * layer.weight + layer.bias

    d = x.shape[1]
    size = d // block.heads
    normed = torch.stack([norm(row, block.attention_norm) for row in x])
    query, key, value = (normed @ w.T for w in block.qkv.weight.chunk(3))
    rows = []
    for t in range(len(x)):
        heads = []
        for h in range(block.heads):
            own = slice(h * size, (h + 1) * size)
            logits = [float(query[t, own] @ key[s, own]) / math.sqrt(size) for s in range(t + 1)]
            weights = [math.exp(logit - max(logits)) for logit in logits]
            heads.append(sum((w / sum(weights)) * value[s, own] for s, w in enumerate(weights)))
        y = x[t] + block.out.weight @ torch.cat(cast(list[Tensor], heads))
        hidden = (block.up.weight @ norm(y, block.feed_forward_norm)).clamp(min=0)
        rows.append(y + block.down.weight @ hidden)
    return torch.stack(rows)


def test_a_block_is_causal_attention_then_feed_forward_each_behind_a_norm() -> None:
    torch.manual_seed(0)
    block = Block(12, 3, feed_forward=20).eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(2, 5, 12)
    with torch.inference_mode():
        assert close(block(x), torch.stack([plain_block(block, row) for row in x]))


def test_dropout_acts_in_training_only() -> None:
    model, batch = shaken_model(SPEC, replace(CONFIG, dropout=0.5), seed=0).train(), lists_of(SPEC, 1, 4)
    assert not torch.equal(model(batch), model(batch))
    model.eval()
    assert torch.equal(model(batch), model(batch))


def test_every_parameter_learns() -> None:
    for config in CONFIGS:
        model = shaken_model(SPEC, config, seed=8).train()
        model(lists_of(SPEC, 8, 6)).square().sum().backward()
        assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("spec", [FeatureSpec(), FeatureSpec(user=(Number("age"),), context=(Hashed("city", 5),))])
def test_a_spec_that_cannot_tell_candidates_apart_is_refused(spec: FeatureSpec) -> None:
    with pytest.raises(SpecError, match="needs at least one item feature, price or score"):
        ListValueModel(spec, CONFIG)


def other(name: str) -> Any:
    """A word that is no choice, past the type checker."""
    return name


def test_a_configuration_keeps_only_what_can_count() -> None:
    assert ValueConfig(list_length=2).states == 2
    assert ValueConfig(list_length=2, states=1).states == 1
    papers = ValueConfig(head="independent", context="full", cosines=True)
    assert (papers.context, papers.cosines, papers.affinity) == ("none", False, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ValueConfig(dim=0), "dim: must be at least 1, not 0"),
        (lambda: ValueConfig(layers=0), "layers: must be at least 1, not 0"),
        (lambda: ValueConfig(list_length=-1), "list_length: must be at least 1, not -1"),
        (lambda: ValueConfig(dim=30, heads=4), r"dim: must be a multiple of heads \(4\), not 30"),
        (lambda: ValueConfig(dropout=1.0), r"dropout: must be within 0\.\.1, not 1.0"),
        (lambda: ValueConfig(states=0), "states: must be at least 1, not 0"),
        (lambda: ValueConfig(context_dim=0), "context_dim: must be at least 1, not 0"),
        (lambda: ValueConfig(affinity=-1), "affinity: must be at least 0, not -1"),
        (
            lambda: ValueConfig(head=other("ordered")),
            "head: must be one of hazard, independent, pointwise, entire-space, not 'ordered'",
        ),
        (lambda: ValueConfig(context=other("some")), "context: must be one of none, linear, full, not 'some'"),
        (lambda: ValueConfig(input_block=other("raw")), "input_block: must be one of concat, fields, not 'raw'"),
    ],
)
def test_sizes_that_do_not_fit_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SpecError, match=f"^{message}$"):
        make()
