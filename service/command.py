"""Serve bundles over HTTP.

Every flag is a setting; flags win over LISTWRIGHT_* variables (see docs/settings.md).
"""

from __future__ import annotations

import argparse
from typing import Final

from service.ranking.shadow import check_shadow
from service.server import run as run_alone
from service.settings import PREFIX, Settings, flag, load_settings
from service.telemetry.logs import configure_logging
from service.workers.supervisor import run as run_workers

_SECRET: Final = frozenset(("api_keys",))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add one flag per setting, except for secrets.

    A command line can be read by every user of a machine.
    """
    for name, field in Settings.model_fields.items():
        if name in _SECRET:
            continue
        note = f"{field.description} [{PREFIX}{name.upper()}; default: {field.default}]"
        parser.add_argument(flag(name), default=argparse.SUPPRESS, metavar="VALUE", help=note.replace("%", "%%"))


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop. Raises `SettingsError` naming the wrong setting."""
    settings = load_settings(vars(arguments))
    configure_logging(level=settings.log_level, as_json=settings.log_json)
    check_shadow(settings)
    return run_alone(settings) if settings.workers == 1 else run_workers(settings)
