"""Try a bundle in a process of its own, before any that serves opens it.

ONNX Runtime parses and runs a graph in native code: a graph that crashes it, hangs or takes all memory ends the process
that it is in. The child (`service/ranking/trial.py`) loads, replays the recorded requests and runs one more. It reports
on its standard output, in JSON lines, at which stage it is and how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from service.bundles.model import BundleError
from service.environment import PREFIX
from service.inference.onnx.session import SessionConfig

_log = logging.getLogger(__name__)
_CHILD: Final = (sys.executable, "-P", "-m", "service.ranking.trial")
_KEPT_OUTPUT: Final = 400
_LONGEST_LINE: Final = 1024 * 1024
_BLOCK: Final = 64 * 1024
_THREADS: Final = 4
_NICENESS: Final = 7
"""A sixth of the time of a core that another process wants whole: requests come first, but a trial ends in time."""


class Order(Struct, frozen=True):
    """Order to try the bundle in `folder`; the child ends when process `parent` does."""

    folder: str
    threads: int
    max_batch: int
    cache_folder: str | None
    seconds: float
    parent: int


class Stage(Struct, tag=True, frozen=True):
    """The child begins with this."""

    name: str


class Sound(Struct, tag=True, frozen=True):
    """The bundle survived; `identity` is that of the files that were tried (see `load.identity`)."""

    identity: dict[str, str]


class Unsound(Struct, tag=True, frozen=True):
    """The bundle was refused in good order."""

    reason: str


Process = subprocess.Popen[bytes]
Report = Stage | Sound | Unsound
_DECODER: Final[msgspec.json.Decoder[Report]] = msgspec.json.Decoder(Report)


@dataclass
class _Seen:
    """Words of a child so far."""

    stage: str = "starting"
    result: Sound | Unsound | None = None
    output: bytes = b""


class Trial:
    """Try bundles on CPU, one child process each, for at most `seconds`.

    On CUDA too the trial is on CPU: a second process on the GPU could take the memory of the models that serve.
    """

    def __init__(self, config: SessionConfig, seconds: float, *, command: Sequence[str] = _CHILD) -> None:
        self._config = config
        self._seconds = seconds
        self._command = command
        # Starting a process takes time that an event loop does not have. The thread that does it has to outlive the
        # child, which the kernel ends with that thread (see `_end_with_parent` there).
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="trial")

    async def run(self, folder: Path, *, low_priority: bool) -> dict[str, str]:
        """Try a bundle; return its identity. Raises `BundleError` if it does not survive.

        `low_priority` is for a trial beside a process that serves.
        """
        if self._config.provider != "cpu":
            _log.info("trying %s on CPU first; what fails on %s alone is found later", folder, self._config.provider)
        seen = _Seen()
        loop = asyncio.get_running_loop()
        starting = loop.run_in_executor(self._threads, self._start, folder, low_priority)
        try:
            process = await asyncio.shield(starting)
        except OSError as error:
            raise BundleError(f"no process can be started to try it: {error}") from None
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):
                await loop.run_in_executor(self._threads, _end, await starting)
            raise
        following = [
            loop.run_in_executor(self._threads, follow, process, seen) for follow in (_follow, _keep_output, _wait)
        ]
        try:
            _, late = await asyncio.wait(following, timeout=self._seconds)
        finally:  # Also when the service stops meanwhile.
            _kill(process)
            await asyncio.shield(asyncio.gather(*following))
            _close(process)
        return self._judge(process.returncode, seen, late=bool(late))

    def _start(self, folder: Path, low_priority: bool) -> Process:
        config = self._config
        order = Order(
            folder=str(folder),
            threads=config.intra_op_threads,
            max_batch=config.max_batch,
            cache_folder=None if config.cache_folder is None else str(config.cache_folder),
            seconds=self._seconds,
            parent=os.getpid(),
        )
        process = subprocess.Popen(
            [*self._command, msgspec.json.encode(order).decode()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the service, which then ends the trial.
        )
        if low_priority:
            # From here and not by the child itself, which imports for most of a second before it can do anything.
            _lower_priority(process.pid)
        return process

    def _judge(self, status: int, seen: _Seen, *, late: bool) -> dict[str, str]:
        """Return the identity, or raise `BundleError` saying what happened."""
        match seen.result:
            case Unsound(reason):
                raise BundleError(reason)
            case Sound(identity) if status == 0 and not late:
                return identity
        if late:
            limit = f"{self._seconds:g} s (LISTWRIGHT_LOAD_TIMEOUT_SECONDS)"
            problem = f"took longer than {limit} while {seen.stage}"
        else:
            problem = f"{_describe_end(status)} while {seen.stage}"
        output = " ".join(seen.output.decode("utf-8", "replace").split())
        raise BundleError(f"tried in a process of its own, it {problem}" + (f"; it wrote: {output}" if output else ""))


def child_environment() -> dict[str, str]:
    """Return this process's environment, with its module path for a child that runs Python."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)}


def _environment() -> dict[str, str]:
    """Return a trial's environment, without a GPU and the settings, which hold API keys."""
    inherited = {name: value for name, value in child_environment().items() if not name.upper().startswith(PREFIX)}
    return {**inherited, "CUDA_VISIBLE_DEVICES": ""}


def _lower_priority(pid: int) -> None:
    """Let the leader of a session give way to others, unless it does already."""
    if sys.platform == "win32":
        return
    # A service that is nicer than this may not raise the priority of what it started.
    niceness = max(_NICENESS, os.getpriority(os.PRIO_PROCESS, pid))
    os.setpriority(os.PRIO_PROCESS, pid, niceness)
    # Where Linux groups processes by session (sched_autogroup_enabled), priorities count within a group only, and all
    # groups get the same time unless told otherwise.
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))


def _kill(process: Process) -> None:
    """End the child and all that it has started: they are a process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _end(process: Process) -> None:
    """End a child that nothing follows yet."""
    _kill(process)
    process.wait()
    _close(process)


def _close(process: Process) -> None:
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _follow(process: Process, seen: _Seen) -> None:
    """Read the child's reports until it closes its output."""
    assert process.stdout is not None
    try:
        while line := process.stdout.readline(_LONGEST_LINE):
            match _DECODER.decode(line):
                case Stage(name):
                    seen.stage = name
                case report:
                    seen.result = report
    except (ValueError, msgspec.DecodeError):
        seen.result = Unsound("the process that tried it wrote something other than its reports")
        _kill(process)


def _keep_output(process: Process, seen: _Seen) -> None:
    """Read all that it writes to stderr, and keep the end."""
    assert process.stderr is not None
    while block := os.read(process.stderr.fileno(), _BLOCK):
        seen.output = (seen.output + block)[-_KEPT_OUTPUT:]


def _wait(process: Process, _: _Seen) -> None:
    process.wait()


def _describe_end(status: int) -> str:
    """Say how a process ended, in words."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = "unknown"
    out_of_memory = ", as where memory runs out," if -status == signal.SIGKILL else ""
    return f"was ended by signal {-status} ({name}){out_of_memory}"
