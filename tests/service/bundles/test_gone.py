"""A name that failed at start and is removed: several workers hear of it too."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.service.bundles.test_versions import until
from tests.service.test_admin import spoil
from tests.service.test_process import SERVE, running
from tests.service.tiny_bundle import Options, write_bundle

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has one process and no SIGHUP")


@pytest.mark.long
def test_a_name_that_failed_and_is_removed_keeps_no_worker_from_being_ready(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    other = write_bundle(tmp_path, Options(name="other"))
    spoil(other)
    with running(tmp_path, SERVE, "--workers", "2", "--default-model", "tiny") as process:

        def answers() -> set[tuple[int, str]]:
            found = [process.ask("/v2/health/ready") for _ in range(8)]
            return {(status, answer.get("detail", "")[:32]) for status, answer in found}

        until(lambda: answers() == {(503, "bundle 'other' was not loaded: m")})
        shutil.rmtree(other.parent)
        process.popen.send_signal(signal.SIGHUP)
        until(lambda: answers() == {(200, "")})
        assert process.stop()[0] == 0
