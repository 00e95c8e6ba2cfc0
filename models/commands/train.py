"""Train a model on a list file (see `listwright data`)."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

import torch

from models.checking.check import survey_file
from models.checking.report import short_text
from models.commands.fields import add_field_options, field_choices
from models.data.outputs import require_other_output
from models.distributed.cluster import RayOptions, add_ray_options, connected
from models.distributed.training import train_on_ray
from models.nets.generator import GeneratorConfig
from models.nets.heads import CONTEXTS
from models.nets.value import HeadKind, ValueConfig
from models.options import LIST_FILE, add_device_options, check_at_least, parse_seed, parse_weights, use_threads
from models.training.crossfit import SMALL_LOG
from models.training.defaults import EVALUATOR, EVALUATOR_OPTIONS, GENERATOR_OPTIONS, SORT_GEN_OPTIONS
from models.training.distill import DistillOptions
from models.training.generator import train_generator
from models.training.loop import TrainOptions, has_begun
from models.training.processes import Processes, claim_device, torchrun_group
from models.training.report import training_report
from models.training.value import CHECKPOINT_FILE, METRICS_FILE, choose_device, train_value_model
from models.training.value_choice import MIX, ValueOptions
from models.training.value_fit import LISTWISE, LossKind, check_loss

_SIZES_HELP: Final = {
    "dim": "width of the transformer",
    "layers": "transformer layers",
    "heads": "attention heads",
    "list_length": "list horizon L: how many positions the model can value",
    "field_dim": "embedding size per field",
    "dropout": "dropout in training",
}
_GENERATOR_HELP: Final = {
    **{name: text for name, text in _SIZES_HELP.items() if name != "list_length"},
    "layers": "layers of the encoder and of the decoder",
}
_OPTION_HELP: Final = {
    "epochs": "epochs at most",
    "batch_size": "lists per batch",
    "learning_rate": "peak learning rate",
    "weight_decay": "AdamW's weight decay",
    "warmup": "share of all steps in which the learning rate rises; afterwards it falls by cosine",
    "clip_norm": "largest gradient norm",
    "patience": "epochs without a better validation loss before stopping",
    "seed": "seed of initialisation, shuffling and dropout",
}
_RESUME: Final = ("always", "auto")
_CHOICE: Final = ("folds", "listwise", "mix", "curve", "loss", "skip", "gate")
"""Fields of `ValueOptions` that are options of the command."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add one subcommand per model."""
    families = parser.add_subparsers(dest="family", required=True, metavar="MODEL")
    _add_value_model(families, "sort-gen", "SORT, the list value model of SORT-Gen", ValueConfig(), SORT_GEN_OPTIONS)
    _add_value_model(families, "degre-evaluator", "DeGRe's lookahead evaluator", EVALUATOR, EVALUATOR_OPTIONS)
    _add_generator(families)


def run(arguments: argparse.Namespace) -> int:
    """Train, write the run folder, print the report."""
    check_at_least(arguments, dim=1, layers=1, heads=1, list_length=1, field_dim=1)
    require_other_output("--out", arguments.out, arguments.data, getattr(arguments, "evaluator", None))
    check: Callable[[argparse.Namespace], None] = arguments.check
    ray = RayOptions.of(arguments)
    if ray is not None:
        # A cluster that is not there is told before a large file is read.
        with connected(ray) as cluster:
            check(arguments)
            work = partial(_train, _absolute(arguments))
            report = train_on_ray(work, arguments.out, cluster, resume=_resumes(arguments))
    else:
        with torchrun_group(choose_device(arguments.device)):
            processes, resume = Processes.here(), _resumes(arguments)
            processes.wait()  # Another process would find what the first one writes from here on.
            if not processes.writes:
                _train(arguments, arguments.device, resume)
                return 0
            check(arguments)
            report = _train(arguments, arguments.device, resume)
    print(f"{report}\n\n{arguments.out / CHECKPOINT_FILE}\n{arguments.out / METRICS_FILE}")
    return 0


def _resumes(arguments: argparse.Namespace) -> bool:
    return has_begun(arguments.out) if arguments.resume == "auto" else arguments.resume is not None


