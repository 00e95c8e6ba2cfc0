"""Define a scene: named settings for what a request does not say."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from service.contract.rule_schemas import ListRules
from service.contract.schemas import Diversity, Objectives, PartitionField, Queues, Timeout, Version

MOST_SCENES: Final = 64
NO_SCENE: Final = "none"
"""Label of requests without a scene; no scene can have this name."""

SCENE_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,63}$"
SceneName = Annotated[str, Meta(pattern=SCENE_NAME, description="Small letters, digits and hyphens.")]


class SceneError(ValueError):
    """Scenes that may not serve; the message names the key of the file."""


class Scene(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Settings of the requests that name this scene, each unless the request has its own."""

    name: SceneName
    model: Annotated[str, Meta(min_length=1, max_length=128, description="Missing: the default model.")] | None = None
    version: Version | None = None
    objectives: Objectives | None = None
    diversity: Diversity | None = None
    queues: Queues | None = None
    partition: PartitionField | None = None
    rules: ListRules | None = None
    top_n: Annotated[int, Meta(ge=1)] | None = None
    timeout_ms: Timeout | None = None


class SceneList(Struct, frozen=True, gc=False):
    """All live scenes, by name."""

    scenes: list[Scene]


def encode_scenes(scenes: list[Scene]) -> bytes:
    """Return a `SceneList` in JSON, without what is missing."""
    return msgspec.json.encode(_without_missing(msgspec.to_builtins(SceneList(scenes))))


def _without_missing(value: Any) -> Any:
    """Leave out every key whose value is null, at any depth."""
    if isinstance(value, dict):
        return {key: _without_missing(inner) for key, inner in value.items() if inner is not None}
    return [_without_missing(inner) for inner in value] if isinstance(value, list) else value
