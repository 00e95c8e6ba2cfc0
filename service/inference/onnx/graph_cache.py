"""Keep optimised graphs on disk, so that the next load can skip optimising.

Optimising depends on the machine, so an entry's name holds a digest of the model, ONNX Runtime's version, the options
and the CPU. It also holds the digest of its own content: a damaged entry is recognised and made again. If the cache
fails in any way, the service goes without it and logs that once.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import platform
import stat
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import onnxruntime as ort

_log = logging.getLogger(__name__)

_KEPT: Final = 32
"""Entries; older ones go when a new one comes."""

_FORMAT: Final = "1"
_CPUINFO: Final = Path("/proc/cpuinfo")
_CPU_KEYS: Final = ("vendor_id", "model name", "flags", "Features", "CPU implementer", "CPU part")

Make = Callable[[str | bytes, ort.SessionOptions], ort.InferenceSession]
"""Makes a session from a path or from a model's bytes. Raises ONNX Runtime's errors."""


class GraphCache:
    """Keep optimised graphs in one folder, mode 0700, of this user alone."""

    def __init__(self, folder: Path, make: Make) -> None:
        self._folder = folder
        self._make = make

    def load(
        self, path: Path, options: Callable[[], ort.SessionOptions], *, key: Sequence[str]
    ) -> ort.InferenceSession:
        """Make a session from an entry, or from the model itself.

        `key` must hold everything beside ONNX Runtime and the CPU that the optimised graph depends on. Raises the
        errors of `make` for the model itself.
        """
        try:
            _claim(self._folder)
        except OSError as error:
            _say_once(str(self._folder), str(error))
            return self._make(str(path), options())
        digest = _digest(key)
        for entry in sorted(self._folder.glob(f"{digest}-*.onnx")):
            if (session := self._from_entry(entry, options())) is not None:
                return session
        return self._optimise(path, options, digest)

    def _from_entry(self, entry: Path, options: ort.SessionOptions) -> ort.InferenceSession | None:
        """Make a session from an entry; a damaged entry is removed, and None returned."""
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            content = entry.read_bytes()
            if entry.stem.rpartition("-")[2] == hashlib.sha256(content).hexdigest():
                session = self._make(content, options)
                os.utime(entry)
                return session
            problem = "its content has changed"
        except Exception as error:  # ONNX Runtime's errors have no common base.
            problem = str(error)
        _log.warning("optimised graph %s is made again: %s", entry, problem)
        _remove(entry)
        return None

    def _optimise(self, path: Path, options: Callable[[], ort.SessionOptions], digest: str) -> ort.InferenceSession:
        """Load the model itself, and keep the optimised graph if that can be written."""
        try:
            handle, name = tempfile.mkstemp(prefix=f".{digest}.", suffix=".partial", dir=self._folder)
            os.close(handle)
        except OSError as error:
            _say_once(str(self._folder), str(error))
            return self._make(str(path), options())
        partial = Path(name)
        saving = options()
        saving.optimized_model_filepath = name
        try:
            session = self._make(str(path), saving)
        except Exception as error:  # Either the model is bad, which the next line tells, or this could not be written.
            session = self._make(str(path), options())
            _say_once(str(self._folder), str(error))
        else:
            self._keep(partial, digest)
        finally:
            _remove(partial)
        return session

    def _keep(self, partial: Path, digest: str) -> None:
        try:
            content = hashlib.sha256(partial.read_bytes()).hexdigest()
            partial.replace(self._folder / f"{digest}-{content}.onnx")
            entries = sorted(self._folder.glob("*.onnx"), key=lambda entry: entry.stat().st_mtime)
        except OSError as error:
            _say_once(str(self._folder), str(error))
            return
        for entry in entries[:-_KEPT]:
            _remove(entry)


def _claim(folder: Path) -> None:
    """Make the folder if need be. Raises `OSError` if others could write there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022):
        raise OSError(f"{folder} belongs to another user, or others may write to it")


def _digest(key: Sequence[str]) -> str:
    """Digest everything that the optimised graph depends on."""
    parts = [_FORMAT, ort.__version__, _cpu(), *key]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


@functools.cache
def _cpu() -> str:
    """Describe this CPU, to tell it from one with other instructions."""
    try:
        first, _, _ = _CPUINFO.read_text("utf-8", "replace").partition("\n\n")
    except OSError:
        first = ""
    lines = [line for line in first.splitlines() if line.partition("\t")[0].strip() in _CPU_KEYS]
    return "\n".join([platform.machine(), platform.processor(), *lines])


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _say_once(str(path.parent), str(error))


@functools.lru_cache(maxsize=64)
def _say_once(folder: str, problem: str) -> None:
    _log.warning("optimised graphs are not kept in %s, so loading takes longer: %s", folder, problem)