def _train(arguments: argparse.Namespace, device: str, resume: bool) -> str:
    """Train in this process, which may be one of several, and return the report."""
    use_threads(arguments)
    train: Callable[[argparse.Namespace, torch.device, bool], str] = arguments.train
    return train(arguments, claim_device(choose_device(device)), resume)


def _absolute(arguments: argparse.Namespace) -> argparse.Namespace:
    """Make paths mean the same in processes that began in another folder."""
    paths = {name: path.resolve() for name, path in vars(arguments).items() if isinstance(path, Path)}
    data = Path(arguments.data)
    return argparse.Namespace(**{**vars(arguments), **paths, **({"data": data.resolve()} if data.exists() else {})})


def _add_value_model(families: Any, name: str, text: str, config: ValueConfig, options: TrainOptions) -> None:
    parser: argparse.ArgumentParser = families.add_parser(name, help=text, description=f"Train {text}.")
    _add_common(parser)
    add_field_options(parser)
    sizes = parser.add_argument_group("model")
    _add_fields(sizes, dataclasses.asdict(config), _SIZES_HELP)
    _add_parts(sizes, config)
    _add_fields(parser.add_argument_group("training"), dataclasses.asdict(options), _OPTION_HELP)
    _add_choice(parser.add_argument_group("choice on held-out lists"))
    parser.set_defaults(check=_check_value_model, train=_train_value_model, input_block=config.input_block)


def _add_parts(group: argparse._ArgumentGroup, config: ValueConfig) -> None:
    add = group.add_argument
    text = (
        "hazards of the counts upon the prior scores; independent thresholds as in the papers; or, in ablations, each "
        "place's events by themselves, or clicks and the purchases given a click as in ESMM"
    )
    add("--head", choices=get_args(HeadKind), default=config.head, help=f"{text} (default: %(default)s)")
    text = "path likelihood of hazards, ordered as in the papers, or that of another head (default: the head's own)"
    add("--loss", choices=get_args(LossKind), help=text)
    text = "counts of earlier events that a hazard tells apart"
    add("--states", type=int, default=config.states, metavar="N", help=f"{text} (default: %(default)s)")
    add("--no-skip", dest="skip", action="store_false", help="do not add the prior scores to the hazards' logits")
    text = "list-context features: not at all, linearly in the hazard, or in the token and the hazard"
    add("--context", choices=CONTEXTS, default=config.context, help=f"{text} (default: %(default)s)")
    text = "rank of the learnt affinities between values that follow each other, 0 for none"
    add("--affinity", type=int, default=config.affinity, metavar="RANK", help=f"{text} (default: %(default)s)")


