"""Train a list value model on a list file (see `listwright data`)."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch

from models.checkpoint import Checkpoint
from models.loop import TrainOptions
from models.train import CHECKPOINT_FILE, METRICS_FILE, choose_device, train_sort_gen
from models.value import ValueConfig

_MODEL_HELP = {
    "dim": "width of the transformer",
    "layers": "transformer layers",
    "heads": "attention heads",
    "list_length": "list horizon L: how many positions the model can value",
    "field_dim": "embedding size per field",
    "dropout": "dropout in training",
}
_OPTION_HELP = {
    "epochs": "epochs at most",
    "batch_size": "lists per batch",
    "learning_rate": "peak learning rate",
    "weight_decay": "AdamW's weight decay",
    "warmup": "share of all steps in which the learning rate rises; afterwards it falls by cosine",
    "clip_norm": "largest gradient norm",
    "patience": "epochs without a better validation loss before stopping",
    "seed": "seed of initialisation, shuffling and dropout",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add one subcommand per model family."""
    families = parser.add_subparsers(dest="family", required=True, metavar="MODEL")
    text = "SORT, the list value model of SORT-Gen"
    sort_gen = families.add_parser("sort-gen", help=text, description=f"Train {text}.")
    _add_common(sort_gen)
    _add_fields(sort_gen.add_argument_group("model"), ValueConfig(), _MODEL_HELP)
    _add_fields(sort_gen.add_argument_group("training"), TrainOptions(), _OPTION_HELP)


def run(arguments: argparse.Namespace) -> int:
    """Train, write the run folder, print what came of it."""
    for name in ("dim", "layers", "heads", "list_length", "field_dim", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')}: must be at least 1, not {value}")
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    checkpoint = train_sort_gen(
        arguments.data,
        arguments.out,
        config=ValueConfig(**{name: getattr(arguments, name) for name in _MODEL_HELP}),
        options=TrainOptions(**{name: getattr(arguments, name) for name in _OPTION_HELP}),
        device=choose_device(arguments.device),
        resume=arguments.resume,
    )
    print(summary(checkpoint))
    print(f"\n{arguments.out / CHECKPOINT_FILE}\n{arguments.out / METRICS_FILE}")
    return 0


def summary(checkpoint: Checkpoint) -> str:
    """A table of the list-level metrics of a checkpoint."""
    metrics = checkpoint.provenance["metrics"]
    lines = [f"best epoch {metrics['best_epoch']}, validation loss {metrics['valid_loss']:.4f}"]
    lines += [f"{'split':<6} {'objective':<11} {'lists':>7} {'R-AUC':>7} {'PCOC':>7} {'RMSE':>9} {'unit s_o':>9}"]
    for split in ("valid", "test"):
        for name, row in metrics.get(split, {}).items():
            figures = f"{_figure(row['r_auc'])} {_figure(row['pcoc'])} {row['rmse']:9.4f}"
            lines.append(f"{split:<6} {name:<11} {row['lists']:7d} {figures} {checkpoint.units[name]:9.4f}")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return f"{'-':>7}" if value is None else f"{value:7.4f}"


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="list file (Parquet)")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="run folder, for example runs/first")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder, options unchanged")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: PyTorch's)")


def _add_fields(group: argparse._ArgumentGroup, defaults: ValueConfig | TrainOptions, texts: dict[str, str]) -> None:
    values = dataclasses.asdict(defaults)
    for name, text in texts.items():
        group.add_argument(
            "--" + name.replace("_", "-"),
            type=type(values[name]),
            default=values[name],
            metavar="N" if isinstance(values[name], int) else "X",
            help=f"{text} (default: %(default)s)",
        )
