"""Build catalogues of what is known of items, so that requests need not say it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from models.catalogue.build import build_catalogue, compact_catalogue, update_catalogue
from models.catalogue.showing import describe, faults
from models.contract.catalogue.manifest import CatalogueManifest
from models.contract.manifest import MANIFEST_FILE, Manifest
from models.contract.spec import FeatureSpec
from models.files import ended_by_sigterm

_ITEMS = "Parquet files with one row per item, folders of such files, or URLs of either"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare one subcommand per task."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    text = "build a version from files of items, or from a catalogue that was built for another feature spec"
    _declare(tasks, "build", text, _build, items=f"{_ITEMS}; or the folder of one version of a catalogue")
    text = "make a version from the newest one and files of items; rows whose column `deleted` is true delete items"
    _declare(tasks, "update", text, _update, items=_ITEMS)
    _declare(tasks, "compact", "make a version from the newest one, with its segments merged into one", _compact)
    for name, text, run_task in (
        ("show", "list versions, or the fields and segments of one", _show),
        ("check", "compare the files of one version with its checksums", _check),
    ):
        task = tasks.add_parser(name, help=text, description=text)
        help_text = "a version's folder" if name == "check" else "a version's folder, or the catalogues' root"
        task.add_argument("folder", type=Path, metavar="FOLDER", help=help_text)
        task.set_defaults(run_task=run_task)


def run(arguments: argparse.Namespace) -> int:
    """Do the task, and return its exit status."""
    with ended_by_sigterm():
        return int(arguments.run_task(arguments))


def read_spec(path: Path) -> FeatureSpec:
    """Read the feature spec of a bundle's folder, a bundle.json, or a checkpoint.

    Raises `ValueError`.
    """
    if path.is_dir():
        return Manifest.read(path).spec
    if path.name == MANIFEST_FILE:
        return Manifest.read(path.parent).spec
    from models.nets.checkpoint import load_spec  # It imports torch, which a bundle's spec does not need.

    return load_spec(path)


def _declare(
    tasks: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    run_task: Callable[[argparse.Namespace], int],
    *,
    items: str | None = None,
) -> None:
    task = tasks.add_parser(name, help=text, description=text)
    if items is not None:
        task.add_argument("--items", type=Path, nargs="+", required=True, metavar="PATH", help=items)
    text = "what has the feature spec to encode items for: a bundle's folder, its bundle.json, or a checkpoint"
    task.add_argument("--spec", type=Path, required=True, metavar="BUNDLE", help=text)
    text = "root folder of all catalogues; services look for one called `catalogue` in their folder of bundles"
    task.add_argument("--out", type=Path, required=True, metavar="ROOT", help=text)
    task.add_argument("--version", metavar="V", help="name of the version that is made (default: the next number)")
    task.set_defaults(run_task=run_task)


def _build(arguments: argparse.Namespace) -> int:
    spec, begin = read_spec(arguments.spec), time.monotonic()
    folder = build_catalogue(arguments.items, spec, arguments.out, version=arguments.version)
    return _report(folder, spec, begin)


def _update(arguments: argparse.Namespace) -> int:
    spec, begin = read_spec(arguments.spec), time.monotonic()
    folder = update_catalogue(arguments.items, spec, arguments.out, version=arguments.version)
    return _report(folder, spec, begin)


def _compact(arguments: argparse.Namespace) -> int:
    spec, begin = read_spec(arguments.spec), time.monotonic()
    return _report(compact_catalogue(spec, arguments.out, version=arguments.version), spec, begin)


def _show(arguments: argparse.Namespace) -> int:
    print(describe(arguments.folder))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    """Print what is wrong, and return 1 if anything is."""
    found = faults(arguments.folder)
    manifest = CatalogueManifest.read(arguments.folder)
    print("\n".join(found) or f"{_counts(manifest)} are as they were written")
    return 1 if found else 0


def _report(folder: Path, spec: FeatureSpec, begin: float) -> int:
    """Print the new version, and the spec's fields that no item has."""
    manifest = CatalogueManifest.read(folder)
    known = {field.name for field in manifest.fields}
    lacking = [field.name for field in spec.item if field.name not in known]
    print(f"{_counts(manifest)}, {time.monotonic() - begin:.1f} s")
    if lacking:
        print(f"not in the items, so that requests must say it: {', '.join(lacking)}")
    print(folder)
    return 0


def _counts(manifest: CatalogueManifest) -> str:
    return f"{_count(manifest.items, 'item')} in {_count(len(manifest.segments), 'segment')}"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
