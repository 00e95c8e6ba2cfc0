"""Run the example of docs/catalogue.md as it is written there, from items to a list."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.rig.server import running_server
from models.contract.manifest import DEMO_BUNDLE
from tests.documents import ROOT
from tests.guide_blocks import block, commands, run
from tests.test_readme import check_list, post

GUIDE = (ROOT / "docs" / "catalogue.md").read_text("utf-8")


@pytest.mark.long
def test_the_items_of_the_guide_are_served_as_it_shows(tmp_path: Path) -> None:
    shutil.copytree(DEMO_BUNDLE.parent, tmp_path / "models" / "embedded" / "demo")
    (tmp_path / "write_items.py").write_text(block(GUIDE, "file write_items.py"), "utf-8")
    (python, script), copy, build = commands(GUIDE, "run build")
    assert python == "python"
    with contextlib.chdir(tmp_path):
        subprocess.run([sys.executable, script], check=True)
        subprocess.run(["sh", "-c", " ".join(copy)], check=True)
        printed = run(build)
    assert printed.startswith("3 items in 1 segment")
    serve, _ = commands(GUIDE, "run serve")
    assert serve[:3] == ["listwright", "serve", "--bundles"]
    with running_server(tmp_path / serve[3], options=("--budget-ms", "30000")) as server:
        status, answer = post(server.url, json.loads(block(GUIDE, "file request.json")))
    assert status == 200
    check_list(answer, json.loads(block(GUIDE, "answer")))
