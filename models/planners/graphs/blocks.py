"""Lay the transformer block (`models.nets.blocks`) for alternative tokens, one token, or all rows.

Axis letters as in `models.nets.blocks`, and P alternatives,
S earlier tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from torch import nn

from models.nets.blocks import Block
from models.planners.graphs.graph import Graph

NEVER: Final = -1e4
"""Additive mask: large enough to lose every comparison and to vanish in a softmax, small enough for float16."""


class Residual(NamedTuple):
    """Hold a residual stream whose last addition, stream + branch, is still open."""

    stream: str
    branch: str


def close(g: Graph, x: Residual) -> str:
    """Add branch to stream."""
    return g.op("Add", x.stream, x.branch)


class Past(NamedTuple):
    """Hold keys and values of earlier tokens in one layer, each [B, H, T, D / H]."""

    keys: str
    values: str


def normalise(g: Graph, x: Residual, norm: nn.LayerNorm) -> tuple[str, str]:
    """Close `x` and normalise it: (norm(stream + branch), stream + branch)."""
    closed = close(g, x)  # apart from the norm: ONNX Runtime's fused SkipLayerNormalization is slower on CPU than both
    weight, bias = g.weight(norm.weight), g.weight(norm.bias)
    return g.op("LayerNormalization", closed, weight, bias, epsilon=norm.eps), closed


def block_step(g: Graph, block: Block, x: Residual, mask: str, past: Sequence[str]) -> tuple[Residual, str]:
    """Lay `models.nets.blocks.Block` for P alternative next tokens [B, P, D].

    `past` are the keys and values of the tokens chosen earlier, each [B, 1, 2·D], and `mask` [1, 1, P, S + P] is added
    to the attention logits, so that each of the P sees them and itself. Returns the residual stream and the keys and
    values of the P tokens, [B, P, 2·D].
    """
    normed, closed = normalise(g, x, block.attention_norm)
    d = block.out.in_features
    query, new = g.split(g.linear(normed, block.qkv), 2, d, 2 * d)
    keys, values = g.split(g.concat(1, *past, new), 2, d, d)
    return _attend_and_feed(g, block, closed, query, keys, values, mask), new


def decode_step(g: Graph, block: Block, x: Residual, past: Past | None) -> tuple[Residual, Past]:
    """Lay `Block` for a list's next token [B, 1, D]; returns the stream and the next `past`."""
    normed, closed = normalise(g, x, block.attention_norm)
    d, heads = block.out.in_features, block.heads
    if past is None:  # Attention to oneself alone is one's own value.
        weight = g.weight(block.qkv.weight[d:].T)
        keys, attended = g.split(g.op("MatMul", normed, weight), 2, d, d)
        shape = g.ints(-1, heads, 1, d // heads)
        following = Past(g.op("Reshape", keys, shape), g.op("Reshape", attended, shape))
    else:
        query, keys, values = g.split(g.linear(normed, block.qkv), 2, d, d, d)
        inputs = (query, keys, values, "", *past)
        attended, *rest = g.ops("Attention", 3, *inputs, q_num_heads=heads, kv_num_heads=heads)
        following = Past(*rest)
    return _feed(g, block, closed, attended), following


def block_rows(g: Graph, block: Block, x: Residual, mask: str = "") -> Residual:
    """Lay `Block` for all tokens [B, T, D]; `mask` [B, H, T, T] adds to logits, "" adds nothing."""
    normed, closed = normalise(g, x, block.attention_norm)
    d = block.out.in_features
    query, keys, values = g.split(g.linear(normed, block.qkv), 2, d, d, d)
    return _attend_and_feed(g, block, closed, query, keys, values, mask, causal=block.causal)


def _attend_and_feed(
    g: Graph, block: Block, x: str, query: str, keys: str, values: str, mask: str, *, causal: bool = False
) -> Residual:
    inputs = [query, keys, values] + [mask] * bool(mask)
    attended = g.op("Attention", *inputs, q_num_heads=block.heads, kv_num_heads=block.heads, is_causal=int(causal))
    return _feed(g, block, x, attended)


def _feed(g: Graph, block: Block, x: str, attended: str) -> Residual:
    """Lay the rest of a block, behind its attention."""
    normed, closed = normalise(g, Residual(x, g.linear(attended, block.out)), block.feed_forward_norm)
    hidden = g.op("Relu", g.linear(normed, block.up))
    return Residual(closed, g.linear(hidden, block.down))
