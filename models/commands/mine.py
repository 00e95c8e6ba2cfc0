"""Mine the sequences that DeGRe's generator learns from: search each request's lists under a trained evaluator.

A run that was stopped goes on where it was when it is started again with the same options.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast, get_args

import numpy as np
import torch

from models.contract.spec import FeatureSpec
from models.data.lists import ListRecord, Split
from models.data.slates import encode_slates
from models.files import file_digest
from models.mining.mine import LocalSearch, MiningOptions, mine
from models.mining.shards import MANIFEST_FILE
from models.nets.checkpoint import load_checkpoint
from models.options import parse_weights
from models.planners.worth import Triple
from models.training.value import choose_device, read_splits

_SAMPLED = "sampled"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    defaults = MiningOptions()
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE", help="list file (Parquet)")
    add("--evaluator", type=Path, required=True, metavar="FILE", help="checkpoint of a list value model")
    add("--out", type=Path, required=True, metavar="FOLDER", help="folder of the shards, for example runs/mined")
    add("--slates", type=int, metavar="N", help="training requests, drawn with the seed (default: all)")
    add("--valid-slates", type=int, default=1000, metavar="N", help="validation requests (default: %(default)s)")
    add("--seed", type=int, default=defaults.seed, help="seed of what is drawn (default: %(default)s)")
    add("--length", type=int, metavar="L", help="positions to fill (default: the evaluator's horizon)")
    add("--width", type=int, default=defaults.width, metavar="B", help="beam width (default: %(default)s)")
    add(
        "--local-search",
        choices=get_args(LocalSearch),
        default=defaults.local_search,
        help="which of the beam's lists to improve by swaps and replacements (default: %(default)s)",
    )
    add("--top-k", type=int, metavar="K", help="candidates tried at each step: the best alone (default: all)")
    add(
        "--objectives",
        type=_objectives,
        default=defaults.objectives,
        metavar="A,B,G",
        help=f"α,β,γ to search for, or {_SAMPLED!r}: others for every request (default: 1,0,0, expected clicks)",
    )
    add(
        "--weight-temperature",
        type=float,
        default=defaults.weight_temperature,
        metavar="X",
        help="τ_w: how much alike the sequences of a request weigh (default: %(default)s)",
    )
    add(
        "--shard-size",
        type=int,
        default=defaults.shard_size,
        metavar="N",
        help="requests per file (default: %(default)s)",
    )
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    add("--threads", type=int, metavar="N", help="CPU threads (default: PyTorch's)")


def run(arguments: argparse.Namespace) -> int:
    """Mine, and say what there is now."""
    for name, least in (("slates", 1), ("valid_slates", 0), ("threads", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')}: must be at least {least}, not {value}")
    options = MiningOptions(**{f.name: getattr(arguments, f.name) for f in dataclasses.fields(MiningOptions)})
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    checkpoint = load_checkpoint(arguments.evaluator)
    records = chosen_records(arguments.data, arguments.slates, arguments.valid_slates, arguments.seed)
    check_fields(checkpoint.spec, records)
    manifest = mine(
        checkpoint,
        encode_slates(records, checkpoint.spec, checkpoint.config.list_length),
        arguments.out,
        options=options,
        device=choose_device(arguments.device),
        source={"data": _named(arguments.data), "evaluator": _named(arguments.evaluator)},
    )
    print(f"{manifest.requests} requests in {manifest.shards} shards\n\n{arguments.out / MANIFEST_FILE}")
    return 0


def chosen_records(data: Path, slates: int | None, valid_slates: int, seed: int) -> list[ListRecord]:
    """Training and validation requests, in the file's order; a larger number keeps those of a smaller one.

    Raises `ValueError` if there are none for training.
    """
    splits = read_splits(data)
    if not splits["train"]:
        raise ValueError(f"{data}: has no lists of split 'train'")
    wanted: dict[Split, int] = {"train": len(splits["train"]) if slates is None else slates, "valid": valid_slates}
    chosen = list[ListRecord]()
    for stream, (split, count) in enumerate(wanted.items()):
        order = np.random.default_rng([seed, stream]).permutation(len(splits[split]))
        chosen += [splits[split][row] for row in np.sort(order[:count]).tolist()]
    return chosen


def check_fields(spec: FeatureSpec, records: Sequence[ListRecord]) -> None:
    """Raise `ValueError` naming a field of the evaluator that no list has: it was trained on other features."""
    present = {
        "user": _names(r.user for r in records),
        "context": _names(r.context for r in records),
        "item": _names(c.features for r in records for c in r.candidates),
        "scores": _names(c.scores for r in records for c in r.candidates),
    }
    for group, names in present.items():
        for field in getattr(spec, group):
            if field.name not in names:
                raise ValueError(
                    f"the evaluator reads {group}.{field.name}, which no list has; was it trained on others?"
                )


def _names(tables: Iterable[Iterable[str]]) -> set[str]:
    names = set[str]()
    for table in tables:
        names.update(table)
    return names


def _objectives(text: str) -> Triple | None:
    return None if text == _SAMPLED else cast(Triple, parse_weights(text))


def _named(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": file_digest(path)}
