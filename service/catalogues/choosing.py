"""Choose the catalogues to serve: for each fingerprint the newest sound version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models.contract.catalogue.manifest import CatalogueError
from service.catalogues.folder import CatalogueFolder, Stamp, is_gone
from service.catalogues.load import CheckedCatalogue, SoundCatalogue, check_catalogue


@dataclass(frozen=True)
class Refusal:
    """Say why a version is refused; `stamp` is what its folder was like."""

    stamp: Stamp
    reason: str


@dataclass(frozen=True)
class Choice:
    """Hold what one look at a folder has found.

    `sound` are the catalogues to serve, by the name of their fingerprint's folder; `refused` are versions that would
    have served; `missing` says which of those folders have no sound version, and why.
    """

    sound: Mapping[str, SoundCatalogue] = field(default_factory=dict)
    refused: Mapping[Path, Refusal] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def checked(self) -> list[CheckedCatalogue]:
        """Return the catalogues to serve, for whoever opens them."""
        return [sound.checked for sound in self.sound.values()]

    @property
    def problem(self) -> str | None:
        """Say what was refused and why; None if nothing was."""
        return "; ".join(_name(path, refusal) for path, refusal in self.refused.items()) or None


def choose(folder: CatalogueFolder, before: Choice, *, copy: bool) -> Choice:
    """Look at all versions on disk, and choose.

    What `before` found sound is not checked again while it is as it was.
    Where no version is sound, the one before goes on, unless its fingerprint's folder is gone. Raises `CatalogueError`
    if the folder cannot be read. Blocks for as long as reading takes.
    """
    sound: dict[str, SoundCatalogue] = {}
    refused: dict[Path, Refusal] = {}
    missing: dict[str, str] = {}
    for digits, versions in folder.versions().items():
        found, problems = _choose_version(folder, digits, versions, before, copy=copy)
        refused |= problems
        if (serves := found or before.sound.get(digits)) is not None:
            sound[digits] = serves
        else:
            missing[digits] = next(_name(path, refusal) for path, refusal in problems.items())
    for digits, live in before.sound.items():
        if digits not in sound and not is_gone(folder.root / digits):  # It cannot be read now.
            sound[digits] = live
    return Choice(sound, refused, missing)


def _choose_version(
    folder: CatalogueFolder, digits: str, versions: list[str], before: Choice, *, copy: bool
) -> tuple[SoundCatalogue | None, dict[Path, Refusal]]:
    """Return the newest sound version of a fingerprint, and why newer ones are refused."""
    live = before.sound.get(digits)
    refused: dict[Path, Refusal] = {}
    for version in reversed(versions):
        path = folder.root / digits / version
        stamp = folder.stamp(path)
        if live is not None and live.stamp == stamp:
            return live, refused
        try:
            return check_catalogue(path, stamp, copy=copy, live=before.sound.values()), refused
        except CatalogueError as error:
            refused[path] = Refusal(stamp, str(error))
    return None, refused


def _name(path: Path, refusal: Refusal) -> str:
    return f"{path.parent.name}/{path.name}: {refusal.reason}"
