"""Read command-line options about payloads, which the locust file and its runner share."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, Final

from loadtest.requests.payloads import (
    DEFAULT_CANDIDATES,
    Payload,
    PayloadOptions,
    from_bundle,
    from_lists,
    make_payloads,
    parse_mix,
)

PAYLOAD_OPTIONS: Final[dict[str, tuple[Any, str]]] = {
    "bundle": ("", "bundle folder; its feature spec says what requests look like"),
    "lists": ("", "list file (Parquet); its real candidates are sent instead"),
    "candidates": (DEFAULT_CANDIDATES, f"candidates of a request ({DEFAULT_CANDIDATES})"),
    "mix": ("", "sizes and weights, as in 20=1,100=3, or 'default'; overrules --candidates"),
    "embedding-width": (0, "send made-up embeddings of this width (0: none); any width sends a list file's own"),
    "payloads": (64, "different requests to prepare (64)"),
    "top-n": (10, "items asked for (10)"),
    "extra": ("{}", """JSON object merged into every request, as in '{"diversity": {"lambda": 0.8}}'"""),
    "seed": (0, "seed of everything random (0)"),
}
"""Option name to default and help; the type is the default's."""


def add_payload_options(parser: ArgumentParser) -> None:
    """Add `PAYLOAD_OPTIONS` to a parser (argparse's or locust's)."""
    group = parser.add_argument_group("payloads")
    for name, (default, text) in PAYLOAD_OPTIONS.items():
        group.add_argument(f"--{name}", type=type(default), default=default, help=text.replace("%", "%%"))


def payloads_from(options: Namespace) -> list[Payload]:
    """Make the payloads of the options. Raises `ValueError` naming a wrong one."""
    settings = PayloadOptions(
        count=options.payloads,
        sizes=parse_mix(options.mix) if options.mix else {options.candidates: 1.0},
        top_n=options.top_n,
        seed=options.seed,
        extra=_json_object(options.extra),
    )
    if options.lists:
        source = from_lists(Path(options.lists), seed=options.seed, embeddings=options.embedding_width > 0)
    elif options.bundle:
        source = from_bundle(Path(options.bundle), seed=options.seed, embedding_width=options.embedding_width)
    else:
        raise ValueError("--bundle or --lists: one is needed, to know what a request looks like")
    return make_payloads(source, settings)


def _json_object(text: str) -> dict[str, object]:
    try:
        table = json.loads(text)
    except ValueError as error:
        raise ValueError(f"--extra: is not valid JSON: {error}") from None
    if not isinstance(table, dict):
        raise ValueError("--extra: must be a JSON object")
    return table
