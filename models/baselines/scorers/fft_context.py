"""Predict every candidate's click from all candidates: SORT-Gen's FFT context-aware model (§4.1.1).

The paper says that it "models the context sequence using Fourier Transform and Attention Mechanism" and improves PRM;
for the transform it cites FMLP-Rec (Zhou et al., WWW 2022). Followed here: a layer is FMLP-Rec's filter, which takes
the sequence to frequencies, multiplies each by learnt complex weights and takes it back, and then a transformer block,
in which every candidate attends to the mixed sequence. The loss is the cross-entropy of the clicks on exposed items.

Left open by the paper, and decided here: the context sequence is all candidates of the request in the order of the
prior scores, with PRM's learnt embedding of that place; a filter has one weight per frequency and column; residuals
are added and rows normalised before each part, as in all models here. The position at which an item was shown enters
the last layer in training and is held at the top when scoring, so that its effect is not put down to the item.
Filters know a fixed number of places: shorter sequences end with zeros, and candidates behind are not mixed.

Axis letters: B requests, N candidates, L positions, D width, W places that a filter mixes.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.baselines.prior_order import prior_ranks
from models.contract.spec import FeatureSpec, SpecError, record
from models.data.batches import Batch, seen_by
from models.data.slates import SlateArrays
from models.nets.blocks import Block, TransformerSizes
from models.nets.checkpoint import CheckpointError, load_payload, naming, save_payload
from models.nets.inputs import FieldInput
from models.training.loop import Loss, Progress, TrainOptions, fit, texts

KIND: Final = "FFT context model"
MODEL_FILE: Final = "fft-context.pt"


@dataclass(frozen=True, slots=True)
class FFTContextConfig(TransformerSizes):
    """Hold the sizes of the model; its filters mix `candidates` places. Raises `SpecError`."""

    candidates: int = 20

    def __post_init__(self) -> None:
        TransformerSizes.__post_init__(self)
        if self.candidates < 1:
            raise SpecError(f"candidates: must be at least 1, not {self.candidates}")


class FrequencyFilter(nn.Module):
    """Mix a sequence by learnt weights of its frequencies (FMLP-Rec, eq. 4), with a residual."""

    def __init__(self, dim: int, places: int, dropout: float) -> None:
        super().__init__()
        self.places = places
        self.norm = nn.LayerNorm(dim)
        # Real and imaginary parts, since checkpoints and AdamW take real numbers.
        self.weight = nn.Parameter(0.02 * torch.randn(places // 2 + 1, dim, 2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """Mix rows [B, N, D]; those outside `keep` bool [B, N] count as zeros."""
        rows = self.norm(x) * keep[..., None]
        # A fixed number of places, so that the filters mean the same whatever a batch is padded to.
        frequencies = torch.fft.rfft(rows, n=self.places, dim=1, norm="ortho")
        filtered = frequencies * torch.view_as_complex(self.weight)
        mixed = torch.fft.irfft(filtered, n=self.places, dim=1, norm="ortho")[:, : x.shape[1]]
        padded = F.pad(mixed, (0, 0, 0, x.shape[1] - mixed.shape[1]))
        output: Tensor = x + self.dropout(padded)
        return output


class FFTContextModel(nn.Module):
    """Compute click logits of all candidates of a request at once."""

    def __init__(self, spec: FeatureSpec, config: FFTContextConfig) -> None:
        super().__init__()
        self.spec = spec
        self.config = config
        self.input = FieldInput(spec, config)
        # The positions of the input block belong to lists; here the position shown enters the last layer.
        del self.input.position, self.input.project_position
        self.rank = nn.Embedding(config.candidates, config.dim)
        nn.init.normal_(self.rank.weight, std=0.02)
        self.filters = nn.ModuleList(
            FrequencyFilter(config.dim, config.candidates, config.dropout) for _ in range(config.layers)
        )
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, feed_forward=4 * config.dim, dropout=config.dropout, causal=False)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.dim)
        self.hidden = nn.Linear(config.dim, config.dim)
        self.position = nn.Embedding(config.list_length, config.dim)
        nn.init.normal_(self.position.weight, std=0.02)
        self.out = nn.Linear(config.dim, 1)

    def forward(self, batch: Batch, positions: Tensor | None = None) -> Tensor:
        """Compute logits [B, N] of clicks, at `positions` int64 [B, N]; None: all at the top of the list.

        The logits of padding mean nothing.
        """
        ranks = prior_ranks(batch)
        order = ranks.argsort(dim=1)
        keep = batch["valid"].gather(1, order)
        tokens = self.input.tokens(batch)
        x = tokens.gather(1, order[..., None].expand_as(tokens))
        places = torch.arange(x.shape[1], device=x.device).clamp(max=self.config.candidates - 1)
        x = x + self.rank(places)
        for mix, block in zip(self.filters, self.blocks, strict=True):
            x = block(mix(x, keep), keep)
        rows = self.norm(x).gather(1, ranks[..., None].expand_as(x))
        shown = self.position.weight[0] if positions is None else self.position(positions)
        logits: Tensor = self.out(torch.relu(self.hidden(rows) + shown))[..., 0]
        return logits


def shown_positions(batch: Batch) -> Tensor:
    """Return the position at which each candidate was shown, int64 [B, N]; 0 for the others."""
    exposed = batch["exposed"]
    b, n = batch["valid"].shape
    # One more column takes what stands past the ends of lists.
    positions = exposed.new_zeros(b, n + 1)
    places = torch.arange(exposed.shape[1], device=exposed.device).expand(b, -1)
    return positions.scatter(1, torch.where(exposed >= 0, exposed, n), places)[:, :n]


def click_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Compute the cross-entropy of clicks on exposed items: a list's sum, mean over B."""
    logits = model(batch, shown_positions(batch))
    there = batch["exposed"] >= 0
    shown = logits.gather(1, batch["exposed"].clamp(min=0))
    losses = F.binary_cross_entropy_with_logits(shown, batch["labels"][..., 0].clamp(max=1.0), reduction="none")
    return torch.where(there, losses, 0.0).sum(dim=1).mean()


