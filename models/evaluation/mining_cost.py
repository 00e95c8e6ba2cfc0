"""Measure the gain of the prefix cache in mining over re-reading every list.

Both search the same requests under the same evaluator with all expansions of a step in common batches, and must find
lists of the same value. Passes alternate, so that a host whose speed drifts slows both.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from models.data.batches import Batch
from models.data.slates import list_features
from models.mining.mine import chosen_lists
from models.nets.checkpoint import load_checkpoint
from models.nets.value import ListValueModel
from models.options import add_device_options, check_at_least, parse_seed, use_threads
from models.planners.search.beam import beam_search
from models.planners.search.expansions import left_first
from models.planners.worth import Valuation, Worth
from models.training.value import choose_device

_LISTS: Final = 2048
"""Lists per forward pass: near the quickest on CPUs, as `prefix` has it for alternatives."""
_TOLERANCE: Final = 1e-4


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE", help="list file (Parquet)")
    add("--evaluator", type=Path, required=True, metavar="FILE", help="checkpoint of a list value model")
    add("--slates", type=int, default=128, metavar="N", help="training requests per pass (default: %(default)s)")
    add("--width", type=int, default=8, metavar="B", help="beam width (default: %(default)s)")
    add("--repeats", type=int, default=5, metavar="N", help="passes of each search (default: %(default)s)")
    add("--seed", type=parse_seed, default=0, help="seed of the requests drawn (default: %(default)s)")
    add_device_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Search both ways in turn and print the ratio.

    Raises `ValueError` if they do not find the same.
    """
    check_at_least(arguments, slates=1, width=1, repeats=1)
    use_threads(arguments)
    checkpoint, device = load_checkpoint(arguments.evaluator), choose_device(arguments.device)
    lists = chosen_lists(arguments.data, arguments.slates, 0, arguments.seed)
    slates = lists.slates(checkpoint.spec, checkpoint.config.list_length, Path(tempfile.gettempdir()))
    batch = slates.tensors(device)
    model, length, worth = checkpoint.model.to(device), checkpoint.config.list_length, Worth()

    def cached() -> Tensor:
        return beam_search(model, batch, worth, length, arguments.width).step_values[:, :, -1]

    def scratch() -> Tensor:
        return beam_from_scratch(model, batch, worth, length, arguments.width)

    check_same(cached(), scratch())
    pairs = [(_seconds(cached, device), _seconds(scratch, device)) for _ in range(arguments.repeats)]
    sequences = len(slates) * arguments.width
    for name, seconds in zip(("cached", "from scratch"), zip(*pairs, strict=True), strict=True):
        print(f"{name:<13} {sequences / statistics.median(seconds):9.0f} sequences/s (median of {len(seconds)})")
    ratios = sorted(b / a for a, b in pairs)
    print(f"ratio         {statistics.median(ratios):9.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    return 0


@torch.no_grad()
def beam_from_scratch(model: ListValueModel, batch: Batch, worth: Valuation, length: int, width: int) -> Tensor:
    """Search as `beam_search` does, but over whole lists at each step: V̂ [R, W], best first.

    The search is `beam_search`'s; −∞ stands where a request has fewer lists.
    """
    r = len(batch["valid"])
    request = torch.arange(r, device=batch["valid"].device)[:, None]
    lists, left = request.new_zeros(r, 1, 0), batch["valid"][:, None]
    value = batch["price"].new_zeros(r, 1)
    for _ in range(length):
        left = left & (value > -torch.inf)[..., None]
        items = left_first(left)
        k = items.shape[2]
        grown = torch.cat([lists[:, :, None].expand(-1, -1, k, -1), items[..., None]], dim=3).flatten(1, 2)
        values = worth(_final_outcomes(model, batch, grown)).masked_fill(~left.gather(2, items).flatten(1), -torch.inf)
        best = torch.sort(values, dim=1, descending=True, stable=True).indices[:, :width]
        lists, value, parent = grown[request, best], values[request, best], best // k
        left = left[request, parent].scatter(2, lists[..., -1:], False)
    return value


def check_same(cached: Tensor, scratch: Tensor) -> None:
    """Raise `ValueError` if final values [R, B] and [R, W] of two searches differ by more than rounding."""
    there = scratch > -torch.inf
    difference = (cached[:, : scratch.shape[1]] - scratch)[there].abs()
    if bool((difference > _TOLERANCE * scratch[there].abs().clamp(min=1)).any()):
        raise ValueError(f"the searches differ: values by up to {float(difference.max())}")


def _final_outcomes(model: ListValueModel, batch: Batch, lists: Tensor) -> Tensor:
    """Expect (clicks, conversions, GMV) of whole lists [R, K, T], [R, K, 3]."""
    r, k, t = lists.shape
    requests = torch.arange(r, device=lists.device).repeat_interleave(k)
    flat = lists.reshape(r * k, t)
    parts = []
    for start in range(0, r * k, _LISTS):
        rows, slots = requests[start : start + _LISTS], flat[start : start + _LISTS]
        parts.append(model.increments(list_features(batch, rows, slots)).sum(dim=1))
    return torch.cat(parts).view(r, k, 3)


def _seconds(search: Callable[[], Tensor], device: torch.device) -> float:
    started = time.perf_counter()
    search()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
