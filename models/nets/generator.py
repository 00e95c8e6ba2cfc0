"""Define DeGRe's online generator (§4.3): a candidate encoder and a causal pointer decoder.

It predicts which remaining candidate comes next. `planners/graphs/degre.py` is its greedy decoding as a graph.

Axis letters: B requests, N candidates, S sequences of a request, L positions, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.contract.spec import OBJECTIVES, FeatureSpec
from models.data.batches import Batch
from models.nets.blocks import Block, TransformerSizes
from models.nets.inputs import FieldInput


@dataclass(frozen=True, slots=True)
class GeneratorConfig(TransformerSizes):
    """Hold the sizes of a generator; `layers` is N_G, of encoder and decoder each.

    A `conditioned` generator reads the objective weights α, β, γ of the request. It must be trained on sequences that
    were mined under varying weights; any other generator only suits the weights it was distilled under.
    """

    dim: int = 128
    layers: int = 4
    list_length: int = 6
    dropout: float = 0.0
    conditioned: bool = False


class CandidateEncoder(nn.Module):
    """Encode candidates without positions: permuting them permutes the rows.

    It is a bidirectional transformer over the evaluator's features (grouped layer norm, attention between domains).
    """

    def __init__(self, spec: FeatureSpec, config: GeneratorConfig) -> None:
        super().__init__()
        self.input = FieldInput(spec, config)
        # The input block's positions belong to lists; candidates have none.
        del self.input.position, self.input.project_position
        self.blocks = nn.ModuleList(_block(config, causal=False) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)
        self.mix = nn.Linear(len(OBJECTIVES), config.dim, bias=False) if config.conditioned else None

    def forward(self, batch: Batch) -> Tensor:
        """Compute M [B, N, D], one row per candidate."""
        x = self.input.tokens(batch)
        if self.mix is not None:
            x = x + self.mix(weight_shares(batch))[:, None]
        for block in self.blocks:
            x = block(x, batch["valid"])
        rows: Tensor = self.norm(x)
        return rows


class PointerGenerator(nn.Module):
    """Point at the next candidate, step by step (DeGRe, eq. 11, 12).

    The decoder's input at a step is the encoder's row of the item chosen before, fused with its position by a linear
    layer; it sees the candidates through the pointer only. The pointer's products are divided by √D, as in attention.
    Eq. 12 has no such factor, but without it the first softmax is so sharp that little is learnt.
    """

    def __init__(self, spec: FeatureSpec, config: GeneratorConfig) -> None:
        super().__init__()
        self.spec = spec
        self.config = config
        self.encoder = CandidateEncoder(spec, config)
        request = self.encoder.input.request_fields * config.field_dim
        self.start = nn.Linear(request, config.dim, bias=False) if request else None
        self.start_bias = nn.Parameter(torch.zeros(config.dim))
        self.start_mix = nn.Linear(len(OBJECTIVES), config.dim, bias=False) if config.conditioned else None
        self.position = nn.Embedding(config.list_length, config.field_dim)
        self.fuse = nn.Linear(config.dim + config.field_dim, config.dim, bias=False)
        self.decoder = nn.ModuleList(_block(config, causal=True) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, batch: Batch, sequences: Tensor) -> Tensor:
        """Compute log P(next | prefix) [B, S, L, N] along `sequences` int64 [B, S, L].

        Values are −inf at step t for padding and for candidates that stand before t in the sequence. Positions past a
        sequence's end (−1) hold values without meaning.
        """
        hidden, rows = self.read(batch, sequences)
        logits = self.point(hidden.flatten(1, 2), rows).view(*sequences.shape, -1)
        return torch.log_softmax(logits.masked_fill(~remaining(sequences, batch["valid"]), -torch.inf), dim=-1)

    def read(self, batch: Batch, sequences: Tensor) -> tuple[Tensor, Tensor]:
        """Compute hidden states [B, S, L, D], each behind the items before its place, and rows [B, N, D]."""
        rows = self.encoder(batch)
        b, s, length = sequences.shape
        known = sequences.clamp(min=0)
        chosen = rows[torch.arange(b, device=rows.device)[:, None, None], known]  # [B, S, L, D]
        start = self.start_token(batch)[:, None, None].expand(-1, s, 1, -1)
        inputs = torch.cat([start, chosen[:, :, :-1]], dim=2)
        return self.decode(inputs.flatten(0, 1)).view(b, s, length, -1), rows

    def start_token(self, batch: Batch) -> Tensor:
        """Compute e_start = W_p·e_user + b_p (eq. 11), [B, D]."""
        start = self.start_bias.expand(len(batch["valid"]), -1)
        if self.start is not None:
            start = start + self.start(self.encoder.input.request(batch))
        if self.start_mix is not None:
            start = start + self.start_mix(weight_shares(batch))
        return start

    def decode(self, inputs: Tensor) -> Tensor:
        """Compute hidden states [B, T, D] from the start and the rows chosen so far, [B, T, D]."""
        positions = self.position.weight[: inputs.shape[1]].expand(len(inputs), -1, -1)
        x = self.fuse(torch.cat([inputs, positions], dim=-1))
        for block in self.decoder:
            x = block(x)
        hidden: Tensor = self.norm(x)
        return hidden

    def point(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Compute pointer logits [B, T, N] of hidden states [B, T, D] over rows [B, N, D]."""
        logits: Tensor = hidden @ rows.transpose(1, 2) / self.config.dim**0.5
        return logits

    @torch.inference_mode()
    def generate(self, batch: Batch, length: int) -> Tensor:
        """Generate greedy lists int64 [B, length] of candidates; −1 where none is left.

        It reads the whole list again at each step. Raises `ValueError` if `length` is past the model's horizon.
        """
        return self.write(batch, length, lambda logits: logits)

    def write(self, batch: Batch, length: int, score: Callable[[Tensor], Tensor], count: int = 1) -> Tensor:
        """Generate `count` lists a request by the best `score` of the logits at each step, [B · count, length].

        `score` gets the logits [B · count, N] of all lists, which stand together by request.
        """
        if length > self.config.list_length:
            raise ValueError(f"length {length} is past the generator's horizon {self.config.list_length}")
        # The encoder reads a request once, however many lists there are of it.
        own = (self.encoder(batch), self.start_token(batch)[:, None], batch["valid"])
        rows, inputs, left = (x.repeat_interleave(count, dim=0) for x in own)
        chosen = []
        # Finished requests choose −1; their argmax is ignored.
        for _ in range(length):
            logits = self.point(self.decode(inputs)[:, -1:], rows)[:, 0]
            item, left, inputs = take_best(score(logits), left, inputs, rows)
            chosen.append(item)
        return torch.stack(chosen, dim=1)


