"""Share types of values among the groups of options."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Milliseconds = Annotated[float, Field(gt=0, le=60_000)]
Port = Annotated[int, Field(ge=0, le=65535)]
