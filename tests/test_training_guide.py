"""Run the examples of docs/training.md as they are written there."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from loadtest.rig.server import running_server
from models.data.list_file import read_lists
from models.data.records import ListRecord
from tests.documents import ROOT
from tests.guide_blocks import block, commands, run
from tests.models.checking.oddities import ODDITIES
from tests.models.data.buckets import put, running_bucket

GUIDE = (ROOT / "docs" / "training.md").read_text("utf-8")
STEPS = ("convert", "check", "train", "export", "catalogue")


def shown(mark: str) -> list[str]:
    """The lines of output in a block."""
    lines = block(GUIDE, mark).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("$ ")]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder in which all steps of the CSV example were run, and what each printed."""
    folder = tmp_path_factory.mktemp("guide")
    (folder / "log.csv").write_text(block(GUIDE, "file log.csv"), "utf-8")
    with contextlib.chdir(folder):
        printed = {step: "".join(map(run, commands(GUIDE, f"run {step}"))) for step in STEPS}
    return folder, printed


@pytest.mark.long
def test_the_check_of_the_csv_example_prints_what_the_guide_shows(walked: tuple[Path, dict[str, str]]) -> None:
    _, printed = walked
    lines = printed["check"].splitlines()
    for line in shown("run check"):
        assert line in lines


@pytest.mark.long
def test_the_choice_in_the_csv_example_ends_its_warning(walked: tuple[Path, dict[str, str]]) -> None:
    _, printed = walked
    assert printed["train"].startswith("checked 6 lists: 1 warning ")
    assert "brand" not in printed["train"]


def asked(url: str, request: str) -> Any:
    headers = {"content-type": "application/json"}
    call = urllib.request.Request(f"{url}/v1/rerank", request.encode(), headers, method="POST")
    with urllib.request.urlopen(call, timeout=60) as response:
        return json.load(response)


@pytest.mark.long
def test_the_bundle_of_the_csv_example_answers_the_requests_of_the_guide(walked: tuple[Path, dict[str, str]]) -> None:
    folder, _ = walked
    ((name, command, option, bundles),) = commands(GUIDE, "run serve")
    assert (name, command, option) == ("listwright", "serve", "--bundles")
    whole, by_id = block(GUIDE, "request shop"), block(GUIDE, "request shop-by-id")
    with running_server(folder / bundles, options=("--budget-ms", "30000")) as server:
        answer, short = asked(server.url, whole), asked(server.url, by_id)
    assert answer["model"] == "shop"
    assert answer["degraded"] is None
    assert {item["id"] for item in answer["items"]} == {c["id"] for c in json.loads(whole)["candidates"]}
    assert short["items"] == answer["items"]
    assert short["value"] == answer["value"]
    assert "warnings" not in short


@pytest.mark.long
def test_a_folder_of_parts_and_a_url_hold_the_lists_of_the_csv_example(walked: tuple[Path, dict[str, str]]) -> None:
    folder, printed = walked
    ((*check, url),) = commands(GUIDE, "run url")
    name, _, key = url.removeprefix("s3://").partition("/")
    with contextlib.chdir(folder), running_bucket(name) as bucket:
        assert url == f"{bucket}/{key}"
        far = [run(words) for words in commands(GUIDE, "run parts")][1:]
        put(folder / key, url)
        far.append(run([*check, url]))
    assert [text.partition("\n\n")[2] for text in far] == [printed["check"].partition("\n\n")[2]] * 2


def test_the_pyarrow_example_writes_a_list_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "write_lists.py").write_text(block(GUIDE, "file write_lists.py"), "utf-8")
    python, check = commands(GUIDE, "run pyarrow")
    assert python[0] == "python"
    subprocess.run([sys.executable, *python[1:]], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    assert re.search(r"^all +2 +5 +3 +1 +1 +19\.90 ", run(check), re.MULTILINE)
    first, second = read_lists(tmp_path / "lists.parquet")
    assert [first.candidates[i].id for i in first.exposed] == ["A2", "A1"]
    assert first.candidates[0].features == {"brand": "north"}
    assert (second.purchases, second.gmv, second.split) == (None, None, "test")


def test_the_table_of_the_list_record_names_every_column(tmp_path: Path) -> None:
    (tmp_path / "write_lists.py").write_text(block(GUIDE, "file write_lists.py"), "utf-8")
    subprocess.run([sys.executable, "write_lists.py"], cwd=tmp_path, check=True)
    columns = set(pq.read_schema(tmp_path / "lists.parquet").names)
    assert columns == set(ListRecord.__dataclass_fields__)
    section = GUIDE[GUIDE.index("## The list record") : GUIDE.index("### Write it with pyarrow")]
    heads = " ".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
    assert columns <= set(re.findall(r"`(\w+)`", heads))


def test_the_guide_names_every_warning() -> None:
    section = GUIDE[GUIDE.index("## Check") : GUIDE.index("### Choose how fields are read")]
    rows = " ".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`([a-z-]+)`", rows)) == set(ODDITIES)
