"""Match candidates to all positions at once: NAR4Rec (Ren et al., KDD 2024, arXiv 2402.06871).

Followed here: the matching model of §4.1 (candidate encoder; position encoder with self- and cross-attention; softmax
over the candidates of x_i·t_j, one column per position), sequence-level unlikelihood training of §4.2 (log p̂ for lists
whose utility reaches τ, log(1 − p̂) for those below), contrastive decoding and the two contrastive losses of §4.3.

Simplified: utility is the observed value of the exposed list, and τ its mean over the training lists. In every
layer cross-attention stands before self-attention. One list is generated, without the evaluator that picks among
several online. The contrastive losses carry the weight ω = 0.01, and the similarity's share α of decoding is 0.1
rather than the 0.6 of the paper's data: a probability over a dozen candidates is so small beside a cosine that a
larger share would decode by similarity alone. Chosen candidates are masked, which the paper leaves open.

Axis letters: B requests, N candidates, L positions, D width, H heads.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.baselines.generators.lists import Utility, check_length
from models.contract.spec import FeatureSpec
from models.data.batches import Batch
from models.nets.blocks import Block
from models.nets.generator import CandidateEncoder, GeneratorConfig

SIMILARITY_SHARE: Final = 0.1
"""α of contrastive decoding."""
CONTRAST_WEIGHT: Final = 0.01
"""ω, the weight of both contrastive losses."""
MARGIN: Final = 0.5
"""ρ: rows whose cosine is below 1 − ρ are far enough apart."""
_SURE: Final = 1 - 1e-6


class CrossAttention(nn.Module):
    """Attend from positions to candidates, pre-norm, with a residual."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim, bias=False)
        self.key_value = nn.Linear(dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, rows: Tensor, keep: Tensor) -> Tensor:
        """Attend from x [B, L, D] to rows [B, N, D] that `keep` bool [B, N] names: [B, L, D]."""
        query = self._split(self.query(self.norm(x)))
        key, value = (self._split(part) for part in self.key_value(rows).chunk(2, dim=-1))
        attended = F.scaled_dot_product_attention(query, key, value, keep[:, None, None, :])
        mixed: Tensor = x + self.out(attended.transpose(1, 2).flatten(2))
        return mixed

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class NAR4Rec(nn.Module):
    """Multiply encoded candidates and encoded positions, scaled by √D as attention's products are."""

    def __init__(self, spec: FeatureSpec, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = CandidateEncoder(spec, config)
        self.position = nn.Parameter(torch.randn(config.list_length, config.dim))
        self.cross = nn.ModuleList(CrossAttention(config.dim, config.heads) for _ in range(config.layers))
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, feed_forward=4 * config.dim, dropout=config.dropout, causal=False)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.dim)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Encode candidate rows [B, N, D] and position rows [B, L, D]."""
        rows = self.encoder(batch)
        x = self.position.expand(len(rows), -1, -1)
        for cross, block in zip(self.cross, self.blocks, strict=True):
            x = block(cross(x, rows, batch["valid"]))
        return rows, self.norm(x)

    def match(self, rows: Tensor, positions: Tensor, valid: Tensor) -> Tensor:
        """Compute log p̂ [B, L, N]: for every position a distribution over the valid candidates."""
        logits = positions @ rows.transpose(1, 2) / self.config.dim**0.5
        return torch.log_softmax(logits.masked_fill(~valid[:, None], -torch.inf), dim=-1)

    @torch.inference_mode()
    def generate(self, batch: Batch, length: int) -> Tensor:
        """Decode lists int64 [B, length] contrastively, −1 where none is left. `ValueError` past the horizon."""
        check_length(length, self.config.list_length)
        rows, positions = self.encode(batch)
        shares = self.match(rows, positions, batch["valid"]).exp()[:, :length]
        return contrastive_decoding(shares, _cosines(rows), batch["valid"], SIMILARITY_SHARE)


def contrastive_decoding(shares: Tensor, cosines: Tensor, valid: Tensor, share: float) -> Tensor:
    """Decode position by position by (1 − α)·p̂ − α·(largest cosine to the chosen): int64 [B, L].

    `shares` p̂ [B, L, N], `cosines` [B, N, N], `valid` bool [B, N], `share` α.
    """
    left = valid.clone()
    nearest = torch.zeros_like(shares[:, 0])
    chosen = []
    for t in range(shares.shape[1]):
        scores = (1 - share) * shares[:, t] - share * nearest
        best = scores.masked_fill(~left, -torch.inf).argmax(dim=1)
        chosen.append(torch.where(left.any(dim=1), best, -1))
        left = left.scatter(1, best[:, None], False)
        near = cosines[torch.arange(len(best), device=best.device), best]
        nearest = near if t == 0 else torch.maximum(nearest, near)
    return torch.stack(chosen, dim=1)


def nar4rec_loss(model: nn.Module, batch: Batch, utility: Utility, threshold: float) -> Tensor:
    """Compute the unlikelihood loss on exposed lists, τ = `threshold` in `utility`, with both contrastive losses."""
    assert isinstance(model, NAR4Rec)
    rows, positions = model.encode(batch)
    values = utility(batch["labels"].sum(dim=1))
    matching = unlikelihood_loss(model.match(rows, positions, batch["valid"]), batch["exposed"], values >= threshold)
    there = torch.ones(positions.shape[:2], dtype=torch.bool, device=positions.device)
    spread = contrastive_loss(rows, batch["valid"], MARGIN) + contrastive_loss(positions, there, MARGIN)
    return matching + CONTRAST_WEIGHT * spread


def unlikelihood_loss(log_shares: Tensor, lists: Tensor, good: Tensor) -> Tensor:
    """Compute −Σ log p̂ over `good` lists and −Σ log(1−p̂) over others, mean over B.

    `log_shares` log p̂ [B, L, N], `lists` int64 [B, L], `good` bool [B].
    """
    there = lists >= 0
    log_chosen = log_shares.gather(-1, lists.clamp(min=0)[..., None])[..., 0]
    log_chosen = torch.where(there, log_chosen, -1.0)  # any finite value: it is dropped below
    log_others = torch.log1p(-log_chosen.exp().clamp(max=_SURE))
    terms = torch.where(good[:, None], log_chosen, log_others)
    return -torch.where(there, terms, 0.0).sum(dim=1).mean()


def contrastive_loss(rows: Tensor, keep: Tensor, margin: float) -> Tensor:
    """Average max(0, ρ − 1 + cos(x_i, x_j)) over pairs of rows [B, M, D] in `keep` [B, M]."""
    pairs = keep[:, :, None] & keep[:, None, :] & ~torch.eye(rows.shape[1], dtype=torch.bool, device=rows.device)
    excess = torch.relu(margin - 1 + _cosines(rows)) * pairs
    return (excess.sum(dim=(1, 2)) / pairs.sum(dim=(1, 2)).clamp(min=1)).mean()


def _cosines(rows: Tensor) -> Tensor:
    unit = F.normalize(rows, dim=-1)
    return unit @ unit.transpose(1, 2)
