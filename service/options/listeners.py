"""Say where the service listens, what it reads, and how it stops."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from service.options.values import LONGEST_SECONDS, Host, NamedPath, Port, Seconds, SecondsOrZero

REQUEST_BYTES: Final = 4096
"""About what an unfinished request takes beside its body."""

MEBIBYTE: Final = 1024 * 1024


class ListenerOptions(BaseModel):
    """Addresses, connections, bodies, and the end of a process."""

    host: Host = Field("127.0.0.1", description="Address that the public listener binds to.")
    port: Port = Field(8000, description="Port of the public listener; 0 picks a free one and prints it.")
    uds: NamedPath | None = Field(
        None, description="Path of a Unix socket for the public listener, instead of an address and a port."
    )
    admin_host: Host = Field("127.0.0.1", description="Address of the admin listener; keep it on loopback.")
    admin_port: Port | None = Field(
        None, description="Port of the admin listener. Missing: the public port + 1, or a free one if that is 0."
    )
    admin_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Comma-separated host names under which the admin listener answers, besides those of loopback and "
        "`admin_host`. Others get 421, which keeps web pages out (DNS rebinding).",
    )
    pages: bool = Field(True, description="Serve `/`, `/docs` and `/playground`; false (or `off`): 404.")
    max_body_bytes: int = Field(
        2 * 1024 * 1024,
        ge=1024,
        description="Largest request body, before and after decompression; a larger one gets 413.",
    )
    max_unfinished_mb: int = Field(
        64,
        ge=1,
        description="Most MiB of requests that have come in part, in one process; more get 503. One of the largest "
        "body must fit.",
    )
    max_unfinished_per_peer_mb: int = Field(
        32,
        ge=1,
        description="Most MiB of those from one address; a proxy counts as one. One of the largest body must fit.",
    )
    max_connections: int = Field(
        4096, ge=1, description="Most open connections of one process; more get 503 and are closed."
    )
    keep_alive_seconds: Seconds = Field(
        75.0,
        description="A connection without a request is closed after so long. It should be longer than the proxy's own "
        "limit in front: Google's balancers want 620.",
    )
    read_timeout_seconds: Seconds = Field(
        5.0,
        description="Most time for a client to send its headers, else it is cut off; its body, else it gets 408; and "
        "to take any byte of an answer, else it is cut off.",
    )
    shutdown_delay_seconds: SecondsOrZero = Field(
        0.0, description="After SIGTERM: time between becoming not ready and closing the listener."
    )
    drain_seconds: int = Field(
        10, ge=0, le=LONGEST_SECONDS, description="After SIGTERM: most time for requests in progress to finish."
    )
    drain_quiet_seconds: SecondsOrZero = Field(
        0.5, description="After SIGTERM: a kept-alive connection is closed after so much silence."
    )

    @field_validator("max_unfinished_mb", "max_unfinished_per_peer_mb")
    @classmethod
    def _holds_the_largest_body(cls, value: int, info: ValidationInfo) -> int:
        # Else such a body gets 503 with `Retry-After` however often it comes.
        largest = info.data.get("max_body_bytes")  # None: it is wrong itself.
        if largest is not None and value * MEBIBYTE < largest + REQUEST_BYTES:
            needed = -(-(largest + REQUEST_BYTES) // MEBIBYTE)
            raise ValueError(
                f"{value} MiB is not enough for one request of LISTWRIGHT_MAX_BODY_BYTES ({largest}); it must be at "
                f"least {needed}, or that smaller"
            )
        return value

    @field_validator("admin_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(name.strip().lower() for name in value.split(",") if name.strip())
