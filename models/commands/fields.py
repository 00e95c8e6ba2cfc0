"""Declare the options that say how fields are read, and turn them into choices."""

from __future__ import annotations

import argparse
from typing import Final, get_args

from models.data.field_choices import MAX_VOCABULARY, FieldChoices, FieldKind
from models.options import check_at_least

_KINDS: Final[tuple[FieldKind, ...]] = get_args(FieldKind)
_GROUPS: Final = "user, context, item, scores"


def add_field_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--field``, ``--ignore`` and ``--max-vocabulary``."""
    add = parser.add_argument_group("fields").add_argument
    kinds = "|".join(_KINDS)
    text = f"read a field as this kind, whatever its values; NAME or GROUP.NAME ({_GROUPS}); repeat the option"
    add("--field", dest="kinds", type=parse_field, action="append", default=[], metavar=f"NAME={kinds}", help=text)
    text = "do not read these fields"
    add("--ignore", type=_parse_names, action="extend", default=[], metavar="NAME,…", help=text)
    text = "values of a category at most; a field with more is hashed (default: %(default)s)"
    add("--max-vocabulary", type=int, default=MAX_VOCABULARY, metavar="N", help=text)


def field_choices(arguments: argparse.Namespace) -> FieldChoices:
    """Read the choices. Raises `ValueError` for two kinds of one field."""
    check_at_least(arguments, max_vocabulary=1)
    ignored: list[tuple[str, FieldKind]] = [(name, "ignore") for name in arguments.ignore]
    kinds: dict[str, FieldKind] = {}
    for name, kind in [*arguments.kinds, *ignored]:
        if kinds.setdefault(name, kind) != kind:
            raise ValueError(f"--field: {name} cannot be both {kinds[name]!r} and {kind!r}")
    return FieldChoices(kinds, max_vocabulary=arguments.max_vocabulary)


def parse_field(text: str) -> tuple[str, FieldKind]:
    """Read ``"item.brand=category"``. Raises `argparse.ArgumentTypeError`."""
    name, _, kind = text.rpartition("=")
    found: FieldKind | None = next((known for known in _KINDS if known == kind.strip()), None)
    if not name.strip() or found is None:
        raise argparse.ArgumentTypeError(f"must be NAME={'|'.join(_KINDS)}, not {text!r}")
    return name.strip(), found


def _parse_names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"must be names with commas between, not {text!r}")
    return names
