"""Distil mined sequences into the online generator: DeGRe's hybrid loss (eq. 13).

It takes sequences, soft labels and weights from any miner or evaluator.

Axis letters: B requests, S sequences of a request, L positions, N candidates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models.contract.spec import FeatureSpec
from models.data.batches import Batch, seen_by
from models.mining.shards import MinedArrays
from models.nets.generator import GeneratorConfig, PointerGenerator
from models.training.loop import Loss, Progress, TrainOptions, fit, texts


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillOptions:
    """Choose the terms of eq. 13 that supervise the generator, as in Table 4.

    `hard`: imitate the item chosen at each step. `alpha`: weight of the soft labels' divergence, 0 for none.
    `weighting`: weigh a request's sequences by value (eq. 10). Raises `ValueError` naming the option.
    """

    hard: bool = True
    alpha: float = 0.01
    weighting: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < math.inf:
            raise ValueError(f"alpha must be at least 0, not {self.alpha}")
        if not self.hard and not self.alpha:
            raise ValueError("without hard labels alpha must be above 0: nothing else supervises the generator")


def fit_generator(
    spec: FeatureSpec,
    train: MinedArrays,
    valid: MinedArrays,
    *,
    config: GeneratorConfig,
    distill: DistillOptions,
    options: TrainOptions,
    folder: Path,
    device: torch.device,
    resume: bool = False,
) -> tuple[PointerGenerator, Progress]:
    """Fit a new generator, initialised by the seed.

    See `loop.fit` for the files written and errors. Raises `ValueError` too if the sequences are not as long as the
    generator's horizon: it would have untrained positions, or lack some.
    """
    for name, mined in (("training", train), ("validation", valid)):
        if mined.sequences.shape[2] != config.list_length:
            raise ValueError(
                f"the {name} sequences have {mined.sequences.shape[2]} positions, the generator {config.list_length}"
            )
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        model = PointerGenerator(spec, config)
    identity = {
        "feature spec": spec.fingerprint,
        "mined sequences": train.digest,
        "validation sequences": valid.digest,
        **texts(config),
        **texts(distill),
    }
    loss = distillation(spec, distill)
    progress = fit(
        model, train, valid, loss, options=options, folder=folder, device=device, identity=identity, resume=resume
    )
    return model.eval(), progress


def distillation(spec: FeatureSpec, options: DistillOptions) -> Loss:
    """Make the hybrid loss of a batch; in training it hides some categorical values."""

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        seen = seen_by(model, batch, spec)
        log_probabilities = model(seen, batch["sequences"])
        weights = batch["weights"] if options.weighting else _alike(batch["sequences"])
        return hybrid_loss(log_probabilities, batch["sequences"], batch["soft"], weights, options)

    return loss


def hybrid_loss(
    log_probabilities: Tensor, sequences: Tensor, soft: Tensor, weights: Tensor, options: DistillOptions
) -> Tensor:
    """Compute Σ_l w_l Σ_t [CE + α·KL(q_t ‖ P_t)] (DeGRe, eq. 13), the mean over requests.

    `log_probabilities` and `soft` [B, S, L, N], `sequences` [B, S, L] (−1 past the end), `weights` [B, S] with sum 1
    per request and 0 for padding. The paper's mean over sequences of w_l times their number is the same.
    """
    there = sequences >= 0
    step = torch.zeros_like(log_probabilities[..., 0])
    if options.hard:
        chosen = log_probabilities.gather(-1, sequences.clamp(min=0)[..., None])[..., 0]
        step = step - chosen.masked_fill(~there, 0.0)
    if options.alpha:
        # Where q is 0 its term is 0, also where P is 0 (what was chosen before).
        likely = soft > 0
        ratio = soft.clamp(min=1e-30).log() - log_probabilities.masked_fill(~likely, 0.0)
        divergence = (soft * ratio).masked_fill(~likely, 0.0).sum(-1)
        step = step + options.alpha * divergence.masked_fill(~there, 0.0)
    return (weights * step.sum(-1)).sum(-1).mean()


def _alike(sequences: Tensor) -> Tensor:
    there = (sequences[..., 0] >= 0).float()
    return there / there.sum(dim=-1, keepdim=True)
