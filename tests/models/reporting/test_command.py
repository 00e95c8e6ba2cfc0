"""`listwright report`: what it writes, and what it says about runs that it cannot show."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models import cli
from models.reporting.checks import check
from models.reporting.contents import CONTENTS_FILE, Chart, Contents, Line, ListPair, ShownItem
from models.reporting.page import render
from tests.documents import ROOT
from tests.guide_blocks import block
from tests.models.reporting.html import read
from tests.models.reporting.sample import sample


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    small().write(folder)
    return folder


def small(**changes: Any) -> Contents:
    return replace(sample(), charts=(), **changes)


def report(*arguments: Path | str) -> int:
    return cli.main(["report", *map(str, arguments)])


def test_contents_are_read_as_they_were_written(tmp_path: Path) -> None:
    sample().write(tmp_path)
    again = Contents.read(tmp_path)
    again.write(tmp_path)
    assert Contents.read(tmp_path) == again
    assert again.charts[1].lines[0].x == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert again.charts[2].lines[0].x == ["none", "low", "medium", "high"]
    assert again.charts[3].lines[1].y[0] is None


def test_the_page_is_written_and_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "page.html"
    assert report(run, "--output", output) == 0
    assert output.read_text("utf-8") == render({str(run): Contents.read(run)})
    assert capsys.readouterr().out.startswith(f"{output}: ")


def test_several_runs_are_one_page(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    small(title="Another").write(other)
    assert report(run, other, "-o", tmp_path / "page.html") == 0
    assert "Report of 2 runs" in (tmp_path / "page.html").read_text("utf-8")


def test_a_folder_without_a_report_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(tmp_path, "-o", tmp_path / "page.html") == 2
    assert f"{tmp_path}: has no {CONTENTS_FILE}" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "Input data was truncated"),
        (b'{"title": "x"}', "missing required field `kind`"),
        (b'{"title": 5}', "Expected `str`, got `int` - at `$.title`"),
        (b"\xff\xfe", "is no report"),
        (b'{"hit_rates": {}}', "missing required field `title`"),
    ],
)
def test_a_damaged_report_is_named_with_what_is_wrong(
    data: bytes, problem: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / CONTENTS_FILE).write_bytes(data)
    assert report(run, "-o", tmp_path / "page.html") == 2
    told = capsys.readouterr().err
    assert f"{run / CONTENTS_FILE}: is no report" in told
    assert problem in told


def test_a_run_that_is_given_twice_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(run, run / ".." / "run", "-o", tmp_path / "page.html") == 2
    assert "is given twice" in capsys.readouterr().err


def test_an_output_that_cannot_be_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(run, "-o", tmp_path / "none" / "page.html") == 2
    assert f"--output: there is no folder {tmp_path / 'none'}" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    assert report(run, "-o", tmp_path) == 2
    assert f"--output: {tmp_path} is a folder" in capsys.readouterr().err


def test_torch_is_not_imported(run: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from models import cli; status = cli.main(sys.argv[1:]); "
        "sys.exit(status or ('torch' in sys.modules and 'torch was imported'))"
    )
    words = ["report", str(run), "-o", str(tmp_path / "page.html")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_example_of_the_guide_makes_a_page(tmp_path: Path) -> None:
    code = block((ROOT / "docs" / "report.md").read_text("utf-8"), "example")
    with contextlib.chdir(tmp_path):
        subprocess.run([sys.executable, "-c", code], check=True)
        assert report("runs/mine") == 0
        shown = read(Path("report.html").read_text("utf-8")).one("section", class_="table").text
    assert "My planner +5.20% [+4.10, +6.30]" in shown
    assert "Another ran out of memory failed" in shown


def _chart(**changes: Any) -> Contents:
    line = Line(title="l", x=[1.0, 2.0], y=[1.0, 2.0])
    parts = {"name": "c", "title": "t", "kind": "sweep", "x_title": "x", "y_title": "y", "lines": [line]}
    return small(title="t") if not changes else replace(small(), charts=(Chart(**{**parts, **changes}),))


def _line(**changes: Any) -> Contents:
    return _chart(lines=[Line(**{"title": "l", "x": [1.0, 2.0], "y": [1.0, 2.0], **changes})])


def _pair(before: list[ShownItem]) -> Contents:
    return small(pairs=(ListPair(title="p", user={}, queues=("click",), before=before, after=()),))


def _column(**changes: Any) -> Contents:
    table = sample().tables[1]
    return small(tables=(replace(table, columns=[replace(table.columns[0], **changes), *table.columns[1:]]),))


@pytest.mark.parametrize(
    ("contents", "problem"),
    [
        (
            _column(form="euro"),
            "table 'ablations', column 'CLICK': form must be percent, share, change, number or text",
        ),
        (_column(digits=-1), "table 'ablations', column 'CLICK': digits must be within 0..12"),
        (_chart(kind="pie"), "chart 'c': kind must be sweep, front, learning, calibration or positions, not 'pie'"),
        (_line(y=[1.0]), "chart 'c', line 'l': has 1 values of y for 2 of x"),
        (_line(low=[1.0], high=[1.0, 2.0]), "chart 'c', line 'l': has 1 values of low for 2 of x"),
        (_line(low=[1.0, 2.0]), "chart 'c', line 'l': needs both low and high, or neither"),
        (_line(x=["a", 2.0]), "chart 'c': x must be all numbers or all texts"),
        (_chart(log_x=True, lines=[Line(title="l", x=[0.0], y=[1.0])]), "chart 'c': log_x needs numbers above 0 as x"),
        (_pair([ShownItem(id="a", attributes={}, queue=1)]), "before has item 'a' of queue 1, and there are 1 queues"),
        (_pair([ShownItem(id="a", attributes={})] * 2), "lists 'p': before has an item twice"),
    ],
)
def test_contents_that_do_not_fit_together_are_named(contents: Contents, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        check(contents)