def _add_choice(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    default = f"5 folds for less than {SMALL_LOG:,} lists or without validation lists, else 0"
    text = f"cross-fit in K folds; 0: choose on the split 'valid' (default: {default})"
    add("--folds", type=int, metavar="K", help=text)
    text = "weight of the listwise loss beside the path likelihood (default: %(default)s)"
    add("--listwise", type=float, default=LISTWISE, metavar="MU", help=text)
    text = "the α,β,γ to serve with, at which lists must not be worse than the sort (default: 5,1,1)"
    add("--objectives", dest="mix", type=parse_weights, default=MIX, metavar="A,B,G", help=text)
    add("--no-gate", dest="gate", action="store_false", help="keep the whole correction, whatever held-out lists say")
    text = "also train on these shares of the training lists, for example 0.1,0.3, and print how each did"
    add("--learning-curve", dest="curve", type=parse_shares, default=(), metavar="SHARE,…", help=text)


def _add_generator(families: Any) -> None:
    text = "DeGRe's online generator, on sequences of `listwright mine`"
    parser = families.add_parser("degre-generator", help=text, description=f"Train {text}.")
    _add_common(parser)
    parser.add_argument("--mined", type=Path, required=True, metavar="FOLDER", help="mined sequences")
    parser.add_argument("--evaluator", type=Path, required=True, metavar="FILE", help="the evaluator that mined them")
    _add_fields(parser.add_argument_group("model"), dataclasses.asdict(GeneratorConfig()), _GENERATOR_HELP)
    group = parser.add_argument_group("distillation")
    add = group.add_argument
    add("--alpha", type=float, default=0.01, metavar="X", help="weight of the soft labels (default: %(default)s)")
    add("--weight-temperature", type=float, metavar="X", help="τ_w of the sequence weights (default: as mined)")
    add("--no-hard-labels", dest="hard", action="store_false", help="do not imitate the mined sequences")
    add("--no-weighting", dest="weighting", action="store_false", help="weigh all sequences of a request alike")
    _add_fields(parser.add_argument_group("training"), dataclasses.asdict(GENERATOR_OPTIONS), _OPTION_HELP)
    parser.set_defaults(check=_check_generator, train=_train_generator)


def _check_value_model(arguments: argparse.Namespace) -> None:
    """Check the options, then the list file, before anything is written."""
    check_loss(arguments.head, arguments.loss)
    _value_config(arguments), _options(arguments), _value_options(arguments)
    # The check comes before anything is written; training reads no embedding, so the check need not either.
    survey = survey_file(arguments.data, field_choices(arguments), embeddings=False)
    lost = survey.places.past(arguments.list_length)
    print(short_text(arguments.data, survey), *([] if lost is None else [lost]), sep="\n", flush=True)


def _train_value_model(arguments: argparse.Namespace, device: torch.device, resume: bool) -> str:
    checkpoint = train_value_model(
        arguments.data,
        arguments.out,
        family=arguments.family,
        config=_value_config(arguments),
        options=_options(arguments),
        device=device,
        value_options=_value_options(arguments),
        fields=field_choices(arguments),
        resume=resume,
    )
    return training_report(checkpoint.provenance)


def _value_config(arguments: argparse.Namespace) -> ValueConfig:
    names = (*_SIZES_HELP, "input_block", "head", "context", "affinity", "states")
    return ValueConfig(**_taken(arguments, names))


def _value_options(arguments: argparse.Namespace) -> ValueOptions:
    return ValueOptions(**_taken(arguments, _CHOICE))


def _options(arguments: argparse.Namespace) -> TrainOptions:
    return TrainOptions(**_taken(arguments, _OPTION_HELP))


def _distill_options(arguments: argparse.Namespace) -> DistillOptions:
    return DistillOptions(**_taken(arguments, ("hard", "alpha", "weighting")))


def _check_generator(arguments: argparse.Namespace) -> None:
    temperature = arguments.weight_temperature
    if temperature is not None and not 0 < temperature < math.inf:
        raise ValueError(f"--weight-temperature: must be positive, not {temperature}")
    _options(arguments), _distill_options(arguments)


def _train_generator(arguments: argparse.Namespace, device: torch.device, resume: bool) -> str:
    checkpoint = train_generator(
        arguments.data,
        arguments.mined,
        arguments.evaluator,
        arguments.out,
        sizes=_taken(arguments, _GENERATOR_HELP),
        distill=_distill_options(arguments),
        weight_temperature=arguments.weight_temperature,
        options=_options(arguments),
        device=device,
        resume=resume,
    )
    metrics = checkpoint.provenance["metrics"]
    return f"best epoch {metrics['best_epoch']}, validation loss {metrics['valid_loss']:.4f}"


def parse_shares(text: str) -> tuple[float, ...]:
    """Read ``"0.1,0.3"`` as shares. Raises `argparse.ArgumentTypeError`."""
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        shares = ()
    if not shares or any(not 0 < share < 1 for share in shares):
        raise argparse.ArgumentTypeError(f"must be numbers between 0 and 1, not {text!r}")
    return shares


def _taken(arguments: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in names}


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, metavar="FILE", help=LIST_FILE)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="run folder, for example runs/first")
    text = "go on with the run in the folder, options unchanged; auto: begin one where there is none (default: always)"
    parser.add_argument("--resume", nargs="?", choices=_RESUME, const=_RESUME[0], metavar="always|auto", help=text)
    add_device_options(parser)
    add_ray_options(parser)


def _add_fields(group: argparse._ArgumentGroup, defaults: Mapping[str, Any], texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        group.add_argument(
            "--" + name.replace("_", "-"),
            type=parse_seed if name == "seed" else type(defaults[name]),
            default=defaults[name],
            metavar="N" if isinstance(defaults[name], int) else "X",
            help=f"{text} (default: %(default)s)",
        )
