"""Fill in what a request leaves to its scene. What the request says itself wins."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

import msgspec

from service.contract.rule_checks import NOTHING_INHERITED, Inherited
from service.contract.rule_schemas import ListRules
from service.contract.schemas import Diversity, Objectives, RerankRequest
from service.scenes.scene import Scene

_replace: Final = msgspec.structs.replace
Setting = TypeVar("Setting")
Settings = TypeVar("Settings", Objectives, Diversity)


class MergedRequest(NamedTuple):
    """A request with its scene's settings, and which of its rules are the scene's."""

    request: RerankRequest
    inherited: Inherited = NOTHING_INHERITED


def apply_scene(request: RerankRequest, scene: Scene) -> MergedRequest:
    """Return the request with the scene's settings wherever it has none of its own.

    Objectives, diversity and rules are merged by key, all else by field. A request that names a model takes no version
    from a scene of another model.
    """
    own = request.rules or ListRules()
    rules = own.over(scene.rules)
    keys = [key for key in rules.__struct_fields__ if getattr(own, key) is None and getattr(rules, key) is not None]
    same_model = request.model in (None, scene.model)
    merged = _replace(
        request,
        model=_own(request.model, scene.model),
        version=_own(request.version, scene.version) if same_model else request.version,
        objectives=_by_key(request.objectives, scene.objectives),
        diversity=_by_key(request.diversity, scene.diversity),
        queues=_own(request.queues, scene.queues),
        partition=_own(request.partition, scene.partition),
        rules=rules if keys else request.rules,
        top_n=_own(request.top_n, scene.top_n),
        timeout_ms=_own(request.timeout_ms, scene.timeout_ms),
    )
    return MergedRequest(merged, Inherited(scene.name, frozenset(keys)))


def _own(asked: Setting | None, default: Setting | None) -> Setting | None:
    return default if asked is None else asked


def _by_key(asked: Settings | None, default: Settings | None) -> Settings | None:
    """Return the settings asked for, with the others' where a key is missing."""
    if asked is None or default is None:
        return default if asked is None else asked
    gaps = [key for key in asked.__struct_fields__ if getattr(asked, key) is None]
    return _replace(asked, **{key: getattr(default, key) for key in gaps})
