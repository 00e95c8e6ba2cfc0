"""Serve bundles over HTTP.

Every flag is a setting; flags win over LISTWRIGHT_* variables (see docs/settings.md).
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.contract.manifest import EMBEDDED_BUNDLES
from service.bundles.folder import BundleFolder
from service.catalogues.choose_source import check_live
from service.environment import PREFIX, shadowing_links
from service.options.bundles import NO_DEFAULT
from service.server import check_traces
from service.server import run as run_alone
from service.settings import SECRETS, Settings, SettingsError, flag, load_settings
from service.telemetry.logs import configure_logging
from service.workers.supervisor import run as run_workers

_log = logging.getLogger(__name__)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add one flag per setting, except for secrets."""
    for name, field in Settings.model_fields.items():
        if name in SECRETS:
            continue
        note = f"{field.description} [{PREFIX}{name.upper()}; default: {field.default}]"
        parser.add_argument(flag(name), default=argparse.SUPPRESS, metavar="VALUE", help=note.replace("%", "%%"))


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop. Raises `SettingsError` naming the wrong setting."""
    flags = vars(arguments)
    embedded = not _names_bundles(flags)
    settings = load_settings({**flags, "bundles": EMBEDDED_BUNDLES} if embedded else flags)
    configure_logging(level=settings.log_level, as_json=settings.log_json)
    if embedded:
        _log.warning("no bundles folder is given: serving the embedded demo bundle; --bundles names another folder")
    for name in shadowing_links(os.environ, Settings.model_fields):
        _log.info("%s is ignored: Kubernetes has set it for a Service, and it is no setting", name)
    check_shadow(settings)
    check_live(settings)
    check_traces(settings)
    settings = choose_default(settings)
    try:
        return run_alone(settings) if settings.workers == 1 and not settings.engine_processes else run_workers(settings)
    except (SettingsError, ModuleNotFoundError):
        raise
    except Exception:  # The log is read by machines, a traceback of the interpreter is not.
        _log.critical("the service ends because of a fault of its own", exc_info=True)
        return 1


def _names_bundles(flags: Mapping[str, Any]) -> bool:
    """Say whether a flag, a variable or the default folder says which bundles to serve."""
    variable = f"{PREFIX}BUNDLES"
    given = "bundles" in flags or variable in map(str.upper, os.environ)
    return given or Path(Settings.model_fields["bundles"].default).is_dir()


def choose_default(settings: Settings) -> Settings:
    """Return the settings with the folder's only model as the default, if they name none.

    A folder with nothing in it decides nothing: its models may come later, and without a setting the first that goes
    live is the default. Raises `SettingsError` if there are several to choose from, or no folder of the one that is
    named; a version that cannot be read may be mended while the service waits for it.
    """
    if settings.default_model == NO_DEFAULT:
        return settings
    setting = "LISTWRIGHT_DEFAULT_MODEL (--default-model)"
    folder = BundleFolder(settings.bundles)
    names = list(folder.scan().bundles)
    if settings.default_model is not None:
        if names and folder.is_gone(settings.default_model):
            found = f"{settings.bundles}; there is: {', '.join(names)}"
            raise SettingsError(f"{setting}: there is no bundle {settings.default_model!r} in {found}")
        return settings
    if len(names) > 1:
        raise SettingsError(
            f"{setting}: is needed, since {settings.bundles} has several models: {', '.join(names)}; 'none' if every "
            "request names its model"
        )
    return settings.model_copy(update={"default_model": names[0]}) if names else settings


def check_shadow(settings: Settings) -> None:
    """Raise `SettingsError` if the shadow will not be live at the start.

    A folder with nothing in it says nothing: its bundles may come later.
    """
    if settings.shadow_bundle is None:
        return
    name, version = settings.shadow_bundle
    found = BundleFolder(settings.bundles).scan().bundles
    live = found.get(name, [])[-settings.keep_versions :]
    if not found or (live and version in (None, *live)):
        return
    setting = "LISTWRIGHT_SHADOW (--shadow)"
    if not live:
        raise SettingsError(f"{setting}: there is no bundle {name!r} in {settings.bundles}")
    raise SettingsError(
        f"{setting}: version {version!r} of {name!r} is not among the newest {settings.keep_versions} "
        f"(LISTWRIGHT_KEEP_VERSIONS), which are live from the start: {', '.join(live)}"
    )