def take_best(scores: Tensor, left: Tensor, inputs: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Append the candidate of the best of `scores` [B, N] among those `left`, bool [B, N], to each list.

    Return it, int64 [B] (−1 where none is left), those left then, and `inputs` [B, T, D] with its row of `rows`
    [B, N, D] behind.
    """
    best = scores.masked_fill(~left, -torch.inf).argmax(dim=-1)
    longer = torch.cat([inputs, rows[torch.arange(len(rows)), best][:, None]], dim=1)
    return torch.where(left.any(dim=-1), best, -1), left.scatter(1, best[:, None], False), longer


def remaining(sequences: Tensor, valid: Tensor) -> Tensor:
    """Mark the candidates that are left at each step: bool [B, S, L, N].

    A step at which nothing is left keeps all, so that a softmax over it stays finite; it carries no loss.
    """
    here = torch.nn.functional.one_hot(sequences.clamp(min=0), valid.shape[1]).bool() & (sequences >= 0)[..., None]
    before = here.cumsum(dim=2) - here.long() > 0
    left = valid[:, None, None, :] & ~before
    return left | ~left.any(dim=-1, keepdim=True)


def weight_shares(batch: Batch) -> Tensor:
    """Divide α, β, γ by their sum, [B, 3]."""
    weights = batch["objective_weights"]
    return weights / weights.sum(dim=-1, keepdim=True)


def _block(config: GeneratorConfig, *, causal: bool) -> Block:
    return Block(config.dim, config.heads, feed_forward=4 * config.dim, dropout=config.dropout, causal=causal)
