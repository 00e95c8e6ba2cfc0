"""Share types of values among the groups of options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import BeforeValidator, Field

LONGEST_SECONDS: Final = 24 * 60 * 60
"""Most of any time that is set in seconds: a day."""


def _refuse_empty(value: object) -> object:
    if value == "":  # As a path it would be the working directory, which nobody has named.
        raise ValueError("is set but empty")
    return value


# Infinity is refused everywhere: settings go to other processes as JSON, which has no such number.
Milliseconds = Annotated[float, Field(gt=0, le=60_000, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=LONGEST_SECONDS, allow_inf_nan=False)]
SecondsOrZero = Annotated[float, Field(ge=0, le=LONGEST_SECONDS, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65535)]
Host = Annotated[str, BeforeValidator(_refuse_empty)]
NamedPath = Annotated[Path, BeforeValidator(_refuse_empty)]
