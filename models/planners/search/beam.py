"""Search lists by beam under a list value model (DeGRe, §4.2), with soft labels.

All requests of a batch and all expansions of a step go through the model together, and no prefix is read twice
(`prefix.py`).

Axis letters: R requests, B beam width, W ≤ B lists held, N candidates, K expansions of a list, L positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.data.batches import Batch
from models.nets.value import ListValueModel
from models.planners.search.expansions import Expander
from models.planners.search.prefix_store import Prefixes
from models.planners.worth import Valuation


@dataclass(frozen=True)
class Beams:
    """Hold the lists of a beam search, best first, with their values and soft labels.

    `lists` int64 [R, B, L]: −1 throughout where a request has fewer than B lists. `step_values` [R, B, L]: V̂ after
    each position. `soft_labels` [R, B, L, N]: q_t of eq. 9, the softmax of V̂ over the candidates that remain at a
    position, 0 for the others.
    """

    lists: Tensor
    step_values: Tensor
    soft_labels: Tensor


@torch.no_grad()
def beam_search(
    model: ListValueModel, batch: Batch, worth: Valuation, length: int, width: int, top_k: int | None = None
) -> Beams:
    """Find the beam's `width` lists after `length` steps, each keeping those of highest V̂.

    Of equals the continuation of the better list is kept, then the candidate that stands first. `top_k` limits what
    each step tries and what soft labels cover (`expansions.Expander`). Raises `ValueError` if a request has fewer
    candidates than `length`, or `length` or `width` is not positive.
    """
    for name, value in (("length", length), ("width", width)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    _check_candidates(batch["valid"], length)
    expander = Expander(model, batch, worth, top_k)
    beam = _start(expander)
    for _ in range(length):
        beam = _step(expander, beam, width)
    return _result(beam, width)


@dataclass(frozen=True)
class _Beam:
    """Hold W lists of t items for each request; a `value` [R, W] of −∞ marks none.

    `prefixes` holds the R · W of them, and `left` bool [R, W, N] is what each may take next.
    """

    prefixes: Prefixes
    left: Tensor
    value: Tensor
    seen: Beams


def _start(expander: Expander) -> _Beam:
    prefixes, left = expander.start(1)
    r, _, n = left.shape
    nothing = prefixes.outcomes.new_zeros(r, 1, 0)
    return _Beam(prefixes, left, nothing.new_zeros(r, 1), Beams(nothing.long(), nothing, nothing.new_zeros(r, 1, 0, n)))


def _step(expander: Expander, beam: _Beam, width: int) -> _Beam:
    """Extend every list by every candidate left to it, and keep the best of all."""
    alive = (beam.value > -torch.inf)[..., None]
    expansions = expander.expand(beam.prefixes, expander.shortlist(expander.requests, beam.left & alive))
    # Of all W·K continuations of a request keep the best; a stable sort breaks ties by list, then by item.
    w, k = expansions.values.shape[1:]
    best = torch.sort(expansions.values.flatten(1), dim=1, descending=True, stable=True).indices[:, :width]
    request = expander.requests[:, None]
    parent, which = best // k, best % k
    item = expansions.items[request, parent, which]
    value = expansions.values[request, parent, which]
    seen, soft = beam.seen, expansions.soft_labels[request, parent]
    return _Beam(
        prefixes=expander.tree.grow(
            beam.prefixes, expansions.alternatives, (request * w + parent).flatten(), which.flatten()
        ),
        left=beam.left[request, parent].scatter(2, item[..., None], False),
        value=value,
        seen=Beams(
            torch.cat([seen.lists[request, parent], item[..., None]], dim=2),
            torch.cat([seen.step_values[request, parent], value[..., None]], dim=2),
            torch.cat([seen.soft_labels[request, parent], soft[:, :, None]], dim=2),
        ),
    )


def _result(beam: _Beam, width: int) -> Beams:
    """Collect the result, blank where there is no list, as wide as the beam."""
    gone = (beam.value == -torch.inf)[..., None]
    missing = width - beam.value.shape[1]
    return Beams(
        _pad(beam.seen.lists.masked_fill(gone, -1), missing, -1),
        _pad(beam.seen.step_values.masked_fill(gone, 0), missing, 0),
        _pad(beam.seen.soft_labels.masked_fill(gone[..., None], 0), missing, 0),
    )


def _check_candidates(valid: Tensor, length: int) -> None:
    counts = valid.sum(1)
    if bool((counts < length).any()):
        row = int((counts < length).int().argmax())
        raise ValueError(f"request {row} has {int(counts[row])} candidates, fewer than the {length} of a list")


def _pad(rows: Tensor, missing: int, value: float) -> Tensor:
    """Pad `rows` [R, W, ...] by `missing` more along W."""
    if missing <= 0:
        return rows
    return torch.cat([rows, rows.new_full((rows.shape[0], missing, *rows.shape[2:]), value)], dim=1)
