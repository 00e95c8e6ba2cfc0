"""Tell this service's variables from those of others, and from misspelt ones; find its cache.

Kubernetes gives every pod variables for every Service of its namespace. Those of a Service whose name begins with
``listwright`` begin like settings, and one can even have a setting's name: ``LISTWRIGHT_PORT=tcp://10.0.0.1:80``.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from pydantic_settings import EnvSettingsSource, PydanticBaseSettingsSource

PREFIX: Final = "LISTWRIGHT_"
# <NAME>_SERVICE_HOST, <NAME>_SERVICE_PORT, <NAME>_SERVICE_PORT_<PORT NAME>, <NAME>_PORT_<NUMBER>_<PROTOCOL>[_<PART>]
_LINK: Final = re.compile(r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
# <NAME>_PORT is known by its value alone.
_LINK_PORT: Final = re.compile(r"(.+_)?PORT")
_LINK_URL: Final = re.compile(r"(tcp|udp|sctp)://\S+:\d+")


def is_service_link(name: str, value: str) -> bool:
    """Tell whether Kubernetes has set this variable for a Service."""
    rest = name.upper().removeprefix(PREFIX)
    return bool(_LINK.fullmatch(rest) or (_LINK_PORT.fullmatch(rest) and _LINK_URL.fullmatch(value)))


def shadowing_links(environment: Mapping[str, str], settings: Collection[str]) -> list[str]:
    """List variables of Kubernetes that have the name of a setting."""
    names = {PREFIX + name.upper() for name in settings}
    return sorted(k for k, value in environment.items() if k.upper() in names and is_service_link(k, value))


def leave_out_links(environment: PydanticBaseSettingsSource) -> None:
    """Take the variables that Kubernetes sets for a Service out of a source of settings."""
    assert isinstance(environment, EnvSettingsSource)
    given = environment.env_vars.items()
    environment.env_vars = {k: v for k, v in given if not is_service_link(k, v or "")}


def unknown_variables(environment: Mapping[str, str], settings: Collection[str]) -> list[str]:
    """Describe each variable with the prefix that is no setting.

    Each comes with the nearest name of a setting.
    """
    names = {name.upper() for name in settings}
    found = []
    for variable, value in sorted(environment.items()):
        name = variable.upper().removeprefix(PREFIX)
        if variable.upper().startswith(PREFIX) and name not in names and not is_service_link(variable, value):
            found.append(f"{variable}: no such setting{_nearest(name, names)}")
    return found


def _nearest(name: str, names: Collection[str]) -> str:
    close = difflib.get_close_matches(name, sorted(names), n=1)
    return f" (did you mean {PREFIX}{close[0]}?)" if close else ""


def user_cache_folder() -> Path | None:
    """Return this program's folder among the user's caches; None without a home."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        return base / "listwright"
    try:
        return Path.home() / ".cache" / "listwright"
    except RuntimeError:
        return None
