"""Build the transformer block that all models share.

Axis letters: B batch, T positions, D width, H heads.

Linear layers carry no bias: the layer norm before each of them has one, and every bias is one more node per step in the
unrolled graph (`planners/graphs/blocks.py` has this block as its nodes).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.contract.spec import SpecError


class TransformerSizes(Protocol):
    """Declare the sizes that every model's configuration has."""

    @property
    def dim(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def list_length(self) -> int: ...
    @property
    def field_dim(self) -> int: ...
    @property
    def dropout(self) -> float: ...


def check_sizes(sizes: TransformerSizes) -> None:
    """Check the sizes of a transformer. Raises `SpecError` naming the wrong one."""
    for name in ("dim", "layers", "heads", "list_length", "field_dim"):
        if getattr(sizes, name) < 1:
            raise SpecError(f"{name}: must be at least 1, not {getattr(sizes, name)}")
    if sizes.dim % sizes.heads:
        raise SpecError(f"dim: must be a multiple of heads ({sizes.heads}), not {sizes.dim}")
    if not 0 <= sizes.dropout < 1:
        raise SpecError(f"dropout: must be within 0..1, not {sizes.dropout}")


class Block(nn.Module):
    """Apply a pre-norm transformer block (SORT-Gen §3.1.1).

    It is x + attention(norm(x)), then x + feed-forward(norm(x)). A causal block's position t sees positions up to t; a
    bidirectional one's sees all that are kept.
    """

    def __init__(self, dim: int, heads: int, *, feed_forward: int, dropout: float = 0.0, causal: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, feed_forward, bias=False)
        self.down = nn.Linear(feed_forward, dim, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Transform all positions of x [B, T, D]; `keep` bool [B, T] hides padding from bidirectional blocks."""
        b, t, d = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(b, t, 3, self.heads, d // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [B, H, T, D / H]
        mask = None if keep is None else keep[:, None, None, :]
        attended = F.scaled_dot_product_attention(query, key, value, mask, is_causal=self.causal)
        x = x + self.dropout(self.out(attended.transpose(1, 2).reshape(b, t, d)))
        return self._feed_forward(x)

    def _feed_forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = torch.relu(self.up(self.feed_forward_norm(x)))
        output: Tensor = x + self.dropout(self.down(hidden))
        return output
