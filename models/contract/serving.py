"""Define request paths, names of files and ONNX Runtime's session options, for all programs.

Standard library only: a caller hands in the `onnxruntime.SessionOptions` to set.
"""

from __future__ import annotations

from typing import Final, Protocol, TypeVar

RERANK_PATH: Final = "/v1/rerank"
BATCH_PATH: Final = "/v1/rerank/batch"
MOST_REQUESTS: Final = 64
"""Most requests of one batch."""

SCENES_FILE: Final = "scenes.toml"
"""Name of the file of scenes, in the bundles folder."""


class SessionOptionsLike(Protocol):
    """Offer the attributes of `onnxruntime.SessionOptions` that are set here."""

    intra_op_num_threads: int
    inter_op_num_threads: int
    enable_mem_reuse: bool
    log_severity_level: int

    def add_session_config_entry(self, key: str, value: str, /) -> None: ...


Options = TypeVar("Options", bound=SessionOptionsLike)


def set_session_options(options: Options, *, threads: int = 1) -> Options:
    """Set the options of every session, and return them."""
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The reuse planner's time explodes with the nodes: an unrolled L = 50 loads in 46 s with it, in 2.3 s without it,
    # and runs no slower.
    options.enable_mem_reuse = False
    # A spinning thread would take the CPU from the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors
    return options
