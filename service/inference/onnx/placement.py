"""Find out by profiling one run which nodes ONNX Runtime gives to which provider.

A node that has no kernel on the device runs on the CPU, with a copy on either side of it. The copies take longer than
the node, and a CUDA graph cannot be captured around it.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnxruntime as ort

from service.inference.engine import BatchArrays
from service.inference.onnx.session import SessionConfig, session_options

_COPIES: Final = ("MemcpyFromHost", "MemcpyToHost")


@dataclass(frozen=True, slots=True)
class Placement:
    """Number of nodes that ran, per provider and kind, after optimisation."""

    kinds: Mapping[str, Mapping[str, int]]

    def nodes(self, provider: str) -> int:
        """Count the nodes on a provider, by ONNX Runtime's name of it."""
        return sum(self.kinds.get(provider, {}).values())

    def elsewhere(self, provider: str) -> dict[str, int]:
        """Count the nodes on any other provider, by kind."""
        found: Counter[str] = Counter()
        for name, kinds in self.kinds.items():
            if name != provider:
                found.update(kinds)
        return dict(found)

    @property
    def copies(self) -> int:
        """Count the copies between host and device in the middle of the graph."""
        return sum(kinds.get(kind, 0) for kinds in self.kinds.values() for kind in _COPIES)


def placement(model: Path, config: SessionConfig, providers: list[Any], batch: BatchArrays) -> Placement:
    """Run `batch` once with a profile, in its own session. Raises ONNX Runtime's errors."""
    options = session_options(config)
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(str(model), sess_options=options, providers=providers)
        session.run(None, dict(batch))
        return read_profile(json.loads(Path(session.end_profiling()).read_text("utf-8")))


def read_profile(events: list[dict[str, Any]]) -> Placement:
    """Count the nodes in a profile, each once however often it ran."""
    kinds: dict[str, Counter[str]] = {}
    for _, provider, kind in sorted(set(_nodes(events))):
        kinds.setdefault(provider, Counter())[kind] += 1
    return Placement({provider: dict(counter) for provider, counter in kinds.items()})


def _nodes(events: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Yield (name, provider, kind) of every kernel that ran."""
    for event in events:
        arguments = event.get("args", {})
        if event.get("cat") == "Node" and "provider" in arguments and "op_name" in arguments:
            yield f"{event['name']}/{arguments.get('node_index', '')}", arguments["provider"], arguments["op_name"]
