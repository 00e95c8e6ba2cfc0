"""Declare and read the options of `listwright data simulator`."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from models.datasets import simulated_logs
from models.datasets.declared_world import DECLARED, EXPLORATION, LENGTH
from models.datasets.given_items import with_items_of
from models.datasets.simulator import SimulatorConfig
from models.datasets.source import ListSource
from models.distributed.cluster import add_ray_options
from models.options import LIST_FILE, parse_seed

_WORLD: Final[Mapping[str, str]] = {
    "candidates": "candidates per request",
    "kappa": "strength of the list context; 0: position and item alone decide",
    "categories": "item categories",
    "items": "items in the catalogue",
    "users": "users",
    "price_spread": "spread of the log price",
    "brands": "brands of items; 0: none",
    "brand_quality": "spread of what a brand adds to the quality of its items",
    "brand_fatigue": "how alike two items of one brand are to users, 0 to 1",
    "click_anchoring": "how much cheaper items after dear ones are clicked more; 0: only bought more",
    "prior_noise": "noise of the prior scores in logits, drawn per request and item",
    "prior_bias": "error of the prior scores in logits, drawn once per item",
    "ctr_slope": "factor of the logits of the prior ctr; 1 is calibrated",
    "ctr_shift": "added to the logits of the prior ctr",
    "cvr_slope": "factor of the logits of the prior cvr; 1 is calibrated",
    "cvr_shift": "added to the logits of the prior cvr",
}
_FROM_FILE: Final = ("categories", "price_spread")
"""What the items of a file settle."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the log, of the world, and of items from a file."""
    add = parser.add_argument
    add("--lists", type=int, default=20_000, help="requests to log")
    add("--length", type=int, default=LENGTH, help="items exposed per list")
    policy = parser.add_mutually_exclusive_group()
    text = "randomness of the exposed order (default: 1, unless --exploration or --declared)"
    policy.add_argument("--temperature", type=float, default=argparse.SUPPRESS, help=text)
    text = f"instead: sort, with this share of random places, 0 to 1 (default with --declared: {EXPLORATION})"
    policy.add_argument("--exploration", type=float, default=argparse.SUPPRESS, metavar="SHARE", help=text)
    add(
        "--declared",
        action="store_true",
        help="start from the declared world of docs/world.md; other options change it",
    )
    text = f"seed of the users and items (default: {SimulatorConfig().seed})"
    add("--world-seed", type=parse_seed, default=argparse.SUPPRESS, dest="world_seed", help=text)
    for name, text in _WORLD.items():
        default = getattr(SimulatorConfig(), name)
        help_text = f"{text} ({_defaults(name)})"
        add(f"--{name.replace('_', '-')}", type=type(default), default=argparse.SUPPRESS, help=help_text)
    text = f"draw prices and attributes of the items from the candidates of a {LIST_FILE}"
    add("--items-from", metavar="FILE", help=text)
    add("--category-feature", metavar="NAME", help="the feature of that file that is the category")
    add(
        "--brand-feature", metavar="NAME", help="the feature of that file that is the brand (default: brands are drawn)"
    )
    add_ray_options(parser)
    parser.set_defaults(load=load)


def load(arguments: argparse.Namespace) -> ListSource:
    """Load the log that the options ask for. Raises `ValueError` naming a wrong one."""
    config, notes = _world(arguments)
    source = simulated_logs.load(
        config,
        seed=arguments.seed,
        lists=arguments.lists,
        length=arguments.length,
        **_policy(arguments),
    )
    return dataclasses.replace(source, metadata={**source.metadata, **notes})


def _defaults(name: str) -> str:
    """Say an option's default, and the declared world's where it differs."""
    default, declared = (getattr(config, name) for config in (SimulatorConfig(), DECLARED))
    return f"default: {default}" + ("" if declared == default else f"; declared: {declared}")


def _policy(arguments: argparse.Namespace) -> dict[str, float]:
    """Return the parameter of the logging policy asked for; none for the default's."""
    asked = {name: value for name, value in vars(arguments).items() if name in ("temperature", "exploration")}
    return asked or ({"exploration": EXPLORATION} if arguments.declared else {})


def _world(arguments: argparse.Namespace) -> tuple[SimulatorConfig, dict[str, Any]]:
    """Return the world asked for, and what the metadata say of its items' origin."""
    asked = {name: value for name, value in vars(arguments).items() if name in _WORLD}
    if "world_seed" in arguments:
        asked["seed"] = arguments.world_seed
    config = dataclasses.replace(DECLARED if arguments.declared else SimulatorConfig(), **asked)
    origin = {name: getattr(arguments, name) for name in ("items_from", "category_feature", "brand_feature")}
    if arguments.items_from is None:
        for name in ("category_feature", "brand_feature"):
            if origin[name] is not None:
                raise ValueError(f"--{name.replace('_', '-')}: is about the file of --items-from, which is not given")
        return config, {}
    _check_items_from(arguments, asked)
    config = with_items_of(
        config,
        arguments.items_from,
        category_feature=arguments.category_feature,
        brand_feature=arguments.brand_feature,
    )
    return config, origin | {"items_from": Path(arguments.items_from).name}


def _check_items_from(arguments: argparse.Namespace, asked: Mapping[str, Any]) -> None:
    """Raise `ValueError` naming an option that does not go with ``--items-from``."""
    if arguments.category_feature is None:
        raise ValueError("--items-from: say with --category-feature which feature is the category")
    settled = (*_FROM_FILE, "brands") if arguments.brand_feature is not None else _FROM_FILE
    for name in settled:
        if name in asked:
            raise ValueError(f"--{name.replace('_', '-')}: comes from the items of --items-from")
