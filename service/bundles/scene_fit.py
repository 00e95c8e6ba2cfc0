"""Check scenes against the live models, and a new model against the live scenes."""

from __future__ import annotations

from service.bundles.model import BundleError, Model
from service.bundles.registry import Registry
from service.scenes.checking import check_scene
from service.scenes.reading import SceneMap
from service.scenes.scene import SceneError


def check_scenes(scenes: SceneMap, registry: Registry) -> None:
    """Raise `SceneError`, naming the key, for a scene that the live models cannot serve."""
    for scene in scenes.values():
        where, name = f"scenes.{scene.name}", scene.model or registry.default
        if name is None:
            raise SceneError(f"{where}.model: is missing, and there is no default model")
        if registry.current(name) is None:
            raise SceneError(f"{where}.model: no model {name!r} is live")
        model = registry.find(name, scene.version)
        if model is None:
            raise SceneError(f"{where}.version: no version {scene.version!r} of model {name!r} is live")
        check_scene(scene, model.manifest)


def check_switch(model: Model, scenes: SceneMap, registry: Registry) -> None:
    """Raise `BundleError` if a live scene could not be served after this switch."""
    leaving = registry.would_retire(model)
    for scene in scenes.values():
        if (scene.model or registry.default) != model.name:
            continue
        if scene.version in leaving:
            raise BundleError(
                f"a live scene needs version {scene.version!r}, which would be retired (scenes.{scene.name}.version); "
                "change the scenes first, or keep more versions (LISTWRIGHT_KEEP_VERSIONS)"
            )
        if scene.version in (None, model.version):
            try:
                check_scene(scene, model.manifest)
            except SceneError as error:
                raise BundleError(f"a live scene does not fit it: {error}; change the scenes first") from None