def fit_fft_context(
    spec: FeatureSpec,
    train: SlateArrays,
    valid: SlateArrays,
    *,
    config: FFTContextConfig,
    options: TrainOptions,
    folder: Path,
    device: torch.device,
    resume: bool = False,
) -> tuple[FFTContextModel, Progress]:
    """Fit a new model, initialised by the seed, and write it to `folder`.

    It comes back in evaluation mode. See `loop.fit` for the other files, for `resume` and for errors. Raises
    `ValueError` too if the lists have another length than the config's.
    """
    for slates in (train, valid):
        if slates.exposed.shape[1] != config.list_length:
            raise ValueError(
                f"list_length: the slates hold lists of {slates.exposed.shape[1]}, not {config.list_length}"
            )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = FFTContextModel(spec, config)
    identity = {
        "feature spec": spec.fingerprint,
        "slates": train.digest,
        "valid slates": valid.digest,
        **texts(config),
    }
    progress = fit(
        model,
        train,
        valid,
        _loss(spec),
        options=options,
        folder=folder,
        device=device,
        identity=identity,
        resume=resume,
    )
    _save(folder / MODEL_FILE, model)
    return model.eval(), progress


def load_fft_context(folder: Path, spec: FeatureSpec, device: torch.device | str = "cpu") -> FFTContextModel:
    """Load the model that `fit_fft_context` wrote to `folder`, in evaluation mode.

    Raises `CheckpointError` if it is missing, damaged or was trained under another feature spec.
    """
    path = folder / MODEL_FILE
    payload = load_payload(path, KIND, device)
    with naming(path):
        if payload["fingerprint"] != spec.fingerprint:
            raise CheckpointError(f"has feature spec {payload['fingerprint']!r}, not {spec.fingerprint!r}")
        config = record(FFTContextConfig, json.loads(payload["config"]), "config")
        model = FFTContextModel(spec, config).to(device)
        model.load_state_dict(payload["state"])
    return model.eval()


def _loss(spec: FeatureSpec) -> Loss:
    """Make the training loss; in training it hides some categorical values."""
    return lambda model, batch: click_loss(model, seen_by(model, batch, spec))


def _save(path: Path, model: FFTContextModel) -> None:
    payload = {
        "config": json.dumps(dataclasses.asdict(model.config)),
        "fingerprint": model.spec.fingerprint,
        "state": model.state_dict(),
    }
    save_payload(path, KIND, payload)
