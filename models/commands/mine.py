"""Mine the sequences that DeGRe's generator learns from, under a trained evaluator.

A run that was stopped goes on where it was when it is started again with the same options.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import torch

from models.data.outputs import require_other_output
from models.data.reading.stores import source_digest
from models.distributed.cluster import RayOptions, add_ray_options, connected
from models.distributed.mining import RayFill
from models.files import file_digest
from models.mining.mine import Fill, check_fields, chosen_lists, long_enough, mine, mined_length
from models.mining.miner import LocalSearch, MiningOptions
from models.mining.shards import MANIFEST_FILE, MinedManifest
from models.nets.checkpoint import load_checkpoint
from models.options import (
    LIST_FILE,
    Weights,
    add_device_options,
    check_at_least,
    parse_seed,
    parse_weights,
    use_threads,
)
from models.training.value import choose_device

_SAMPLED = "sampled"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    defaults = MiningOptions()
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE", help=LIST_FILE)
    add("--evaluator", type=Path, required=True, metavar="FILE", help="checkpoint of a list value model")
    add("--out", type=Path, required=True, metavar="FOLDER", help="folder of the shards, for example runs/mined")
    add("--slates", type=int, metavar="N", help="training requests, drawn with the seed (default: all)")
    add("--valid-slates", type=int, default=1000, metavar="N", help="validation requests (default: %(default)s)")
    add("--seed", type=parse_seed, default=defaults.seed, help="seed of what is drawn (default: %(default)s)")
    text = "positions to fill; lists with fewer candidates are skipped (default: the evaluator's horizon)"
    add("--length", type=int, metavar="L", help=text)
    add("--width", type=int, default=defaults.width, metavar="B", help="beam width (default: %(default)s)")
    text = "which of the beam's lists to improve by swaps and replacements (default: %(default)s)"
    add("--local-search", choices=get_args(LocalSearch), default=defaults.local_search, help=text)
    add("--top-k", type=int, metavar="K", help="candidates tried at each step: the best alone (default: all)")
    text = f"α,β,γ to search for, or {_SAMPLED!r}: others for every request (default: 1,0,0, expected clicks)"
    add("--objectives", type=_objectives, default=defaults.objectives, metavar="A,B,G", help=text)
    text = "τ_w: how much alike the sequences of a request weigh (default: %(default)s)"
    add("--weight-temperature", type=float, default=defaults.weight_temperature, metavar="X", help=text)
    text = "requests per file (default: %(default)s)"
    add("--shard-size", type=int, default=defaults.shard_size, metavar="N", help=text)
    add_device_options(parser)
    add_ray_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Mine, and print the number of requests and shards."""
    check_at_least(arguments, slates=1, valid_slates=0)
    require_other_output("--out", arguments.out, arguments.data, arguments.evaluator)
    use_threads(arguments)
    options = MiningOptions(**{f.name: getattr(arguments, f.name) for f in dataclasses.fields(MiningOptions)})
    ray = RayOptions.of(arguments)
    if ray is None:
        manifest = _mine(arguments, options, choose_device(arguments.device))
    else:
        with connected(ray) as cluster:
            manifest = _mine(arguments, options, torch.device("cpu"), RayFill(arguments.evaluator, cluster))
    print(f"{manifest.requests} requests in {manifest.shards} shards\n\n{arguments.out / MANIFEST_FILE}")
    return 0


def _mine(
    arguments: argparse.Namespace, options: MiningOptions, device: torch.device, fill: Fill | None = None
) -> MinedManifest:
    checkpoint = load_checkpoint(arguments.evaluator)
    lists = chosen_lists(arguments.data, arguments.slates, arguments.valid_slates, arguments.seed)
    check_fields(checkpoint.spec, lists)
    length = mined_length(checkpoint, options)
    every = lists.slates(checkpoint.spec, checkpoint.config.list_length, arguments.out)
    slates = long_enough(every, length, arguments.out)
    if skipped := len(every) - len(slates):
        print(f"skipped {skipped:,} of {len(every):,} lists with fewer candidates than --length {length}", flush=True)
    return mine(
        checkpoint,
        slates,
        arguments.out,
        options=options,
        device=device,
        source={"data": _named(arguments.data, source_digest), "evaluator": _named(arguments.evaluator, file_digest)},
        fill=fill,
    )


def _objectives(text: str) -> Weights | None:
    return None if text == _SAMPLED else parse_weights(text)


def _named(path: Path, digest: Callable[[Path], str]) -> dict[str, str]:
    return {"file": path.name, "sha256": digest(path)}
