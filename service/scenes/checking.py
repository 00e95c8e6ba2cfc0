"""Hold a scene to the model that it is for."""

from __future__ import annotations

from models.contract.formulas import FormulaError, compile_formula
from models.contract.manifest import Manifest
from service.contract.fitting import check_queue_count, complete_weights
from service.contract.problems import Problem
from service.contract.rule_checks import check_positions
from service.contract.schemas import Objectives
from service.scenes.scene import Scene, SceneError

_NEED_A_RULED_GRAPH = ("pinned", "caps", "floors", "boosts")


def check_scene(scene: Scene, manifest: Manifest) -> None:
    """Raise `SceneError`, naming the key, if the model cannot do what the scene asks for.

    The names of `by` and `where` may be tags, so nothing can be said about them.
    """
    where = f"scenes.{scene.name}"
    try:
        check_queue_count(scene.queues, manifest)
        complete_weights(scene.objectives or Objectives(), manifest)
        if scene.top_n is None and scene.rules is not None:
            check_positions(scene.rules.pinned or (), manifest.limits.list_length, "the model's list length")
    except Problem as problem:
        raise SceneError(f"{where}.{problem.detail}") from None
    for i, queue in enumerate(scene.queues or ()):
        try:
            compile_formula(queue.score)
        except FormulaError as error:
            raise SceneError(f"{where}.queues[{i}].score: {error}") from None
    if manifest.ruled is None:
        for kind in _NEED_A_RULED_GRAPH:
            if getattr(scene.rules, kind, None):
                raise SceneError(
                    f"{where}.rules.{kind}: model {manifest.name!r} version {manifest.version!r} has no graph for rules"
                )
