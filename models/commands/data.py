"""Turn a source into a list file, check one, or write its items."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from tqdm import tqdm

from models.commands import check, csv_log, items, simulator
from models.data.list_writer import write_lists
from models.data.outputs import require_other_output
from models.data.reading.stores import local_path
from models.datasets import expedia, movielens, taobao_ad, trivago
from models.datasets.source import ListSource, Summary
from models.distributed.cluster import RayOptions, connected
from models.distributed.parts import write_parts
from models.files import ended_by_sigterm
from models.locks import only_writer
from models.options import parse_seed


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Print an option's default, unless it is that nothing is given."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        nothing = action.default in (None, False, "", [])
        return action.help if nothing else super()._get_help_string(action)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare one subcommand per source, the check, and the items."""
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    csv_log.configure(_source(sources, "csv", "a log of your own, one row per request and item"))
    simulator.configure(_source(sources, "simulator", "a declared world whose truth is known in closed form"))
    _configure_expedia(_source(sources, "expedia", "hotel searches with clicks and bookings (Kaggle, ICDM 2013)"))
    _configure_trivago(_source(sources, "trivago", "hotel lists with click-outs (RecSys Challenge 2019)"))
    _configure_movielens(_source(sources, "movielens", "MovieLens 1M ratings as lists of six; a 5 is a click"))
    _configure_taobao_ad(_source(sources, "taobao-ad", "display ads with clicks (Tianchi 56) as lists of six"))
    check.configure(sources.add_parser("check", help=check.DESCRIPTION, description=check.DESCRIPTION))
    items.configure(sources.add_parser("items", help=items.DESCRIPTION, description=items.DESCRIPTION))


def run(arguments: argparse.Namespace) -> int:
    """Write the list file and print its summary, check one, or write its items."""
    if arguments.source == "check":
        return check.run(arguments)
    if arguments.source == "items":
        return items.run(arguments)
    _require_other_output(arguments)
    with ended_by_sigterm(), _output(arguments):
        return csv_log.convert(arguments) if arguments.source == "csv" else _convert(arguments)


def _output(arguments: argparse.Namespace) -> AbstractContextManager[None]:
    """Hold the folder of parts that is to be written, if it is one."""
    return nullcontext() if arguments.parts is None else only_writer(arguments.output)


def _require_other_output(arguments: argparse.Namespace) -> None:
    """Refuse to write lists over what they are made from."""
    sources = [*getattr(arguments, "files", []), *_files_of(getattr(arguments, "path", None))]
    items = getattr(arguments, "items_from", None)
    require_other_output("--output", arguments.output, *sources, items)
    if arguments.output.is_dir():
        for source in [*sources, *([] if items is None else [local_path(items)])]:
            if source is not None and source.parent.exists() and source.parent.samefile(arguments.output):
                raise ValueError(f"--output: {source} is what is to be read, and would be deleted")


def _files_of(path: Path | None) -> list[Path]:
    """List the files of a source, without list files that an earlier command left there."""
    if path is None or not path.is_dir():
        return [] if path is None else [path]
    return [file for file in path.iterdir() if file.is_file() and file.suffix != ".parquet"]


def _convert(arguments: argparse.Namespace) -> int:
    source: ListSource = arguments.load(arguments)
    ray = RayOptions.of(arguments)
    bar = tqdm(source.records, total=source.total, unit="list", disable=True if arguments.quiet else None)
    if ray is None:
        summary = Summary()
        write_lists(arguments.output, summary.watch(bar), source.metadata, parts=arguments.parts)
    else:
        summary = _convert_on_ray(arguments, source, ray, bar)
    print(f"{arguments.output}\n{summary.text()}")
    return 0


def _convert_on_ray(arguments: argparse.Namespace, source: ListSource, ray: RayOptions, bar: Any) -> Summary:
    if arguments.parts is None:
        raise ValueError("--ray: writes a folder of part files; say with --parts how many")
    with connected(ray) as cluster, bar:
        return write_parts(arguments.output, source, parts=arguments.parts, cluster=cluster, done=bar.update)


def _source(
    sources: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    parser = sources.add_parser(name, help=text, description=text, formatter_class=_Formatter)
    required: dict[str, Any] = {"type": Path, "required": True, "default": argparse.SUPPRESS}
    parser.add_argument(
        "-o", "--output", metavar="PATH", help="the Parquet file to write, or the folder with --parts", **required
    )
    text = "write a folder of N part files instead, for sources of millions of lists"
    parser.add_argument("--parts", type=int, default=None, metavar="N", help=text)
    parser.add_argument("--seed", type=parse_seed, default=0, help="seed of everything random")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(ray=None, workers=None)  # for sources that are read in one sequence
    return parser


def _configure_expedia(parser: argparse.ArgumentParser) -> None:
    _path(parser, "the searches as CSV, plain or compressed")
    csv_log.add_form_options(parser)
    _folds(parser, "srch_id")
    text = "GMV of a booked row: price · nights · rooms, or gross_bookings_usd"
    parser.add_argument("--gmv", choices=("stay", "gross"), default="stay", help=text)
    text = "test on the searches shown in random order instead of a fold, and train on the others only"
    parser.add_argument("--randomised-test", action="store_true", help=text)
    names = ("path", "fold", "folds", "seed", "gmv", "randomised_test")
    parser.set_defaults(
        load=lambda a: expedia.load(**{name: getattr(a, name) for name in names}, form=csv_log.form_of(a))
    )


def _configure_trivago(parser: argparse.ArgumentParser) -> None:
    _path(parser, "the shown items as CSV, plain or compressed")
    csv_log.add_form_options(parser)
    _folds(parser, "user_id")
    parser.set_defaults(
        load=lambda a: trivago.load(a.path, fold=a.fold, folds=a.folds, seed=a.seed, form=csv_log.form_of(a))
    )


def _configure_movielens(parser: argparse.ArgumentParser) -> None:
    _path(parser, "the folder with ratings.dat or ratings.dat.gz, users.dat and movies.dat")
    parser.set_defaults(load=lambda a: movielens.load(a.path, seed=a.seed))


def _configure_taobao_ad(parser: argparse.ArgumentParser) -> None:
    _path(parser, "the folder with raw_sample.csv, ad_feature.csv and user_profile.csv")
    csv_log.add_form_options(parser)
    text = "take this many users, drawn with the seed (default: all, at about 1 GB of memory per million impressions)"
    parser.add_argument("--users", type=int, default=argparse.SUPPRESS, metavar="N", help=text)
    parser.set_defaults(
        load=lambda a: taobao_ad.load(a.path, seed=a.seed, users=getattr(a, "users", None), form=csv_log.form_of(a))
    )


def _path(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--path", type=Path, required=True, default=argparse.SUPPRESS, metavar="PATH", help=text)


def _folds(parser: argparse.ArgumentParser, key: str) -> None:
    parser.add_argument("--folds", type=int, default=5, help=f"number of folds, by hash of {key}")
    parser.add_argument("--fold", type=int, default=0, help="the fold that is test; it fits no score and no embedding")
