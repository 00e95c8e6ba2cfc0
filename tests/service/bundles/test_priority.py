"""Loading beside a serving model gives way to it, and leaves no thread behind that does so for good."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from service.bundles.model import Model
from service.bundles.opening import LocalOpener
from service.bundles.registry import Registry
from service.bundles.reload import Loader
from service.inference.onnx.session import SessionConfig
from tests.service.live import fake_model
from tests.service.tiny_bundle import Options


def tasks() -> dict[int, int]:
    """Nice values of this process's threads."""
    found = {}
    for thread in (int(folder.name) for folder in Path("/proc/self/task").iterdir()):
        try:
            found[thread] = os.getpriority(os.PRIO_PROCESS, thread)
        except ProcessLookupError:
            continue
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads")
def test_the_threads_of_a_run_have_the_usual_priority(bundle: Path) -> None:
    registry = Registry()
    registry.publish(fake_model(options=Options(name="other")))

    async def warm(_: Model) -> None:
        return

    loader = Loader(bundle.parents[1], LocalOpener(SessionConfig(intra_op_threads=3)), registry, warm)
    before = set(tasks())

    async def load() -> Model:
        return await loader.prepare("tiny", None)

    model = asyncio.run(load())
    own = os.getpriority(os.PRIO_PROCESS, 0)
    new = {thread: nice for thread, nice in tasks().items() if thread not in before}
    assert len(new) >= 2, "the threads of the session"
    assert set(new.values()) == {own}, new
    assert model.engine.provider == "cpu"
