"""Read the file of scenes; refuse what is wrong by the name of its key."""

from __future__ import annotations

import math
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from models.contract.serving import SCENES_FILE
from service.contract.decoding import check_queues
from service.contract.problems import Problem
from service.contract.refusals import locate
from service.contract.rule_checks import check_fields, check_pins, check_positions
from service.scenes.scene import MOST_SCENES, NO_SCENE, SCENE_NAME, Scene, SceneError

SceneMap = Mapping[str, Scene]
"""Scenes by name."""

NO_SCENES: Final[SceneMap] = MappingProxyType({})
MOST_BYTES: Final = 1024 * 1024
_NAME: Final = re.compile(SCENE_NAME)
_LONGEST_NAME: Final = 64
_LONGEST_REASON: Final = 300


def read_scenes(root: Path) -> SceneMap:
    """Read a bundles folder's scenes; none without the file. Raises `SceneError`."""
    path = root / SCENES_FILE
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SceneError("is not a regular file")
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        if path.is_symlink():  # Its file has been moved or not yet come; nobody has removed the scenes.
            raise SceneError("is a link to a file that is not there") from None
        if not root.is_dir():  # A volume that is away is no reason to drop what serves.
            raise SceneError("cannot be read: the bundles folder is not there") from None
        return NO_SCENES
    except OSError as error:
        raise SceneError(f"cannot be read: {error.strerror}") from None
    if len(text) > MOST_BYTES:
        raise SceneError(f"is larger than {MOST_BYTES} bytes")
    return parse_scenes(text)


def parse_scenes(text: bytes) -> SceneMap:
    """Parse the file's content. Raises `SceneError`."""
    try:
        tables = _scene_tables(_read_toml(text))
        for name in tables:
            _check_name(name)
        return MappingProxyType({name: _read_scene(name, table) for name, table in tables.items()})
    except RecursionError:  # A key of a thousand parts is read without recursion, but not looked through without.
        raise SceneError("is nested too deeply") from None


def _read_toml(text: bytes) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text.decode())
    except ValueError as error:  # No TOML, no UTF-8, or a number of thousands of digits.
        raise SceneError(f"is not valid TOML: {str(error)[:_LONGEST_REASON]}") from None


def _scene_tables(document: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in document:
        if key != "scenes":
            raise SceneError(f"{_shown(key)}: is not a known key; scenes are tables such as [scenes.home-feed]")
    tables = document.get("scenes", {})
    if not isinstance(tables, dict):
        raise SceneError("scenes: must be a table of scenes by name")
    if len(tables) > MOST_SCENES:
        raise SceneError(f"scenes: has {len(tables)} scenes; at most {MOST_SCENES} are allowed")
    return tables


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise SceneError(
            f"scenes.{_shown(name)}: is no name for a scene: small letters, digits and hyphens only, "
            f"at most {_LONGEST_NAME}, and no hyphen in front"
        )
    if name == NO_SCENE:
        raise SceneError(f"scenes.{name}: is no name for a scene: metrics use it for requests without one")


def _read_scene(name: str, table: object) -> Scene:
    """Return one scene of the file. Raises `SceneError`."""
    where = f"scenes.{name}"
    if not isinstance(table, dict):
        raise SceneError(f"{where}: must be a table")
    if "name" in table:
        raise SceneError(f"{where}.name: is not a known key; the table's own name is the scene's")
    for path in _not_finite(table, where):
        raise SceneError(f"{path}: must be a finite number")
    try:
        scene = msgspec.convert({**table, "name": name}, Scene)
    except msgspec.ValidationError as error:
        path, problem = locate(str(error))
        raise SceneError(f"{where}.{path}: {problem.replace('field', 'key')}") from None
    try:
        check_queues(scene.queues or ())
        if scene.rules is not None:
            check_fields(scene.rules)
            check_pins(scene.rules)
            if scene.top_n is not None:
                check_positions(scene.rules.pinned or (), scene.top_n, "top_n")
    except Problem as problem_found:
        raise SceneError(f"{where}.{problem_found.detail}") from None
    return scene


def _not_finite(value: object, path: str) -> Iterator[str]:
    """Yield the paths of all numbers that are NaN or infinite."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{path}.{_shown(key)}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _not_finite(inner, f"{path}[{i}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield path


def _shown(key: str) -> str:
    """Return a key as a message may show it: plain, or quoted and cut."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key) else repr(key[:_LONGEST_NAME])
