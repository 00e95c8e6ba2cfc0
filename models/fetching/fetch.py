"""Fetch bundles, catalogues and scenes into a folder that a service reads.

Every version is copied under a name with a dot in front, compared with the checksums of its manifest, and renamed: a
service sees it whole or not at all.
"""

from __future__ import annotations

import shutil
import time
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from models.contract.catalogue.manifest import CATALOGUE_FOLDER
from models.contract.serving import SCENES_FILE
from models.contract.spec import SpecError
from models.contract.versions import in_order
from models.fetching.kinds import KINDS, Kind, Listed
from models.fetching.source import FetchError, Folder, open_folder
from models.files import file_digest
from models.locks import LockedError, only_one

_STAGING: Final = ".fetching"
_FORMER: Final = ".former"
_DEEPEST: Final = 3
"""Folders between a URL and a version at most: `catalogue`, and that of a fingerprint."""

_POLL_SECONDS: Final = 0.2

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Found:
    """Hold one version in a source."""

    folder: Folder
    kind: Kind


@dataclass
class Fetch:
    """Fetch from several URLs into `root`.

    The newest `newest` versions of each name are fetched. `keep` says how many versions of a name stay in `root`; None:
    all. `say` is told what was done. `problems` names what could not be fetched.
    """

    root: Path
    newest: int = 1
    keep: int | None = None
    retries: int = 4
    say: Say = print
    problems: list[str] = field(default_factory=list)

    def run(self, urls: Sequence[str]) -> None:
        """Fetch all that lies under the URLs, one after the other; collect problems."""
        self.root.mkdir(parents=True, exist_ok=True)
        with _alone_in(self.root, self.say):
            self._clean()
            for url in urls:
                with self._collected():
                    self._fetch(open_folder(url, self.retries))
            self._clean()

    def _fetch(self, source: Folder) -> None:
        found = list(_find(source, _DEEPEST))
        scenes = source.has(SCENES_FILE)
        if not found and not scenes:
            raise FetchError(f"{source.url}: holds no bundle, no catalogue and no {SCENES_FILE}")
        groups: dict[str, list[_Found]] = defaultdict(list)
        for version in found:
            groups[version.folder.url.rpartition("/")[0]].append(version)
        # A bundle may need its catalogue, and a scene its bundle.
        for group in sorted(groups.values(), key=lambda group: group[0].kind.folder != CATALOGUE_FOLDER):
            self._fetch_newest(group)
        if scenes:
            with self._collected():
                self._fetch_scenes(source)

    def _fetch_newest(self, group: list[_Found]) -> None:
        by_name = {version.folder.name: version for version in group}
        fetched = set()
        for name in in_order(list(by_name))[-self.newest :]:
            with self._collected():
                fetched.add(self._fetch_version(by_name[name]))
        for parent in {target.parent for target in fetched}:
            self._prune(parent, group[0].kind, fetched)

    def _fetch_version(self, found: _Found) -> Path:
        """Copy one version unless it is there, and return its folder. Raises `FetchError`."""
        source, kind = found.folder, found.kind
        staging = self._staging()
        source.copy(kind.file, staging / kind.file)
        listed = _read(kind, staging, source)
        target = self.root.joinpath(kind.folder, *listed.place)
        place = target.relative_to(self.root)
        if _is_whole(target, listed, kind, source):
            self.say(f"{place}: is there already")
            return target
        for name, digest in listed.files.items():
            (staging / name).parent.mkdir(exist_ok=True)
            source.copy(name, staging / name, digest)
        size = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
        self._publish(staging, target)
        self.say(f"{place}: fetched from {source.url}, {len(listed.files) + 1} files, {size / 1e6:.1f} MB")
        return target

    def _fetch_scenes(self, source: Folder) -> None:
        copy, target = self._staging() / SCENES_FILE, self.root / SCENES_FILE
        source.copy(SCENES_FILE, copy)
        try:
            tomllib.loads(copy.read_text("utf-8"))
        except ValueError as error:
            raise FetchError(f"{source.url}/{SCENES_FILE}: is not valid TOML: {error}") from error
        if target.is_file() and target.read_bytes() == copy.read_bytes():
            self.say(f"{SCENES_FILE}: is there already")
            return
        copy.replace(target)
        self.say(f"{SCENES_FILE}: fetched from {source.url}")

    def _publish(self, staging: Path, target: Path) -> None:
        """Rename a whole version to its place; a damaged one there goes."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.replace(self._empty(_FORMER) / target.name)
        staging.replace(target)

    def _prune(self, parent: Path, kind: Kind, fetched: set[Path]) -> None:
        """Remove all but the newest versions of one name.

        Each goes under a name that no service looks at.
        """
        if self.keep is None:
            return
        versions = in_order([path.name for path in parent.iterdir() if (path / kind.file).is_file()])
        for name in versions[: -self.keep]:
            if parent / name not in fetched:
                (parent / name).replace(self._empty(_FORMER) / name)
                self.say(f"{(parent / name).relative_to(self.root)}: removed, {self.keep} are kept")

    def _staging(self) -> Path:
        return self._empty(_STAGING)

    def _empty(self, name: str) -> Path:
        """Make a folder of the root empty."""
        shutil.rmtree(self.root / name, ignore_errors=True)
        (self.root / name).mkdir()
        return self.root / name

    def _clean(self) -> None:
        """Remove what this run, or one that was killed, has left."""
        for name in (_STAGING, _FORMER):
            shutil.rmtree(self.root / name, ignore_errors=True)

    @contextmanager
    def _collected(self) -> Iterator[None]:
        """Note a `FetchError` of the block, and go on behind it."""
        try:
            yield
        except FetchError as error:
            self.problems.append(str(error))


def _find(folder: Folder, depth: int) -> Iterator[_Found]:
    """Find the versions in a folder of a store, at any depth up to this."""
    for kind in KINDS:
        if folder.has(kind.file):
            yield _Found(folder, kind)
            return
    if depth:
        for inner in folder.folders():
            yield from _find(inner, depth - 1)


def _read(kind: Kind, staging: Path, source: Folder) -> Listed:
    """Read a manifest that was copied, and name its source in errors. Raises `FetchError`."""
    try:
        return kind.read(staging)
    except SpecError as error:
        raise FetchError(str(error).replace(str(staging), source.url)) from error


def _is_whole(target: Path, listed: Listed, kind: Kind, source: Folder) -> bool:
    """Tell whether a version stands in its place, undamaged.

    Raises `FetchError` if another one stands there: a version never changes.
    """
    try:
        own = kind.read(target)
    except SpecError:
        return False
    if own.content != listed.content:
        raise FetchError(
            f"{source.url}: {target} has another content under this version; a version never changes, publish a new one"
        )
    return all((target / name).is_file() and file_digest(target / name) == d for name, d in listed.files.items())


@contextmanager
def _alone_in(root: Path, say: Say) -> Iterator[None]:
    """Hold the lock of a folder, after waiting for the process that has it."""
    told = False
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(only_one(root))
                break
            except LockedError as error:
                if not told:
                    say(str(error))
                told = True
                time.sleep(_POLL_SECONDS)
        yield
